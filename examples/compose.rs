//! A whole container from the five primitive crates alone, in the order in which `rocker run` does it.
//!
//!     sudo -E cargo run --example compose
//!
//! Needs root, and a static /bin/busybox (Debian: busybox-static). Takes its bridge and its cgroup away again.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use rocker_cgroup::{Cgroup, Compat, Hierarchy, Limits};
use rocker_fs::{Device, Layers, MASKED_PATHS, Overlay, Rootfs};
use rocker_image::{Digest, LayerSink, Store};
use rocker_net::{Network, NetworkOptions};
use rocker_ns::{Capabilities, Command, ExitCode, Namespace, Step};
use std::{error::Error, fs, fs::File, io, io::Read, os::fd::AsFd};

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir_in("/run")?; // a tmpfs: an upper directory cannot lie on an overlay
    let here = place.path();
    let dir = |name| fs::create_dir(here.join(name)).map(|()| here.join(name));

    // The image: one layer, a tar stream made here in place of a pull.
    let layers = Layers::open(here.join("layers"))?;
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_file("bin/busybox", &mut File::open("/bin/busybox")?)?;
    let (store, tar) = (Store::open(here.join("images"))?, tar.into_inner()?);
    let image = store.import(&"demo".parse()?, Default::default(), &*tar, &Sink(&layers))?;

    // The root file system: the layers, and above them a directory of the container's own.
    let lower = image.diff_ids().map(|id| layers.path(&id.to_string()));
    let overlay = Overlay::new(lower).upper(dir("upper")?, dir("work")?);
    let mut root = Rootfs::new(overlay.mount()?, dir("root")?).mounts(Rootfs::standard_mounts());
    root = Device::standard().into_iter().fold(root, Rootfs::device);
    root = MASKED_PATHS.iter().fold(root, Rootfs::mask);

    // The limits.
    let limits = Limits::default().memory_bytes(64_u64 << 20).pids(50_u64);
    let (all, below) = (Hierarchy::detect()?, "rocker-example");
    let (cgroup, _) = Cgroup::create(&all, below, "container", &limits, Compat::Require)?;

    // The process, up to where it waits for us.
    use Namespace::{Cgroup as View, Ipc, Mount, Net, Pid, Uts};
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-c", "hostname; ip -4 addr show eth0; ps; ls /; df /"]);
    command.hostname("demo");
    command.unshare([View, Ipc, Mount, Net, Pid, Uts]);
    command.setup(translate(root.steps()?)?);
    command.capabilities(Capabilities::container_default());
    if let Some(directory) = cgroup.as_fd() {
        command.cgroup(directory.try_clone_to_owned()?); // on v2 it is made in its cgroup,
    }
    let own = |file| Step::write(file, "0"); // and on v1 it goes there by itself
    let mut created = command
        .first(cgroup.tasks()?.into_iter().map(own))
        .create()?;
    drop((command, root)); // they hold the root open, which is the container's from now on

    // Its network, while it sets itself up. Then its program, to the end.
    created.set_up()?;
    let network = Network::open(here, &NetworkOptions::new("example", "rkexample"))?;
    network.attach("container", created.namespace(Net)?.as_fd())?;
    let ended = created.start().and_then(|mut child| child.wait());

    // All of it away, in reverse; the rest goes with its guards.
    network.detach("container")?;
    cgroup.remove()?;
    println!("the container ended with {}", ended?.exit_code());
    Ok(())
}

/// Hands the layers of rocker-image to rocker-fs.
struct Sink<'a>(&'a Layers);
impl LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.0.contains(&diff_id.to_string())
    }
    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let name = diff_id.to_string();
        let done = self.0.unpack(&name, tar, &Default::default());
        done.map(drop).map_err(io::Error::other)
    }
}

/// The steps of rocker-fs, for rocker-ns to make. Neither knows the other.
fn translate(steps: Vec<rocker_fs::Step>) -> rocker_ns::Result<Vec<rocker_ns::Step>> {
    use {rocker_fs::Arg as From, rocker_ns::Arg as To};
    let arg = |arg| match arg {
        From::Null => To::Null,
        From::Int(number) => To::Int(number),
        From::Flags { value, names } => To::Flags { value, names },
        From::Str(text) => To::Str(text),
        From::Bytes { bytes, shown } => To::Bytes { bytes, shown },
        From::Fd(fd) => To::Fd(fd),
        From::Result(index) => To::Result(index),
        From::Cwd => To::Cwd,
    };
    let step = |from: rocker_fs::Step| {
        let step = Step::new(from.call, from.args.into_iter().map(arg).collect())?;
        let step = step.needing(from.needs).tolerating(from.tolerates);
        Ok(step.because(from.why))
    };
    steps.into_iter().map(step).collect()
}
