//! Where two crates meet that do not know each other: rocker-fs describes the steps into a root file system, and
//! rocker-ns makes them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use rocker_cgroup::CgroupMountView;
use rocker_fs::Arg as From;
use rocker_ns::Arg as To;

use crate::Result;

/// The same steps in the words of rocker-ns.
pub(crate) fn translate(steps: Vec<rocker_fs::Step>) -> Result<Vec<rocker_ns::Step>> {
    steps.into_iter().map(|step| made_with(step, arg)).collect()
}

fn made_with(step: rocker_fs::Step, arg: impl FnMut(From) -> To) -> Result<rocker_ns::Step> {
    let args = step.args.into_iter().map(arg).collect();
    Ok(rocker_ns::Step::new(step.call, args)?
        .part_of("fs")
        .needing(step.needs)
        .tolerating(step.tolerates)
        .because(step.why))
}

// As large as one another, so that the arguments of a step can be translated in the memory that they are in.
const _: () =
    assert!(size_of::<From>() == size_of::<To>() && align_of::<From>() == align_of::<To>());

fn arg(arg: From) -> To {
    match arg {
        From::Null => To::Null,
        From::Int(number) => To::Int(number),
        From::Flags { value, names } => To::Flags { value, names },
        From::Str(text) => To::Str(text),
        From::Bytes { bytes, shown } => To::Bytes { bytes, shown },
        From::Fd(fd) => To::Fd(fd),
        From::Result(index) => To::Result(index),
        From::Cwd => To::Cwd,
    }
}

/// The steps by which a process moves itself into the cgroups of v1 that are mounted as `views`, by their `tasks` files.
pub(crate) fn joins(
    views: &[CgroupMountView],
    files: Vec<OwnedFd>,
) -> Result<Vec<rocker_ns::Step>> {
    let files = files.into_iter().map(|file| To::Fd(Arc::new(file)));
    trees_of_v1(views)
        .zip(files)
        .map(|(tree, file)| join(tree, file))
        .collect()
}

/// The same steps for a list that is only shown.
pub(crate) fn planned_joins(views: &[CgroupMountView]) -> Result<Vec<rocker_ns::Step>> {
    let file = |tree| To::flags(u64::MAX, format!("<tasks of {tree}>"));
    trees_of_v1(views)
        .map(|tree| join(tree, file(tree)))
        .collect()
}

fn trees_of_v1(views: &[CgroupMountView]) -> impl Iterator<Item = &str> {
    let on_v1 = views.iter().filter(|view| view.fstype == "cgroup");
    on_v1.map(|view| &*view.destination)
}

fn join(tree: &str, file: To) -> Result<rocker_ns::Step> {
    let own = To::bytes(*b"0", "\"0\"");
    let why = format!(
        "so that this process moves itself, and what comes of it, into its cgroup of {tree}"
    );
    Ok(rocker_ns::Step::new("write", vec![file, own, To::Int(1)])?
        .part_of("cgroup")
        .because(why))
}

/// The same steps for a list that is only shown: placeholders stand for the root, whose descriptor is `root`, and for the
/// copies of the bind mounts' `sources`, in their order.
///
/// Who has the privilege makes these copies before the child. For others rocker-fs lists the call, and one to close the
/// copy, among the child's: they are left out, since who runs the container has the privilege.
pub(crate) fn placeholders(
    steps: Vec<rocker_fs::Step>,
    root: RawFd,
    sources: &[PathBuf],
) -> Result<Vec<rocker_ns::Step>> {
    let shown = |text: String| To::flags(u64::MAX, text);
    let mut sources = sources
        .iter()
        .map(|source| format!("<copy of {}>", source.display()));
    let mut copies: Vec<(RawFd, To)> = vec![(root, shown("<root>".to_owned()))];
    // What each step's result is called in the new list.
    let mut results: Vec<To> = Vec::new();
    let mut made = Vec::new();
    for step in steps {
        if is_copy_of_source(&step) {
            results.push(shown(sources.next().unwrap_or_default()));
            continue;
        }
        let is_of_copy = |arg: &From| matches!(arg, From::Result(index) if matches!(results.get(*index), Some(To::Flags { .. })));
        if step.call == "close" && step.args.iter().any(is_of_copy) {
            results.push(To::Null);
            continue;
        }
        let mut place = |from: From| match from {
            // One that refers to itself or a later step is refused when the plan is put together.
            From::Result(index) => results.get(index).cloned().unwrap_or(To::Result(index)),
            From::Fd(fd) => {
                let number = fd.as_raw_fd();
                if let Some((_, known)) = copies.iter().find(|(known, _)| *known == number) {
                    return known.clone();
                }
                let copy = shown(sources.next().unwrap_or_default());
                copies.push((number, copy.clone()));
                copy
            }
            other => arg(other),
        };
        let needed = step.needs.map(|index| results.get(index).cloned());
        let step = made_with(step, &mut place)?.needing(match needed {
            Some(Some(To::Result(index))) => Some(index),
            // What the run has from its parent is there.
            _ => None,
        });
        results.push(To::Result(made.len()));
        made.push(step);
    }
    Ok(made)
}

/// Whether the step copies a bind mount's source by the descriptor that the parent has of it.
fn is_copy_of_source(step: &rocker_fs::Step) -> bool {
    step.call == "open_tree" && matches!(step.args.first(), Some(From::Fd(_)))
}
