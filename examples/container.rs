//! A whole container from the five primitive crates, without rocker-cli: from an image to its exit, in the order in
//! which `rocker run` does it.
//!
//!     sudo -E cargo run --example container
//!
//! Needs root, and a static busybox on the PATH (Debian: busybox-static). It makes the bridge `rkexample` and the cgroup
//! `rocker-example/container`, and takes all of it away again.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;

use rocker_cgroup::{Cgroup, Compat, CpuQuota, Hierarchy, Limits};
use rocker_fs::{Device, Layers, MASKED_PATHS, Overlay, READ_ONLY_PATHS, Rootfs, UnpackOptions};
use rocker_image::{Digest, LayerSink, Store, oci_spec::image::ImageConfiguration};
use rocker_net::{Network, NetworkOptions};
use rocker_ns::{Capabilities, Command, ExitCode, Namespace};

const SCRIPT: &str = "hostname; ip -4 addr show eth0; ping -c 1 -q $0 | tail -n 2; ps; ls /; df /";

/// Gives the layers of rocker-image to rocker-fs.
struct Sink<'a>(&'a Layers);

impl LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.0.contains(&diff_id.to_string())
    }

    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let unpacked = self
            .0
            .unpack(&diff_id.to_string(), tar, &UnpackOptions::default());
        unpacked.map(drop).map_err(io::Error::other)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir_in("/run")?; // a tmpfs, as the upper directory must not lie on an overlay
    let here = place.path();

    // The image: one layer, made here in place of a pull.
    let (store, layers) = (
        Store::open(here.join("images"))?,
        Layers::open(here.join("layers"))?,
    );
    let (name, config) = ("busybox".parse()?, ImageConfiguration::default());
    let image = store.import(&name, config, layer()?.as_slice(), &Sink(&layers))?;

    // The root file system: the layers under an upper directory of the container's own.
    let dir = |name| fs::create_dir(here.join(name)).map(|()| here.join(name));
    let lower = image
        .diff_ids()
        .map(|diff_id| layers.path(&diff_id.to_string()));
    let overlay = Overlay::new(lower)
        .upper(dir("upper")?, dir("work")?)
        .mount()?;
    let mut rootfs = Rootfs::new(overlay, dir("root")?).mounts(Rootfs::standard_mounts());
    rootfs = Device::standard().into_iter().fold(rootfs, Rootfs::device);
    rootfs = MASKED_PATHS.iter().fold(rootfs, Rootfs::mask);
    rootfs = READ_ONLY_PATHS.iter().fold(rootfs, Rootfs::read_only_path);

    // The limits.
    let limits = Limits::default()
        .memory_bytes(64_u64 << 20)
        .pids(50_u64)
        .cpu(CpuQuota::from_cpus(0.5)?);
    let hierarchy = Hierarchy::detect()?;
    let (cgroup, _) = Cgroup::create(
        &hierarchy,
        "rocker-example",
        "container",
        &limits,
        Compat::Require,
    )?;

    // The process, up to where it waits.
    let network = Network::open(here, &NetworkOptions::new("example", "rkexample"))?;
    let mut command = Command::new("/bin/busybox");
    command
        .args(["sh", "-c", SCRIPT, "10.88.0.1"])
        .unshare([Namespace::Cgroup, Namespace::Ipc, Namespace::Mount])
        .unshare([Namespace::Net, Namespace::Pid, Namespace::Uts])
        .hostname("example")
        .setup(translate(rootfs.steps()?)?)
        .capabilities(Capabilities::container_default());
    if let Some(directory) = cgroup.as_fd() {
        command.cgroup(directory.try_clone_to_owned()?);
    }
    let mut created = command.create()?;
    drop((command, rootfs)); // they hold the root open; from now on that is the container's
    if cgroup.as_fd().is_none() {
        cgroup.add(created.id())?;
    }
    created.set_up()?;

    // Its network, while it sets itself up; then its program, to the end.
    let netns = created.namespace(Namespace::Net)?;
    let attached = network.attach("container", netns.as_fd());
    let ended = attached.map(|_| created.start().and_then(|mut child| child.wait()));

    // All of it again, in reverse.
    network.detach("container")?;
    cgroup.remove()?;
    println!("the container ended with {}", ended??.exit_code());
    Ok(())
}

/// The layer as a tar stream: the host's busybox.
fn layer() -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_file("bin/busybox", &mut File::open("/bin/busybox")?)?;
    tar.into_inner()
}

/// The steps into the root file system, for whom knows how to make them: the two crates do not know each other.
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
    let step = |step: rocker_fs::Step| {
        let args = step.args.into_iter().map(arg).collect();
        Ok(rocker_ns::Step::new(step.call, args)?
            .tolerating(step.tolerates)
            .because(step.why))
    };
    steps.into_iter().map(step).collect()
}
