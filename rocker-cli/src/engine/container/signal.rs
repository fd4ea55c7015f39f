//! The signals that are spoken of, see [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html); their numbers are the same
//! on every Linux that rocker runs on.

pub(crate) const SIGHUP: i32 = 1;
pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCONT: i32 = 18;
