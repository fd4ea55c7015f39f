//! What benches/spawn.sh measures: one container made of the crates, without the engine.
//!
//!     contain prepare DIRECTORY       makes a bundle for OCI runtimes there, and of the same files an image for rocker
//!     contain run DIRECTORY NAME      runs the bundle's program in a container, as crun and runc do
//!
//! The second does not read the bundle's config.json: namespaces, mounts, masks, capabilities and cgroup are the same,
//! made of the same lists. Needs root, and a host of its own (tests/fake_host/enter.sh).

#[path = "../static_true/mod.rs"]
mod static_true;

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use rocker_cgroup::{Cgroup, Compat, Hierarchy, Limits};
use rocker_fs::{
    Device, Layers, MASKED_PATHS, Mount, MountAttributes, MountKind, Overlay, READ_ONLY_PATHS,
    Rootfs,
};
use rocker_image::{Digest, LayerSink, Store};
use rocker_ns::{Capabilities, Command, ExitCode as _, Namespace, Stdio, Step};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["prepare", bundle] => prepare(Path::new(bundle)).map(|()| ExitCode::SUCCESS),
        ["run", bundle, name] => run(Path::new(bundle), name).map(ExitCode::from),
        _ => Err("usage: contain prepare DIRECTORY | contain run DIRECTORY NAME".into()),
    }
}

/// The program, below the root file system.
const TRUE: &str = "/bin/true";
const HOSTNAME: &str = "contained";

fn run(bundle: &Path, name: &str) -> Result<u8> {
    let hierarchy = Hierarchy::detect()?;
    // A single directory, read-only: it is bind-mounted.
    let root = Overlay::new([bundle.join("rootfs")]).mount()?;
    let mut root = Rootfs::new(root, bundle.join("root")).mounts(mounts(&hierarchy));
    root = Device::standard().into_iter().fold(root, Rootfs::device);
    root = MASKED_PATHS.iter().fold(root, Rootfs::mask);
    root = READ_ONLY_PATHS.iter().fold(root, Rootfs::read_only_path);

    let limits = Limits::default();
    let (cgroup, _) = Cgroup::create(&hierarchy, "contain", name, &limits, Compat::Require)?;

    let mut command = Command::new(TRUE);
    command
        .stdin(Stdio::inherit())
        .hostname(HOSTNAME)
        .unshare(NAMESPACES.map(|(namespace, _)| namespace))
        .setup(translate(root.steps()?)?)
        .capabilities(Capabilities::container_default())
        .no_new_privileges(true);
    if let Some(directory) = cgroup.as_fd() {
        command.cgroup(directory.try_clone_to_owned()?);
    }
    let own = |file| Step::write(file, "0");
    command.first(cgroup.tasks()?.into_iter().map(own));
    let mut created = command.create()?;
    let netns = created.namespace(Namespace::Net)?;
    created.set_up()?;
    drop((command, root));
    rocker_net::loopback_up(netns.as_fd())?;
    let ended = created.start()?.wait()?;
    cgroup.remove()?;
    Ok(ended.exit_code())
}

/// What every container has, and what the OCI runtime specification calls it.
const NAMESPACES: [(Namespace, &str); 6] = [
    (Namespace::Cgroup, "cgroup"),
    (Namespace::Ipc, "ipc"),
    (Namespace::Mount, "mount"),
    (Namespace::Net, "network"),
    (Namespace::Pid, "pid"),
    (Namespace::Uts, "uts"),
];

/// What `crun spec` and `runc spec` mount: of the cgroups every tree, as they do on v1 in a cgroup namespace.
fn mounts(hierarchy: &Hierarchy) -> Vec<Mount> {
    let safe = MountAttributes::NOSUID | MountAttributes::NODEV | MountAttributes::NOEXEC;
    let safe = safe | MountAttributes::RDONLY;
    let mut mounts = Rootfs::standard_mounts();
    let views = hierarchy.mounts_for_container();
    if views.iter().any(|view| !view.destination.is_empty()) {
        let top = Mount::filesystem("tmpfs", "/sys/fs/cgroup").option("mode", "755");
        mounts.push(top.attributes(safe));
    }
    for view in views {
        let mount = Mount::filesystem(
            view.fstype,
            Path::new("/sys/fs/cgroup").join(&view.destination),
        );
        let option = |mount: Mount, option: &String| match option.split_once('=') {
            Some((key, value)) => mount.option(key, value),
            None => mount.flag(option),
        };
        mounts.push(view.options.iter().fold(mount, option).attributes(safe));
    }
    mounts
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
        Ok(step
            .needing(from.needs)
            .tolerating(from.tolerates)
            .because(from.why))
    };
    steps.into_iter().map(step).collect()
}

fn prepare(bundle: &Path) -> Result<()> {
    let rootfs = bundle.join("rootfs");
    fs::create_dir_all(bundle.join("root"))?;
    for dir in ["bin", "dev", "proc", "sys", "etc"] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    static_true::write(&rootfs.join(TRUE.trim_start_matches('/')))?;
    fs::write(bundle.join("config.json"), specification().to_string())?;

    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", &rootfs)?;
    let data = Path::new("/var/lib/rocker");
    let (store, layers) = (
        Store::open(data.join("images"))?,
        Layers::open(data.join("layers"))?,
    );
    let tar = tar.into_inner()?;
    store.import(
        &"contain".parse()?,
        Default::default(),
        &*tar,
        &Sink(&layers),
    )?;
    Ok(())
}

/// Hands the layers of rocker-image to rocker-fs.
struct Sink<'a>(&'a Layers);
impl LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &Digest) -> bool {
        self.0.contains(&diff_id.to_string())
    }
    fn unpack(&self, diff_id: &Digest, tar: &mut dyn Read) -> io::Result<()> {
        let done = self
            .0
            .unpack(&diff_id.to_string(), tar, &Default::default());
        done.map(drop).map_err(io::Error::other)
    }
}

/// The bundle's config.json: the same container in the words of the OCI runtime specification.
fn specification() -> Value {
    let capabilities: Vec<String> = Capabilities::container_default()
        .names()
        .map(|name| name.to_string())
        .collect();
    let namespaces = NAMESPACES.map(|(_, kind)| json!({ "type": kind }));
    let mut mounts: Vec<Value> = Rootfs::standard_mounts().iter().map(oci_mount).collect();
    mounts.push(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"],
    }));
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [TRUE],
            "env": [],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": HOSTNAME,
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
        },
    })
}

fn oci_mount(mount: &Mount) -> Value {
    let names = [
        (MountAttributes::NOSUID, "nosuid"),
        (MountAttributes::NODEV, "nodev"),
        (MountAttributes::NOEXEC, "noexec"),
        (MountAttributes::RDONLY, "ro"),
        (MountAttributes::STRICTATIME, "strictatime"),
    ];
    let set = |(flag, _): &&(MountAttributes, &str)| mount.attributes.contains(*flag);
    let mut list: Vec<String> = names
        .iter()
        .filter(set)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let mut kind = "";
    if let MountKind::Filesystem { fstype, options } = &mount.kind {
        kind = fstype;
        list.extend(options.iter().filter(|(key, _)| key != "source").map(
            |(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            },
        ));
    }
    json!({ "destination": mount.destination, "type": kind, "source": kind, "options": list })
}
