//! Standing between a person and a program: signals, the terminal, and the exit status.

use std::fmt;
use std::io::{self, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};

use crate::attach::ready;
use crate::pump::{Pump, timeout};
use crate::signals::Echo;
use crate::{
    Attach, Attendant, Child, DetachKeys, Error, Output, RawMode, Result, Signals, Terminal,
    WindowSize,
};

/// Passes signals, piped streams and the terminal between this process and a program, until the program ends.
///
/// What the program has [piped](crate::Stdio::piped) goes to and from this process's own standard streams. What is slow to
/// be taken is not read either: nothing grows, and signals get through all the same. A program that three requests to
/// end (interrupt or terminate) leave unimpressed is killed.
///
/// ```no_run
/// use rocker_ns::{Command, Relay, Signals};
///
/// let signals = Signals::hold()?;
/// let mut child = Command::new("/bin/sh").spawn()?;
/// let status = Relay::new(&mut child, &signals).run()?;
/// # Ok::<(), rocker_ns::Error>(())
/// ```
///
/// Others may take part: an [`Attendant`] hears what the program writes, and clients [attach](Attach). Together with them a
/// program can be relayed [in the background](Self::in_background), first or after the person in front of it has left.
pub struct Relay<'a> {
    child: &'a mut Child,
    signals: &'a Signals,
    terminal: Option<&'a Terminal>,
    interactive: bool,
    stop_signal: i32,
    /// How many requests to end it the program has had.
    requests: u32,
    /// Since when nobody looks at its terminal.
    hung_up: Option<Instant>,
    echo: Echo,
    attendant: Option<&'a mut dyn Attendant>,
    attach: Option<&'a mut Attach>,
    in_background: bool,
}

/// What comes from the program.
struct Outlet {
    pump: Pump,
    /// Which of its streams that is; none for the terminal, of which it cannot be closed.
    pipe: Option<Output>,
}

/// What has happened to each of the descriptors that are waited for.
struct Woken {
    /// The pumps that do not wait any more, in order; not those that are done.
    pumps: Vec<bool>,
    attach: Vec<PollFlags>,
}

/// How long a program without a terminal may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// After which time a program whose terminal nobody looks at is looked after again.
const HUNG_UP_PAUSE: Duration = Duration::from_millis(100);

/// How many requests to end a program may overhear.
const PATIENCE: u32 = 3;

impl<'a> Relay<'a> {
    /// Relays between this process and `child`.
    pub fn new(child: &'a mut Child, signals: &'a Signals) -> Self {
        Self {
            child,
            signals,
            terminal: None,
            interactive: false,
            stop_signal: libc::SIGTERM,
            requests: 0,
            hung_up: None,
            echo: Echo::default(),
            attendant: None,
            attach: None,
            in_background: false,
        }
    }

    /// The signal by which the program wants to be asked to end: it gets that one in place of SIGTERM.
    #[must_use]
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Relays the program's terminal to standard output and, if `interactive`, from standard input. An input that is a
    /// terminal is in raw mode for as long as the program runs, and passes its size on.
    #[must_use]
    pub fn terminal(mut self, terminal: &'a Terminal, interactive: bool) -> Self {
        self.terminal = Some(terminal);
        self.interactive = interactive;
        self
    }

    /// Tells `attendant` what the program writes, and lets it do what it has to do meanwhile.
    #[must_use]
    pub fn attendant(mut self, attendant: &'a mut dyn Attendant) -> Self {
        self.attendant = Some(attendant);
        self
    }

    /// Lets others attach to the program. The end of the program is told to them by [`Attach::farewell`].
    #[must_use]
    pub fn attach(mut self, attach: &'a mut Attach) -> Self {
        self.attach = Some(attach);
        self
    }

    /// Leaves this process's own standard streams alone: the program is heard by the [attendant](Self::attendant) and by
    /// [clients](Self::attach) only, and never waits for anybody. So it is for a program that is relayed for the second time, after
    /// [`run_until_detached`](Self::run_until_detached): its streams are still those of the [`Child`].
    #[must_use]
    pub fn in_background(mut self, yes: bool) -> Self {
        self.in_background = yes;
        self
    }

    /// Relays until the program ends, and returns how.
    ///
    /// # Errors
    /// [`Error::Call`] when waiting fails; what the attendant returns.
    pub fn run(mut self) -> Result<ExitStatus> {
        loop {
            // Without keys there is no other way out.
            if let Some(status) = self.relay(None)? {
                return Ok(status);
            }
        }
    }

