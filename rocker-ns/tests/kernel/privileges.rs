//! What a program may do, and what it cannot get at.

use std::fs;

use rocker_ns::{Capabilities, Command, Error, User};

use crate::fake_host;
use crate::{chain, output, shell};

#[test]
fn the_bounding_set_is_what_was_asked_for_and_inheritable_is_empty() {
    fake_host::run(|_| {
        let status = "grep -E '^(Cap|Groups|NoNewPrivs|Uid)' /proc/self/status | tr -s '\\t ' ' '";
        let mut command = shell(status);
        command
            .capabilities(Capabilities::container_default())
            .user(User::resolve("", b"", b"").unwrap());
        let text = output(&mut command);
        for line in [
            "CapInh: 0000000000000000",
            "CapPrm: 00000000a80425fb",
            "CapEff: 00000000a80425fb",
            "CapBnd: 00000000a80425fb",
            "Groups: 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let mut command = shell(status);
        command
            .capabilities(Capabilities::container_default())
            .no_new_privileges(true);
        command.user(User::resolve("1000:7", b"", b"").unwrap());
        let text = output(&mut command);
        for line in [
            "CapPrm: 0000000000000000",
            "CapEff: 0000000000000000",
            "CapBnd: 00000000a80425fb",
            "Groups: 7",
            "Uid: 1000 1000 1000 1000",
            "NoNewPrivs: 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    });
}

#[test]
fn the_working_directory_cannot_be_behind_a_leaked_descriptor() {
    fake_host::run(|_| {
        let leaked = fs::File::open("/").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
        let error = shell("pwd")
            .current_dir(format!("/proc/self/fd/{number}"))
            .spawn()
            .unwrap_err();
        assert!(
            chain(&error).contains("Too many levels of symbolic links"),
            "{}",
            chain(&error)
        );
    });
}

#[test]
fn no_program_is_found_through_a_descriptor_of_the_parents() {
    fake_host::run(|_| {
        // CVE-2024-21626, by the program's own path: close-on-exec would come too late.
        let open = fs::File::open("/").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        for path in ["usr/bin/env", "../usr/bin/env"] {
            let error = Command::new(format!("/proc/self/fd/{number}/{path}"))
                .spawn()
                .unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{}", chain(&error));
        }
    });
}

#[test]
fn no_container_can_write_to_the_program_on_the_host() {
    fake_host::run(|_| {
        // CVE-2019-5736. The first call starts this very test over; the second finds the program protected.
        rocker_ns::protect_executable().unwrap();
        let write = nix::unistd::access("/proc/self/exe", nix::unistd::AccessFlags::W_OK);
        assert_eq!(write, Err(nix::errno::Errno::EROFS));
    });
}
