//! Why a program does not start: by what the file is, and by what it asks for in its turn.

use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Advice;
use super::errno::{EACCES, ENOENT, ENOEXEC, ENOTDIR};
use crate::engine::View;
use crate::engine::image::elf::{self, Elf};
use crate::engine::rootfs::view::Found;

/// How much of a script's first line the kernel reads.
const FIRST_LINE: usize = 256;
/// The permission to execute, of anybody.
const ANY_X: u32 = 0o111;

/// Why execve(2) of `program`, looked for at `tried`, had this errno; none where what is seen does not tell.
pub(super) fn why(view: &View, program: &OsStr, tried: &[String], errno: i32) -> Option<Advice> {
    let paths: Vec<PathBuf> = if tried.is_empty() {
        candidates(view, program)
    } else {
        tried.iter().map(PathBuf::from).collect()
    };
    let there = paths
        .iter()
        .find_map(|path| Some((path.as_path(), view.find(path)?)));
    let Some((path, found)) = there else {
        return matches!(errno, ENOENT | ENOTDIR).then(|| missing(view, program, &paths));
    };
    match errno {
        ENOENT => wanting(view, path, &found),
        EACCES => Some(forbidden(view, path, &found)),
        ENOEXEC => Some(unreadable(view, path, &found)),
        _ => None,
    }
}

/// Where a program is looked for; at which place it was found, is not in the error.
fn candidates(view: &View, program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    view.search.iter().map(|dir| dir.join(program)).collect()
}

/// What to look for the program in, as a sentence calls it.
fn whole(view: &View) -> &'static str {
    if view.is_container {
        "the container"
    } else {
        "the image"
    }
}

/// How to get a shell there.
fn shell(view: &View) -> String {
    if view.is_container {
        format!("rocker exec -it {} sh", view.name)
    } else {
        format!("rocker run --rm -it --entrypoint sh {}", view.name)
    }
}

fn missing(view: &View, program: &OsStr, paths: &[PathBuf]) -> Advice {
    let program = program.to_string_lossy();
    let whole = whole(view);
    let cause = match paths {
        [path] => match above(view, path) {
            Some(file) => format!("{} is no directory in {whole}", file.display()),
            None => format!("{whole} has no {}", path.display()),
        },
        _ => format!("no directory of the PATH has a program {program:?} in {whole}"),
    };
    let remedy = if view.find(Path::new("/bin/sh")).is_some() {
        format!("look for it: {}", shell(view))
    } else if program.contains(' ') {
        "write program and arguments apart, without quotes around them all".to_owned()
    } else {
        format!("name a program that {whole} has; there is no shell to look around with")
    };
    Advice { cause, remedy }
}

/// What stands in the place of a directory on the way.
fn above<'a>(view: &View, path: &'a Path) -> Option<&'a Path> {
    let above = path.ancestors().skip(1);
    above
        .filter(|path| !path.as_os_str().is_empty())
        .find_map(|path| view.find(path).map(|found| (path, found)))
        .filter(|(_, found)| !found.is_directory)
        .map(|(path, _)| path)
}

/// The file is there, and what it needs is not.
fn wanting(view: &View, path: &Path, found: &Found) -> Option<Advice> {
    let path = path.display();
    let whole = whole(view);
    if let Some(elf) = Elf::read(&found.head) {
        let loader = elf.interpreter?;
        let loader = Path::new(OsStr::from_bytes(&loader));
        if view.find(loader).is_some() {
            return None;
        }
        return Some(Advice {
            cause: format!(
                "{path} is there, but the ELF interpreter that it asks for, {}, is not in {whole}",
                loader.display()
            ),
            remedy: format!(
                "link the program statically, or take a base image with that C library{}",
                library(loader)
            ),
        });
    }
    let interpreter = first_line(&found.head)?;
    if let Some(bare) = interpreter.strip_suffix(b"\r") {
        let bare = String::from_utf8_lossy(bare);
        return Some(Advice {
            cause: format!(
                "the first line of {path} ends in a carriage return, so {bare:?} is looked for with one at its end"
            ),
            remedy: format!("write it with Unix line ends: sed -i 's/\\r$//' {path}"),
        });
    }
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    if view.find(interpreter).is_some() {
        return None;
    }
    Some(Advice {
        cause: format!(
            "{path} is a script for {interpreter}, which is not in {whole}",
            interpreter = interpreter.display()
        ),
        remedy: format!("install it in the image, or name an interpreter that is there: sh {path}"),
    })
}

