//! What the tests of the command share: a machine with a registry, and the binary to run on it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::fake_host::Host;
use crate::registry::Registry;

/// No test may take longer; one that does has hung.
const PATIENCE: Duration = Duration::from_secs(100);

/// How long something may take that happens at once.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Where an ordinary user is at home.
pub const ALICES_HOME: &str = "/run/alice";

/// A fake host with rocker, a registry and an image in it.
pub struct Scene<'a> {
    pub host: &'a Host,
    pub registry: Registry,
    /// A busybox image, in the registry and pulled. `$I` in commands.
    pub image: String,
    pub rocker: Rocker<'a>,
}

impl<'a> Scene<'a> {
    pub fn new(host: &'a Host) -> Self {
        let scene = Self::without_image(host);
        scene.rocker.ok(&format!("pull -q {}", scene.image));
        scene
    }

    /// The same, with the image in the registry alone.
    pub fn without_image(host: &'a Host) -> Self {
        let registry = Registry::start(host);
        Self::with(host, registry, Rocker::new(host))
    }

    /// The same machine as alice has it, who is an ordinary user.
    pub fn of_alice(host: &'a Host) -> Self {
        let scene = Self::of_alice_without_image(host);
        scene.rocker.ok(&format!("pull -q {}", scene.image));
        scene
    }

    /// The same, with the image in the registry alone.
    pub fn of_alice_without_image(host: &'a Host) -> Self {
        let registry = Registry::start(host);
        Self::with(host, registry, Rocker::of_alice(host))
    }

    fn with(host: &'a Host, registry: Registry, mut rocker: Rocker<'a>) -> Self {
        let image = registry.push_busybox("busybox");
        rocker.image.clone_from(&image);
        Self {
            host,
            registry,
            image,
            rocker,
        }
    }
}

impl Scene<'_> {
    /// Pushes an image of these tar files and returns its name; `config` is the JSON of its configuration's `config`.
    pub fn push_layers(&self, tars: &[&Path], name: &str, config: &str) -> String {
        let dir = self.host.dir(&format!("archive-{name}"));
        let mut diff_ids = Vec::new();
        let mut layers = Vec::new();
        for (count, tar) in tars.iter().enumerate() {
            let digest = self.host.sh(&format!("sha256sum <{}", tar.display()));
            diff_ids.push(format!("\"sha256:{}\"", &digest[..64]));
            layers.push(format!("\"{count}.tar\""));
            std::os::unix::fs::symlink(tar, dir.join(format!("{count}.tar"))).unwrap();
        }
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = format!(
            r#"{{"os":"linux","architecture":"{architecture}","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        fs::write(dir.join("config.json"), config).unwrap();
        let manifest = format!(
            r#"[{{"Config":"config.json","RepoTags":["x:y"],"Layers":[{}]}}]"#,
            layers.join(",")
        );
        fs::write(dir.join("manifest.json"), manifest).unwrap();
        let name = self.registry.name(name);
        // As `docker save` writes it, with the layers as they are: skopeo does not look into them.
        self.host.sh(&format!(
            "cd {0}; tar -chf archive *.json *.tar; skopeo --insecure-policy copy -q --dest-tls-verify=false docker-archive:archive docker://{name}; rm -r {0}",
            dir.display()
        ));
        name
    }
}

impl<'a> std::ops::Deref for Scene<'a> {
    type Target = Rocker<'a>;

    fn deref(&self) -> &Rocker<'a> {
        &self.rocker
    }
}

/// The built binary with directories of its own.
pub struct Rocker<'a> {
    host: &'a Host,
    image: String,
    /// What its commands are started by: nothing, or whatever makes them an ordinary user's.
    as_user: &'static [&'static str],
    pub root: PathBuf,
    pub run: PathBuf,
    before: Vec<String>,
    /// Ends the watch over the test's time.
    _over: mpsc::Sender<()>,
}

