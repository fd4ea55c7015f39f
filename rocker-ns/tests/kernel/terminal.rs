//! A terminal of the program's own.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rocker_ns::{ExitCode, Step, WindowSize};

use crate::fake_host;
use crate::{OWN, devpts, read_all, shell};

#[test]
fn a_terminal_of_the_containers_own_devpts_has_a_size_and_job_control() {
    fake_host::run(|_| {
        let mut command = shell(
            "stty size; tty; ps -o tty= -p $$ 2>/dev/null || true; read line; echo got $line",
        );
        let setup = [Step::private_mounts(), Step::mount_proc(), devpts()];
        command.unshare(OWN).setup(setup).terminal(true);
        let mut created = command.create().unwrap();
        let terminal = created.terminal().unwrap().unwrap();
        terminal
            .resize(WindowSize {
                rows: 33,
                columns: 77,
            })
            .unwrap();
        let mut child = created.start().unwrap();
        let mut master = File::from(terminal.as_fd().try_clone_to_owned().unwrap());
        master.write_all(b"hello\n").unwrap();
        let text = read_all(master);
        assert_eq!(child.wait().unwrap().exit_code(), 0, "{text}");
        for part in ["33 77", "/dev/pts/0", "got hello"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    });
}