    /// Relays until the program ends, and returns how, or until the person in front of the terminal types `keys`: then
    /// there is nothing to return, the terminal is as it was, and the program goes on.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_until_detached(mut self, keys: DetachKeys) -> Result<Option<ExitStatus>> {
        self.relay(Some(keys))
    }

    fn relay(&mut self, keys: Option<DetachKeys>) -> Result<Option<ExitStatus>> {
        let pumps = self.pumps(keys);
        let (mut inputs, mut outputs) = pumps.map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))?;
        self.pass_size();
        let raw = self
            .terminal
            .filter(|_| self.interactive && !self.in_background)
            .and_then(|_| RawMode::enter(stdin()).ok());
        if let Some(attach) = &mut self.attach {
            attach.begin(self.terminal.is_some());
        }
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            let woken = self.wait(&inputs, &outputs)?;
            // The clients first, so that who has just come hears what comes now.
            let no_more_input = self.serve(&woken.attach)? && self.terminal.is_none();
            let mut ready = woken.pumps.into_iter();
            for pump in &mut inputs {
                if pump.wanted().is_some() && ready.next() == Some(true) {
                    pump.turn(&mut |_| {});
                }
            }
            for outlet in &mut outputs {
                if outlet.pump.wanted().is_some() && ready.next() == Some(true) {
                    let output = outlet.pipe.unwrap_or(Output::Stdout);
                    outlet.pump.turn(&mut |bytes| self.heard(output, bytes));
                }
            }
            if no_more_input {
                self.child.stdin = None;
                inputs.clear();
            }
            if inputs.iter().any(Pump::is_left) {
                break None;
            }
            self.close(&inputs, &mut outputs);
            if self.terminal.is_some() && outputs.iter().any(|outlet| outlet.pump.is_unheard()) {
                self.hang_up()?;
            }
            self.pass_signals()?;
            if let Some(attendant) = &mut self.attendant {
                attendant.attend(self.child.process())?;
            }
        };
        if status.is_some() {
            // Who waits to be let in hears the last words, too.
            self.serve(&[PollFlags::POLLIN])?;
            for outlet in &mut outputs {
                let output = outlet.pipe.unwrap_or(Output::Stdout);
                let signals = self.signals;
                outlet
                    .pump
                    .finish(signals, &mut |bytes| self.heard(output, bytes));
            }
            (self.child.stdin, self.child.stdout, self.child.stderr) = (None, None, None);
        }
        drop(raw);
        Ok(status)
    }

    /// Waits until the program has ended, a signal has come, one of the pumps has got what it waits for, or somebody else
    /// has something to do.
    fn wait(&self, inputs: &[Pump], outputs: &[Outlet]) -> Result<Woken> {
        let mut fds = vec![
            PollFd::new(self.child.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let pumps = inputs.iter().chain(outputs.iter().map(|it| &it.pump));
        fds.extend(pumps.filter_map(Pump::wanted));
        let of_attach = fds.len();
        if let Some(attach) = &self.attach {
            fds.extend(attach.wanted(input_of(self.child, self.terminal)));
        }
        let of_attendant = fds.len();
        if let Some(attendant) = &self.attendant {
            let wakers = attendant.wakers().into_iter();
            fds.extend(wakers.map(|waker| PollFd::new(waker, PollFlags::POLLIN)));
        }
        let ready = match poll(&mut fds, timeout(self.deadline())) {
            Ok(_) => ready(&fds[..of_attendant]),
            Err(Errno::EINTR) => vec![PollFlags::empty(); of_attendant],
            Err(error) => return Err(failed("poll")(error.into())),
        };
        Ok(Woken {
            pumps: ready[2..of_attach]
                .iter()
                .map(|it| !it.is_empty())
                .collect(),
            attach: ready[of_attach..].to_vec(),
        })
    }

    /// When there is something to do that no descriptor tells of.
    fn deadline(&self) -> Option<Instant> {
        let hung_up = self.hung_up.map(|_| Instant::now() + HUNG_UP_PAUSE);
        let attach = self.attach.as_ref().and_then(|attach| attach.deadline());
        let attendant = self.attendant.as_ref().and_then(|it| it.deadline());
        [hung_up, attach, attendant].into_iter().flatten().min()
    }

    /// Tells whoever listens what the program has written.
    fn heard(&mut self, output: Output, bytes: &[u8]) {
        if let Some(attendant) = &mut self.attendant {
            attendant.heard(output, bytes);
        }
        if let Some(attach) = &mut self.attach {
            attach.heard(output, bytes);
        }
    }

    /// Does for the clients what there is to do. True when the program's input is to be closed.
    fn serve(&mut self, ready: &[PollFlags]) -> Result<bool> {
        let Some(attach) = &mut self.attach else {
            return Ok(false);
        };
        let wishes = attach.turn(ready, input_of(self.child, self.terminal));
        if let (Some(terminal), Some(size)) = (self.terminal, wishes.size) {
            let _ = terminal.resize(size);
        }
        for signal in wishes.signals {
            let signal = match signal {
                libc::SIGTERM => self.stop_signal,
                other => other,
            };
            // One that the kernel refuses is the client's error, not the program's end.
            if let Err(error) = self.child.process().signal(signal) {
                tracing::warn!(%error, "a client's signal could not be passed on");
            }
        }
        Ok(wishes.end_of_input)
    }

    /// Closes what is done with, so that the program learns of the end of its input, and that nobody reads what it writes.
    fn close(&mut self, inputs: &[Pump], outputs: &mut Vec<Outlet>) {
        if self.terminal.is_none() && inputs.iter().any(Pump::is_done) {
            self.child.stdin = None;
        }
        outputs.retain(|outlet| {
            let is_closed = outlet.pipe.is_some() && outlet.pump.is_done();
            match outlet.pipe.filter(|_| is_closed) {
                Some(Output::Stdout) => self.child.stdout = None,
                Some(Output::Stderr) => self.child.stderr = None,
                None => {}
            }
            !is_closed
        });
    }

    /// Ends a program whose terminal nobody looks at any more: by SIGHUP first, as the end of a terminal does.
    fn hang_up(&mut self) -> Result<()> {
        match self.hung_up {
            None => {
                self.hung_up = Some(Instant::now());
                self.child.process().signal(libc::SIGHUP)
            }
            Some(since) if since.elapsed() >= GRACE => self.child.process().signal(libc::SIGKILL),
            Some(_) => Ok(()),
        }
    }

    /// Passes on the signals that have come in.
    fn pass_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.next() {
            if self.echo.is(signal) {
                continue;
            }
            if matches!(signal.number, libc::SIGINT | libc::SIGTERM) {
                self.requests += 1;
            }
            let number = match signal.number {
                libc::SIGWINCH if self.terminal.is_some() => {
                    self.pass_size();
                    continue;
                }
                _ if self.requests >= PATIENCE => libc::SIGKILL,
                libc::SIGTERM => self.stop_signal,
                other => other,
            };
            self.child.process().signal(number)?;
            if let Some(attendant) = &mut self.attendant {
                attendant.passed_on(signal.number);
            }
        }
        Ok(())
    }

    /// What goes to the program, and what comes from it. The child keeps its ends of the pipes, for a relay after this one.
    fn pumps(&self, keys: Option<DetachKeys>) -> io::Result<(Vec<Pump>, Vec<Outlet>)> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut outlet = |from: BorrowedFd<'_>, to: BorrowedFd<'_>, pipe| -> io::Result<()> {
            let pump = match self.in_background {
                true => Pump::to_nowhere(from)?,
                false => Pump::new(from, to)?,
            };
            outputs.push(Outlet { pump, pipe });
            Ok(())
        };
        if let Some(terminal) = self.terminal {
            terminal.set_nonblocking()?;
            outlet(terminal.as_fd(), stdout().as_fd(), None)?;
            if self.interactive && !self.in_background {
                inputs.push(Pump::new(stdin(), terminal)?.until(keys));
            }
        }
        if let Some(pipe) = &self.child.stdin {
            if self.attach.is_some() {
                // Clients and this process's own input may both find room, and only one of them gets it.
                let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
                fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
            }
            if !self.in_background {
                inputs.push(Pump::new(stdin(), pipe)?);
            }
        }
        if let Some(pipe) = &self.child.stdout {
            outlet(pipe.as_fd(), stdout().as_fd(), Some(Output::Stdout))?;
        }
        if let Some(pipe) = &self.child.stderr {
            outlet(pipe.as_fd(), stderr().as_fd(), Some(Output::Stderr))?;
        }
        Ok((inputs, outputs))
    }

    fn pass_size(&self) {
        if self.in_background {
            return;
        }
        let size = WindowSize::of(stdin()).or_else(|| WindowSize::of(stdout()));
        if let (Some(terminal), Some(size)) = (self.terminal, size) {
            let _ = terminal.resize(size);
        }
    }
}

/// What a program reads its input from, for clients.
fn input_of<'f>(child: &'f Child, terminal: Option<&'f Terminal>) -> Option<BorrowedFd<'f>> {
    let terminal = terminal.map(AsFd::as_fd);
    terminal.or_else(|| child.stdin.as_ref().map(AsFd::as_fd))
}

impl fmt::Debug for Relay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("child", &self.child)
            .field("terminal", &self.terminal)
            .field("interactive", &self.interactive)
            .field("in_background", &self.in_background)
            .field("attach", &self.attach)
            .finish_non_exhaustive()
    }
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Call {
        call: call.to_owned(),
        why: "so that the program can be heard",
        source,
    }
}