impl<'a> Rocker<'a> {
    pub fn new(host: &'a Host) -> Self {
        let (over, watch) = mpsc::channel();
        thread::spawn(move || {
            let long = std::env::var_os("ROCKER_TEST_LONG").is_some();
            let patience = PATIENCE * if long { 6 } else { 1 };
            if watch.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(std::io::stderr(), "the test hangs: over after {patience:?}");
                // Which ends the fake host and all that is in it.
                std::process::exit(1);
            }
        });
        Self {
            image: String::new(),
            as_user: &[],
            root: host.dir("rocker-root"),
            run: host.dir("rocker-run"),
            before: machine(host),
            host,
            _over: over,
        }
    }

    /// The same with a busybox image that comes from no registry: all that a small virtual machine has. `$I` in commands.
    pub fn with_busybox(host: &'a Host) -> Self {
        let mut rocker = Self::new(host);
        rocker.import_busybox();
        rocker
    }

    /// Makes an image of the machine's own busybox.
    pub fn import_busybox(&mut self) {
        self.image = "busybox".to_owned();
        self.host.sh("mkdir -p /run/box/bin /run/box/tmp /run/box/etc; cp \"$(command -v busybox)\" /run/box/bin/busybox
            for tool in $(/run/box/bin/busybox --list); do [ $tool = busybox ] || ln -sf busybox /run/box/bin/$tool; done
            printf 'root:x:0:0::/:/bin/sh\n' >/run/box/etc/passwd
            tar -cC /run/box -f /run/box.tar .; chmod 644 /run/box.tar");
        self.ok("import -c 'ENV PATH=/bin' /run/box.tar busybox >/dev/null");
        self.before = machine(self.host);
    }

    /// The rocker of alice, who is uid 1000 of this machine and has a home and a session.
    pub fn of_alice(host: &'a Host) -> Self {
        // The directories above the program's own file need not be open to everybody.
        host.sh(&format!(
            "mkdir -p /run/bin /run/etc {ALICES_HOME} /run/user/1000
             cp {} /run/bin/rocker; chmod 755 /run/bin/rocker
             chown 1000:1000 {ALICES_HOME} /run/user/1000; chmod 700 {ALICES_HOME} /run/user/1000
             printf 'root:x:0:0::/root:/bin/sh\\nalice:x:1000:1000::{ALICES_HOME}:/bin/sh\\n' >/run/etc/passwd
             mount --bind /run/etc/passwd /etc/passwd
             # As udev leaves it.
             mount -t tmpfs -o mode=755 tmpfs /dev/net; mknod -m 666 /dev/net/tun c 10 200",
            env!("CARGO_BIN_EXE_rocker")
        ));
        Self {
            as_user: &["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"],
            root: Path::new(ALICES_HOME).join(".local/share/rocker"),
            run: PathBuf::from("/run/user/1000/rocker"),
            ..Self::new(host)
        }
    }

    /// Runs `rocker ARGS`, where ARGS is written as for a shell.
    pub fn run(&self, args: &str) -> Done {
        Done::of(args, self.shell(&format!("exec rocker {args}")).output())
    }

    /// Runs a shell script, which ends with a command of rocker's.
    pub fn script(&self, script: &str) -> Done {
        Done::of(script, self.shell(script).output())
    }

    /// The same as root, of a rocker that is an ordinary user's.
    pub fn script_as_root(&self, script: &str) -> Done {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::null()).env_clear();
        Done::of(script, shell.envs(self.variables()).output())
    }

    /// Runs `rocker ARGS`, which succeeds, and returns what it printed.
    #[track_caller]
    pub fn ok(&self, args: &str) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{done:?}");
        done.out
    }

    /// Runs `rocker ARGS`, which fails with `code`, one line on stderr and maybe advice, and returns that line.
    #[track_caller]
    pub fn fails(&self, code: i32, args: &str) -> String {
        self.run(args).failed(code)
    }

    /// Starts `rocker ARGS`. Its standard input is open until [`Background::end_input`].
    pub fn start(&self, args: &str) -> Background {
        let mut child = self
            .shell(&format!("exec rocker {args}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Background {
            args: args.to_owned(),
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Starts a container that says `up` when it runs, and ends when its input does.
    pub fn start_idle(&self, flags: &str) -> Background {
        let mut idle = self.start(&format!("run -i {flags} $I sh -c 'echo up; cat'"));
        assert_eq!(idle.line(), "up", "{}", idle.args);
        idle
    }

    /// A shell that finds rocker, its directories, and the image as `$I`.
    pub fn shell(&self, script: &str) -> Command {
        let mut shell = match self.as_user {
            [] => Command::new("sh"),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg("sh").env_clear();
                command
            }
        };
        shell.args(["-c", script]).stdin(Stdio::null());
        for (name, value) in self.variables() {
            shell.env(name, value);
        }
        shell
    }

    /// What to set for `rocker` to be found and to work in the directories of this test.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        // What a run leaves to be removed later would be there when a test looks.
        let linger = ("ROCKER_LINGER", "0".to_owned());
        if !self.as_user.is_empty() {
            return [
                ("PATH", "/run/bin:/usr/bin:/bin".to_owned()),
                ("HOME", ALICES_HOME.to_owned()),
                ("XDG_RUNTIME_DIR", "/run/user/1000".to_owned()),
                ("I", self.image.clone()),
                linger,
            ];
        }
        let binaries = Path::new(env!("CARGO_BIN_EXE_rocker")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        [
            ("PATH", path),
            ("ROCKER_ROOT", self.root.display().to_string()),
            ("ROCKER_RUN", self.run.display().to_string()),
            ("I", self.image.clone()),
            linger,
        ]
    }

    /// Checks that mounts, links, addresses, routes, rules, cgroups and processes are those from before the first command,
    /// and that no directory of a container that runs and no lease is left.
    #[track_caller]
    pub fn assert_nothing_left(&self, after: &str) {
        let (before, now) = (&self.before, machine(self.host));
        let added: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        let gone: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        assert!(
            added.is_empty() && gone.is_empty(),
            "after {after}, there is {added:#?} more and {gone:#?} less"
        );
        let running = self.run.join("containers");
        let left = fs::read_dir(&running).map_or(0, Iterator::count);
        assert_eq!(left, 0, "after {after}, {} is not empty", running.display());
        // A lease is a file `ADDRESS=OWNER`; `.last` owns nothing, and is where the next search begins.
        let leases = self.host.sh(&format!(
            "find {} -path '*/leases/*=*' ! -name '*=.last'",
            self.root.display()
        ));
        assert_eq!(leases, "", "after {after}");
    }

    /// Checks the same, and that no container is known any more.
    #[track_caller]
    pub fn assert_all_gone(&self, after: &str) {
        self.assert_nothing_left(after);
        assert_eq!(self.containers(), [], "after {after}");
        let names = fs::read_dir(self.root.join("containers/.names"));
        let names: Vec<_> = names.into_iter().flatten().flatten().collect();
        assert!(
            names.is_empty(),
            "names that are taken after {after}: {names:?}"
        );
    }

    /// What `inspect` says at a JSON pointer such as `/State/Status`.
    #[track_caller]
    pub fn at(&self, name: &str, pointer: &str) -> String {
        self.ok(&format!("inspect -f {pointer} {name}"))
            .trim_end()
            .to_owned()
    }

    /// Leaves a shell script to itself as the container `name`, and waits until it has said `up`.
    #[track_caller]
    pub fn up(&self, name: &str, flags: &str, script: &str) {
        self.ok(&format!("run -d --name {name} {flags} $I sh -c '{script}'"));
        self.host.wait_until(&format!("{name} is up"), LIMIT, || {
            self.ok(&format!("logs {name}"))
                .lines()
                .any(|line| line == "up")
        });
    }

    /// Waits until no process of rocker's is left.
    #[track_caller]
    pub fn wait_until_alone(&self) {
        self.host.wait_until("no rocker is left", LIMIT, || {
            let states = self.host.sh("ps -C rocker -o stat= || true");
            states.lines().all(|state| state.starts_with('Z'))
        });
    }

    /// The process that looks after a container.
    #[track_caller]
    pub fn supervisor(&self, name: &str) -> u32 {
        let lock = format!("{}/lock", self.run_dir_of(name));
        let text = fs::read_to_string(lock).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What exists of a container only while it runs.
    pub fn run_dir_of(&self, name: &str) -> String {
        let id = self.ok(&format!("inspect -f {{{{.Id}}}} {name}"));
        let dir = self.run.join("containers").join(id.trim());
        dir.into_os_string().into_string().unwrap()
    }

    /// The directories of containers in the store, and what is in their `state.json`.
    pub fn containers(&self) -> Vec<(String, String)> {
        let dir = fs::read_dir(self.root.join("containers"));
        let mut all: Vec<_> = dir
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().len() == 64)
            .map(|entry| {
                let state = fs::read_to_string(entry.path().join("state.json"));
                let id = entry.file_name().into_string().unwrap();
                (id, state.unwrap_or_default())
            })
            .collect();
        all.sort();
        all
    }
}

/// All that could be left on the machine: its state, and its processes.
fn machine(host: &Host) -> Vec<String> {
    let state = format!("{:?}", host.state());
    let mut all: Vec<String> = state.split("\", \"").map(str::to_owned).collect();
    for name in ["all", "default", "lo"] {
        let file = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        let value = fs::read_to_string(&file).unwrap_or_default();
        all.push(format!("{file} {}", value.trim()));
    }
    all.extend(processes());
    all
}

/// The processes of the machine, but those that ended and that this test, as their PID 1, did not wait for.
fn processes() -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let is_process = entry.path().join("cmdline").exists()
            && entry.file_name().to_str().unwrap().parse::<u32>().is_ok();
        if is_process && !matches!(fields.first(), None | Some(&("Z" | "X"))) {
            let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().into_string().unwrap();
            all.push(format!("process {pid} {}", command.replace('\0', " ")));
        }
    }
    all
}

