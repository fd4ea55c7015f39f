//! The size of terminals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::done;
use crate::terminal::WindowSize;
use crate::trace::traced;

/// `TIOCGWINSZ`: the size of a terminal, see ioctl_tty(2).
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> io::Result<WindowSize> {
    // SAFETY: winsize is plain numbers, for which zero is valid.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes a winsize.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    done(result.into())?;
    Ok(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// `TIOCSWINSZ`: tells a terminal its size, see ioctl_tty(2).
pub(crate) fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = terminal.as_raw_fd();
    let why = "so that the program knows the size of its terminal";
    let (rows, columns) = (size.ws_row, size.ws_col);
    let args = || format!("{terminal}, TIOCSWINSZ, {{ws_row={rows}, ws_col={columns}}}");
    traced("ioctl", why, args, || {
        // SAFETY: the request reads a winsize.
        done(unsafe { libc::ioctl(terminal, libc::TIOCSWINSZ, &size) }.into())
    })
}