/// Whose loader it is, by its name.
fn library(loader: &Path) -> &'static str {
    let name = loader.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("ld-musl") {
        ": musl, as Alpine has it"
    } else if name.starts_with("ld-linux") || name.starts_with("ld64") {
        ": glibc, as Debian has it"
    } else {
        ""
    }
}

fn forbidden(view: &View, path: &Path, found: &Found) -> Advice {
    let shown = path.display();
    let is_script = found.head.starts_with(b"#!");
    let (cause, remedy) = if found.is_directory {
        (
            format!("{shown} is a directory"),
            "name a program in it".to_owned(),
        )
    } else if !found.is_regular {
        (
            format!("{shown} is a device, socket or pipe"),
            "name a program".to_owned(),
        )
    } else if found.no_exec {
        (
            format!("{shown} lies on a file system that is mounted noexec on the host"),
            "move it to another one, or mount that with exec: mount -o remount,exec MOUNT"
                .to_owned(),
        )
    } else if found.mode & ANY_X == 0 {
        let aid = if is_script || Elf::read(&found.head).is_none() {
            format!("chmod +x it where the image is built, or name its interpreter: sh {shown}")
        } else {
            "chmod +x it where the image is built".to_owned()
        };
        (
            format!("nobody may execute {shown}: it has no x permission"),
            aid,
        )
    } else if let Some(interpreter) = first_line(&found.head)
        && let Some(there) = view.find(Path::new(OsStr::from_bytes(interpreter)))
        && (there.mode & ANY_X == 0 || !there.is_regular)
    {
        let interpreter = String::from_utf8_lossy(interpreter);
        (
            format!(
                "{shown} is a script for {interpreter}, which is no program that can be executed"
            ),
            "correct its first line".to_owned(),
        )
    } else {
        (
            format!(
                "the container's user may not execute {shown}, or not enter a directory above it"
            ),
            "run it as another user (--user root), or chmod a+x it".to_owned(),
        )
    };
    Advice { cause, remedy }
}

/// No loader of the kernel knows the file.
fn unreadable(view: &View, path: &Path, found: &Found) -> Advice {
    let shown = path.display();
    let (cause, remedy) = match Elf::read(&found.head) {
        Some(elf) if !elf.is_for(ARCH) => {
            let platform = elf::platform(ARCH);
            let pull = match view.is_container {
                true => "run an image for this machine".to_owned(),
                false => format!("rocker pull --platform {platform} {}", view.name),
            };
            (
                format!(
                    "{shown} is for {}, and this machine is {ARCH}",
                    elf.machine()
                ),
                format!("{pull}, or install qemu-user-static on the host to emulate"),
            )
        }
        Some(_) => (
            format!("{shown} is a damaged program, or one for another kernel than Linux"),
            "build it anew".to_owned(),
        ),
        None if found.head.is_empty() => (
            format!("{shown} is empty"),
            "write a program into it".to_owned(),
        ),
        None => (
            format!("{shown} is neither a program nor a script that begins with #!"),
            format!("begin it with #!/bin/sh, or name its interpreter: sh {shown}"),
        ),
    };
    Advice { cause, remedy }
}

/// The interpreter that a script names in its first line.
fn first_line(head: &[u8]) -> Option<&[u8]> {
    let line = head
        .get(..head.len().min(FIRST_LINE))?
        .strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let interpreter = &line[..end.unwrap_or(line.len())];
    (!interpreter.is_empty()).then_some(interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_the_first_word_of_its_first_line() {
        for (head, interpreter) in [
            (&b"#!/bin/sh\nx"[..], Some(&b"/bin/sh"[..])),
            (b"#! /usr/bin/env python3\n", Some(b"/usr/bin/env")),
            (b"#!/bin/sh\r\n", Some(b"/bin/sh\r")),
            (b"#!/bin/sh", Some(b"/bin/sh")),
            (b"#!\n/bin/sh", None),
            (b"echo", None),
            (b"", None),
        ] {
            assert_eq!(first_line(head), interpreter, "{}", head.escape_ascii());
        }
    }
}