/// What came of a command.
#[derive(Debug)]
pub struct Done {
    pub args: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(args: &str, output: std::io::Result<Output>) -> Self {
        let output = output.unwrap();
        Self {
            args: args.to_owned(),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks that it succeeded.
    #[track_caller]
    pub fn succeeded(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }

    /// The first line on stderr of a command that failed with `code`.
    #[track_caller]
    pub fn failed(&self, code: i32) -> String {
        assert_eq!(self.code, code, "{}: {self:?}", self.args);
        assert_eq!(self.out, "", "{self:?}");
        let mut lines = self.err.lines().peekable();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with("rocker: "), "{self:?}");
        // What is beneath it, where there is something to say.
        for label in ["call:   ", "likely: ", "try:    "] {
            lines.next_if(|line| line.starts_with(&format!("        {label}")));
        }
        assert_eq!(lines.next(), None, "{self:?}");
        first.to_owned()
    }

    /// The same of one that has advice to give: the cause and the remedy.
    #[track_caller]
    pub fn advised(&self, code: i32) -> (String, String) {
        self.failed(code);
        let line = |begin: &str| {
            let mut lines = self.err.lines();
            let line = lines.find_map(|line| line.trim_start().strip_prefix(begin));
            line.unwrap_or_else(|| panic!("no advice: {self:?}"))
                .trim()
                .to_owned()
        };
        (line("likely:"), line("try:"))
    }
}

/// A rocker that runs; killed when dropped.
pub struct Background {
    args: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Background {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a signal to rocker itself.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        drop(self.input.take());
    }

    /// Waits until it ends.
    pub fn end(mut self) -> Done {
        self.end_input();
        let mut out = String::new();
        self.output.read_to_string(&mut out).unwrap();
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        Done {
            args: self.args.clone(),
            code: status.code().unwrap_or(-1),
            out,
            err,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
