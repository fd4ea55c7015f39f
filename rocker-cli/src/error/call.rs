//! The system call at the bottom of an error.

use std::error::Error as StdError;
use std::io;

use super::Error;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedCall {
    /// Its name; empty where the error does not say.
    pub(crate) call: String,
    /// Its arguments, as far as the error has them.
    pub(crate) args: String,
    pub(crate) errno: i32,
}

impl Error {
    /// The system call that failed, if it was one.
    pub(crate) fn call(&self) -> Option<FailedCall> {
        let errno = self.errno()?;
        let (call, args) = match self {
            Error::Ns(error) | Error::ElsewhereLimited { source: error, .. } => of_ns(error),
            Error::Fs(error) => of_fs(error),
            Error::Cgroup(error) | Error::NoLimit { source: error, .. } => of_cgroup(error),
            Error::Net(error) => of_net(error),
            Error::Image(error) => match beneath(error) {
                Some(error) => of_fs(error),
                None => (String::new(), chain(error)),
            },
            Error::State {
                operation, path, ..
            } => (named(operation), quoted(path.display())),
            _ => (String::new(), self.chain()),
        };
        Some(FailedCall { call, args, errno })
    }

    /// The errno at the bottom of the error, if there is one.
    pub(crate) fn errno(&self) -> Option<i32> {
        let mut source: Option<&(dyn StdError + 'static)> = Some(self);
        let mut found = None;
        while let Some(error) = source {
            let io = error.downcast_ref::<io::Error>();
            found = io.and_then(io::Error::raw_os_error).or(found);
            source = error.source();
        }
        found
    }
}

/// A call as it is shown, `name(arguments)`, in its two parts; one without arguments is a name.
fn parts(shown: &str) -> (String, String) {
    match shown.split_once('(') {
        Some((call, args)) => {
            let args = args.strip_suffix(')').unwrap_or(args);
            (call.to_owned(), args.to_owned())
        }
        None => (shown.to_owned(), String::new()),
    }
}

fn of_ns(error: &rocker_ns::Error) -> (String, String) {
    use rocker_ns::Error as E;
    match error {
        E::Step { call, .. } | E::Call { call, .. } | E::WorkingDirectory { call, .. } => {
            parts(call)
        }
        E::NotFound { program, .. } | E::NotExecutable { program, .. } => {
            ("execve".to_owned(), quoted(program.to_string_lossy()))
        }
        E::Proc {
            operation, path, ..
        } => (named(operation), quoted(path)),
        other => (String::new(), other.to_string()),
    }
}

fn of_fs(error: &rocker_fs::Error) -> (String, String) {
    use rocker_fs::Error as E;
    match error {
        E::Overlay { call, .. } => ((*call).to_owned(), "\"overlay\"".to_owned()),
        E::NotPermitted { operation, .. } => ((*operation).to_owned(), String::new()),
        E::Unsupported { what, .. } => ((*what).to_owned(), String::new()),
        E::Store {
            operation, path, ..
        }
        | E::Resolve {
            operation, path, ..
        } => (named(operation), quoted(path.display())),
        E::Mount {
            operation, target, ..
        } => (named(operation), quoted(target.display())),
        E::Entry {
            operation, entry, ..
        } => (named(operation), quoted(entry.display())),
        E::BindSource { path, .. } => (
            "openat".to_owned(),
            format!("{}, O_PATH", quoted(path.display())),
        ),
        other => (String::new(), other.to_string()),
    }
}

fn of_cgroup(error: &rocker_cgroup::Error) -> (String, String) {
    use rocker_cgroup::Error as E;
    let (call, path) = match error {
        E::Create { path, .. } => ("mkdir", path),
        E::Remove { path, .. } => ("rmdir", path),
        E::Limit { path, .. } | E::Add { path, .. } | E::Write { path, .. } => ("write", path),
        E::Read { path, .. } => ("openat", path),
        E::PermissionDenied {
            operation, path, ..
        }
        | E::ReadOnly {
            operation, path, ..
        } => (
            if operation.contains("create") {
                "mkdir"
            } else {
                "write"
            },
            path,
        ),
        other => return (String::new(), other.to_string()),
    };
    (call.to_owned(), quoted(path.display()))
}

fn of_net(error: &rocker_net::Error) -> (String, String) {
    use rocker_net::Error as E;
    match error {
        E::Netlink { object, .. }
        | E::Permission { object, .. }
        | E::Unsupported { object, .. } => ("sendto".to_owned(), object.clone()),
        E::Namespace { operation, .. } => {
            let call = if *operation == "enter" {
                "setns"
            } else {
                "unshare"
            };
            (call.to_owned(), "CLONE_NEWNET".to_owned())
        }
        E::File {
            operation, path, ..
        } => (named(operation), quoted(path.display())),
        other => (String::new(), other.to_string()),
    }
}

/// The error of a layer's unpacking within that of its pull, which carries it as the reader's.
fn beneath(error: &rocker_image::Error) -> Option<&rocker_fs::Error> {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        if let Some(inner) = io.and_then(io::Error::get_ref) {
            return inner.downcast_ref();
        }
        source = error.source();
    }
    None
}

/// The system call that does what an error calls so.
fn named(operation: &str) -> String {
    let call = match operation {
        "open" | "create" | "write" | "read" => return operation.replace("open", "openat"),
        words if words.contains("directory") => "mkdir",
        words if words.contains("open") && words.contains(' ') => "openat",
        words if words.contains("duplicate") => "fcntl",
        word => word,
    };
    call.to_owned()
}

fn quoted(object: impl std::fmt::Display) -> String {
    format!("\"{object}\"")
}

/// An error and what led to it.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_child_is_its_call_with_arguments() {
        let source = io::Error::from_raw_os_error(1);
        let error = Error::Ns(rocker_ns::Error::Step {
            index: 3,
            call: "mount(\"a(b)\", \"/x\", NULL, MS_REC, NULL)".to_owned(),
            why: "so that it is".to_owned(),
            source,
        });
        let failed = error.call().unwrap();
        assert_eq!((failed.call.as_str(), failed.errno), ("mount", 1));
        assert_eq!(failed.args, "\"a(b)\", \"/x\", NULL, MS_REC, NULL");
    }

    #[test]
    fn an_error_of_every_crate_names_its_call_and_an_error_of_none_has_no_call() {
        let source = || io::Error::from_raw_os_error(28);
        let file = rocker_cgroup::Error::Create {
            path: "/sys/fs/cgroup/x".into(),
            source: source(),
        };
        let layer = rocker_fs::Error::Store {
            operation: "open",
            path: "/l".into(),
            source: source(),
        };
        let link = rocker_net::Error::Namespace {
            operation: "enter",
            source: source(),
        };
        let state = Error::State {
            operation: "make the directory",
            path: "/d".into(),
            source: source(),
        };
        let all: [(Error, &str); 4] = [
            (file.into(), "mkdir"),
            (layer.into(), "openat"),
            (link.into(), "setns"),
            (state, "mkdir"),
        ];
        for (error, call) in all {
            let failed = error.call().unwrap();
            assert_eq!(
                (failed.call.as_str(), failed.errno),
                (call, 28),
                "{error:?}"
            );
        }
        assert_eq!(Error::NoCommand.call(), None);
    }
}
