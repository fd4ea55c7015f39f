//! A second program in a running container.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rocker_cgroup::Hierarchy;
use rocker_ns::{Capabilities, Created, DetachKeys, ExitCode, Process, Signals, Stdio};

use super::process::{Care, Leave, Streams, connect, create_in, look_after, start};
use crate::engine::options::Io;
use crate::engine::spec::accounts::user_of;
use crate::engine::spec::parts;
use crate::engine::{Engine, Status, cgroup_of, disk, rootless, spec};
use crate::{Error, Result};

/// What to run beside a container's own program.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The standard streams.
    pub io: Io,
    /// Variables as `NAME=VALUE`, over the container's own; `NAME` alone takes the caller's value.
    pub env: Vec<String>,
    /// Whether the program is left to itself as soon as it runs, as with
    /// [`detach_keys`](Self::detach_keys): somebody has to wait for it all the same, or the kernel does not let the
    /// container end.
    pub detach: bool,
    /// The keys by which the person in front of the terminal leaves the program to itself, see
    /// [`RunOptions::detach_keys`](crate::RunOptions::detach_keys).
    pub detach_keys: Option<DetachKeys>,
    /// Whether the program has every capability that the caller has.
    pub privileged: bool,
    /// Fails the child's plan at this step, for tests that nothing is left.
    pub fail_at: Option<usize>,
    /// The working directory in place of the container's.
    pub workdir: Option<String>,
    /// `USER[:GROUP]` in place of the container's.
    pub user: Option<String>,
}

impl Engine {
    /// Runs a program in the namespaces, the cgroup and with the privileges of a running container, and returns its exit
    /// status.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::NotRunning`], and whatever kept the program from running.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<u8> {
        let found = self.container(name)?;
        let not_running = || Error::NotRunning {
            name: found.name.clone(),
        };
        if matches!(found.status, Status::Running { paused: true, .. }) {
            return Err(Error::Paused {
                name: found.name,
                expected: "unpause it before something else is run in it",
            });
        }
        let process = self.process_of(&found.id)?;
        let spec = self.spec_of(&found.id)?.ok_or_else(not_running)?;
        let signals = Signals::hold()?;
        let streams = |command: &mut rocker_ns::Command| {
            connect(command, options.io, Streams::Callers);
            if options.detach {
                let null = || Stdio::null();
                command.stdin(null()).stdout(null()).stderr(null());
            }
        };
        // A container that ends meanwhile takes this program with it.
        let gone = |error| match error {
            Error::Ns(rocker_ns::Error::Gone) => not_running(),
            other => other,
        };
        let created = self.create_beside(&found.id, &process, &spec, options, streams);
        let (mut child, terminal) = created
            .and_then(|created| start(created, |_| Ok(())))
            .map_err(gone)?;
        let mut care = Care {
            io: options.io,
            leave: &mut match options.detach {
                true => Leave::AtOnce,
                false => Leave::at(options.detach_keys.as_ref()),
            },
            stop_signal: None,
            signals: &signals,
            attendant: None,
            attach: None,
        };
        let ended = look_after(&mut child, terminal.as_ref(), &mut care);
        if ended.is_err() {
            child.wait()?;
        }
        Ok(ended.map_err(gone)?.exit_code())
    }

    /// A process with another program beside that of a container, up to the point where it is ready to run it.
    pub(crate) fn create_beside(
        &self,
        id: &str,
        process: &Process,
        spec: &Spec,
        options: &ExecOptions,
        streams: impl FnOnce(&mut rocker_ns::Command),
    ) -> Result<Created> {
        let mut command = self.beside(spec, process.id(), options)?;
        command.enter(process.to_fd()?, parts::all_namespaces(spec));
        let hierarchy = self.hierarchy_of(id)?;
        let cgroup = match cgroup_of(&hierarchy, parts::cgroup_parent(spec).as_deref(), id) {
            // That of an ordinary user may have none.
            Err(rocker_cgroup::Error::NotFound { .. })
                if rootless::in_user_namespace()? && self.place_of(id)?.is_none() =>
            {
                None
            }
            found => Some(found?),
        };
        command.fail_at(options.fail_at);
        streams(&mut command);
        let created = create_in(command, &hierarchy, cgroup.as_ref());
        let mut created = created.map_err(|error| self.or_elsewhere(error, &hierarchy))?;
        created.set_up()?;
        created.attest()?;
        Ok(created)
    }

    /// What kept a program from being made, in other words where that was another session's cgroup: outside of it the program
    /// would be held to none of the container's limits.
    fn or_elsewhere(&self, error: Error, theirs: &Hierarchy) -> Error {
        let errno = error.errno().map(io::Error::from_raw_os_error);
        let is_denied = errno.is_some_and(|one| one.kind() == io::ErrorKind::PermissionDenied);
        let own = self.hierarchy().ok();
        let is_elsewhere = own.is_some_and(|own| own.base() != theirs.base());
        match (error, theirs.base()) {
            (Error::Ns(source), Some(place)) if is_denied && is_elsewhere => {
                Error::ElsewhereLimited {
                    place: place.to_owned(),
                    source,
                }
            }
            (error, _) => error,
        }
    }

    /// The container's own process with another program, and what the caller changes about it.
    fn beside(&self, spec: &Spec, pid: u32, options: &ExecOptions) -> Result<rocker_ns::Command> {
        let groups = parts::further_groups(spec);
        let mut spec = spec.clone();
        let process = spec.process_mut().as_mut().ok_or(Error::NoCommand)?;
        process.set_args(Some(options.command.clone()));
        process.set_terminal(Some(options.io.terminal));
        // Empty, as a variable of a script may be, is as good as none.
        let given = |text: &&String| !text.is_empty();
        if let Some(dir) = options.workdir.as_ref().filter(given) {
            process.set_cwd(Path::new("/").join(dir));
        }
        let mut env = BTreeMap::new();
        spec::add_variables(
            &mut env,
            process.env().as_deref().unwrap_or_default(),
            false,
        );
        if let Some(wanted) = options.user.as_ref().filter(given) {
            let path = PathBuf::from(format!("/proc/{pid}/root"));
            let why = "so that the user is looked up in the container's own accounts";
            let options = &mut OpenOptions::new();
            let root = disk::open_for("ns", &path, options.read(true), "O_RDONLY|O_CLOEXEC", why)
                .map_err(disk::failed("open", &path))?;
            let user = user_of(root.as_fd(), wanted, &groups)?;
            env.insert("HOME".to_owned(), user.home.to_string_lossy().into_owned());
            process.user_mut().set_uid(user.uid);
            process.user_mut().set_gid(user.gid);
            process.user_mut().set_additional_gids(Some(user.groups));
        }
        if options.io.terminal {
            env.insert("TERM".to_owned(), "xterm".to_owned());
        }
        spec::add_variables(&mut env, &spec::resolved(&options.env), true);
        process.set_env(Some(
            env.into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ));
        let mut command = parts::process(&spec)?;
        command.init(false);
        if options.privileged {
            command.capabilities(Capabilities::permitted()?);
        }
        Ok(command)
    }
}
