//! Where two crates meet that do not know each other: rocker-fs describes the steps into a root file system, and
//! rocker-ns makes them.

use crate::Result;

/// The same steps in the words of rocker-ns.
pub(crate) fn translate(steps: Vec<rocker_fs::Step>) -> Result<Vec<rocker_ns::Step>> {
    let step = |step: rocker_fs::Step| {
        let args = step.args.into_iter().map(arg).collect();
        Ok(rocker_ns::Step::new(step.call, args)?
            .part_of("fs")
            .tolerating(step.tolerates)
            .because(step.why))
    };
    steps.into_iter().map(step).collect()
}

fn arg(arg: rocker_fs::Arg) -> rocker_ns::Arg {
    use rocker_fs::Arg as From;
    use rocker_ns::Arg as To;
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
