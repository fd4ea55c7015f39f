//! A process that exists and does not yet run its program.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::attest::{self, Expected, Fact};
use crate::build::{self, Line, Streams};
use crate::clone::{self, Orders};
use crate::command::{Command, FurtherSteps};
use crate::init::Init;
use crate::outside;
use crate::plan::Plan;
use crate::report::Report;
use crate::step::Role;
use crate::sys;
use crate::trace::traced;
use crate::{Child, Error, Namespace, Process, Result, Terminal, kernel_file, trace};

/// A process in its namespaces that waits for its parent.
///
/// It waits twice. Until [`set_up`](Self::set_up) it has done nothing, so that the parent can put it into cgroups. Until
/// [`start`](Self::start) its program does not run: meanwhile it sets itself up, while the parent can, at the same time,
/// connect its network namespace. Dropping it kills and reaps the process; nothing of it is left.
#[derive(Debug)]
#[must_use = "dropping it kills the process"]
pub struct Created {
    program: OsString,
    plan: Plan,
    report: Report,
    line: UnixStream,
    pid: u32,
    pidfd: OwnedFd,
    pipes: [Option<OwnedFd>; 3],
    terminal: Option<RawFd>,
    /// The process beside which this one is to run.
    entered: Option<Arc<OwnedFd>>,
    /// The step at which the process was made, or will be, by the one that was made first.
    fork: Option<(usize, u32)>,
    /// The step at which the process becomes an init.
    init: Option<usize>,
    /// The steps that lead into the working directory, and what it is called.
    directory: Option<(RangeInclusive<usize>, PathBuf)>,
    fail_at: Option<usize>,
    /// When it is killed if it is not ready.
    limit: Option<Instant>,
    /// What the kernel is to say of it when it has set itself up.
    expected: Expected,
    /// What the kernel has said of the maker.
    own_status: Option<String>,
    /// The files that it then has open.
    files: BTreeSet<i32>,
    state: State,
    maker: u32,
}

/// Held from the making of a line until the process has it to itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for the first release.
    Blocked,
    /// It makes the steps of its plan.
    SettingUp,
    /// It has made all but the last, and waits for the second release.
    Ready,
    /// It is gone or handed on.
    Over,
}

impl Created {
    pub(crate) fn new(command: &Command, steps: FurtherSteps) -> Result<Self> {
        // A process that another thread makes meanwhile would be born with a copy of this one's end of its line, and
        // keep it open.
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, theirs) = traced(
            "socketpair",
            "so that parent and child can wait for each other",
            || "AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0".to_owned(),
            UnixStream::pair,
        )
        .map_err(|source| Error::Call {
            call: "socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0)".to_owned(),
            why: "so that parent and child can wait for each other",
            source,
        })?;
        let mut streams = Streams::ready(command)?;
        streams.line = Some(Line {
            child: Arc::new(theirs.into()),
            parent: line.as_raw_fd(),
        });
        let own_status = attest::own_status().ok();
        let mut built = build::build(command, steps, &streams, own_status.as_deref())?;
        let report = Report::new(built.plan.steps().len(), command.timed)?;
        let init = command.init.then(Init::prepare).transpose()?;
        let files = built.plan.take_files();
        let orders = Orders {
            steps: built.plan.steps(),
            report: &report,
            fail_at: command.fail_at.unwrap_or(usize::MAX),
            memory: init.as_ref().map(Init::range).unwrap_or_default(),
        };
        let expected = command.expected()?;
        let (pid, pidfd) = clone::clone(command, &orders)?;
        drop(files);
        let theirs = streams.line.as_ref().map(|line| line.child.as_raw_fd());
        let files = (0..3).chain(theirs).chain(built.terminal).collect();
        streams.line = None;
        let created = Self {
            program: command.program.clone(),
            plan: built.plan,
            report,
            line,
            pid,
            pidfd,
            pipes: streams.standard.map(|ready| ready.parent), // and not the child's ends
            terminal: built.terminal,
            entered: command.enter.as_ref().map(|(pidfd, _)| Arc::clone(pidfd)),
            fork: built.fork.map(|step| (step, pid)),
            init: built.init,
            directory: built.directory.zip(command.current_dir.clone()),
            fail_at: command.fail_at,
            limit: command.ready_within.map(|limit| Instant::now() + limit),
            expected,
            own_status,
            files,
            state: State::Blocked,
            maker: std::process::id(),
        };
        outside::give(command, created.pid)?;
        Ok(created)
    }

    /// The process's id. For a command that [enters](Command::enter) a PID namespace it is, until
    /// [`set_up`](Self::set_up), that of the process which will make the final one; cgroups are inherited from it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// The process by more than its id, which is final when it has [set itself up](Self::set_up).
    ///
    /// # Errors
    /// [`Error::Call`] when no more files can be opened.
    pub fn process(&self) -> Result<Process> {
        let pidfd = self.pidfd.try_clone();
        let pidfd = pidfd.map_err(|source| self.call_failed("fcntl(F_DUPFD_CLOEXEC)", source))?;
        Ok(Process::new(self.pid, pidfd))
    }

    /// One of the process's namespaces, by file descriptor.
    ///
    /// # Errors
    /// [`Error::Proc`] when the process was killed meanwhile.
    pub fn namespace(&self, namespace: Namespace) -> Result<OwnedFd> {
        namespace.of(self.pid)
    }

    /// The list of system calls that the process makes.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Lets the process set itself up. Returns at once: what comes of it is known to [`ready`](Self::ready).
    ///
    /// # Errors
    /// For a command that [enters](Command::enter) a PID namespace, the error of joining: [`Error::Step`].
    pub fn set_up(&mut self) -> Result<()> {
        if self.state != State::Blocked {
            return Ok(());
        }
        self.release();
        self.state = State::SettingUp;
        if let Some((fork, _)) = self.fork {
            // This process ends when it has made the one that goes on, or when it has failed.
            let why = "so that the process in between, whose work is done, is gone";
            let ended = sys::wait(self.pidfd.as_fd(), why);
            ended.map_err(|source| self.call_failed("waitid(P_PIDFD)", source))?;
            let made = self
                .report
                .done(fork)
                .map(|done| done.result)
                .and_then(|pid| u32::try_from(pid).ok());
            let Some(pid) =
                made.filter(|_| self.report.failure().is_none_or(|(index, _)| index > fork))
            else {
                self.state = State::Over;
                return Err(self.why_not());
            };
            // The id cannot have been used again: the process is our child (CLONE_PARENT) and was not waited for.
            let why = "so that the program is known by more than its number";
            self.pidfd = sys::pidfd_open(pid, why)
                .map_err(|source| self.call_failed("pidfd_open", source))?;
            self.pid = pid;
        }
        Ok(())
    }

    /// Waits until the process has set itself up.
    ///
    /// # Errors
    /// [`Error::Step`] when a step of the plan failed, [`Error::Killed`] when the process was killed before its end.
    pub fn ready(&mut self) -> Result<()> {
        self.set_up()?;
        if self.state == State::SettingUp {
            match self.hear() {
                true => self.state = State::Ready,
                false => return Err(self.why_not()),
            }
        }
        Ok(())
    }

    /// The parent's end of the process's terminal; it is made ready first. None without [`Command::terminal`].
    ///
    /// # Errors
    /// As [`ready`](Self::ready), and [`Error::Call`] when the descriptor cannot be taken over (Linux 5.6, and ptrace
    /// access to the process).
    pub fn terminal(&mut self) -> Result<Option<Terminal>> {
        let Some(fd) = self.terminal else {
            return Ok(None);
        };
        self.ready()?;
        let master = traced(
            "pidfd_getfd",
            "so that the parent has the other end of the program's terminal",
            || format!("{}, {fd}, 0", self.pid),
            || sys::pidfd_getfd(self.pidfd.as_fd(), fd),
        );
        let master = master.map_err(|source| self.call_failed("pidfd_getfd", source))?;
        Ok(Some(Terminal::new(master)))
    }

    /// Holds what the kernel says of the process against what was asked for, after it has set itself up and before its
    /// program runs: its ids, capabilities, namespaces, id maps, limits, open files, whether it has a seccomp filter and no_new_privs.
    ///
    /// # Errors
    /// [`Error::NotAsAsked`] for the first difference; the process is gone then. As [`ready`](Self::ready), and
    /// [`Error::Proc`] where the kernel does not tell.
    pub fn attest(&mut self) -> Result<()> {
        self.attest_also(|_| Ok::<_, Error>(Vec::new()))
    }

    /// As [`attest`](Self::attest), with `further` facts about the process of this id that the caller knows how to tell.
    ///
    /// # Errors
    /// As [`attest`](Self::attest), and what `further` returns. The process is gone then.
    pub fn attest_also<E: From<Error>>(
        &mut self,
        further: impl FnOnce(u32) -> std::result::Result<Vec<Fact>, E>,
    ) -> std::result::Result<(), E> {
        // While it sets itself up.
        self.set_up()?;
        let caller = attest::Caller::look(self.own_status.take());
        self.ready()?;
        let own = caller.and_then(|caller| {
            self.expected
                .compare_before_start(self.pid, &self.files, &caller)
        });
        let outcome = own.and_then(attest::check).map_err(E::from);
        let outcome = outcome.and_then(|()| Ok(attest::check(further(self.pid)?)?));
        outcome.map_err(|error| {
            // Of one that has ended meanwhile the kernel says other things, or nothing.
            let moment = PollTimeout::from(100_u8);
            if self.state != State::Over && sys::has_ended(self.pidfd.as_fd(), moment) {
                return self.why_not().into();
            }
            self.reap();
            error
        })
    }

    /// Runs the program. One that then has another AppArmor profile or SELinux label than was asked for is killed.
    ///
    /// # Errors
    /// As [`ready`](Self::ready), [`Error::NotAsAsked`] for the label, and [`Error::NotFound`] or [`Error::NotExecutable`] for the program itself. The process
    /// is gone then.
    pub fn start(mut self) -> Result<Child> {
        self.set_up()?;
        // Beforehand, so that a process which is not ready yet need not wait for a second time.
        self.release();
        self.ready()?;
        // The line closes when the program runs, since it is close-on-exec, or when the process ends.
        self.hear();
        let began = self
            .report
            .begun()
            .checked_sub(1)
            .and_then(|last| self.plan.steps().get(last));
        if self.report.failure().is_some() || began.is_none_or(|step| step.role != Role::Exec) {
            return Err(self.why_not());
        }
        self.trace(sys::monotonic());
        // Only now has it a label. Of a program that has ended already there is none to be told.
        if let Ok(label) = self.expected.compare_label(self.pid) {
            attest::check(label.into_iter().collect()).inspect_err(|_| self.reap())?;
        }
        self.state = State::Over;
        let pidfd = self
            .pidfd
            .try_clone()
            .map_err(|source| self.call_failed("fcntl(F_DUPFD_CLOEXEC)", source))?;
        let [stdin, stdout, stderr] = std::mem::take(&mut self.pipes);
        Ok(Child::new(self.pid, pidfd, stdin, stdout, stderr))
    }

    /// Lets the process go on behind the wait that it is in, or will be in.
    fn release(&mut self) {
        // A process that was killed does not listen; the following read finds that out.
        let why = "so that the new process, which waits for it, goes on";
        let args = || format!("{}, \"G\", 1", self.line.as_raw_fd());
        let _ = traced("write", why, args, || (&self.line).write(b"G"));
    }

    /// Waits for a word of the process; false when the line is at its end.
    fn hear(&mut self) -> bool {
        let mut word = [0];
        let why = "so that the new process is waited for: a byte says that it is ready, the end of the line that its program \
                   runs, or that it is gone";
        loop {
            self.wait_for_a_word();
            let args = || format!("{}, …, 1", self.line.as_raw_fd());
            match traced("read", why, args, || (&self.line).read(&mut word)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                heard => return matches!(heard, Ok(1)),
            }
        }
    }

    /// Waits until there is something to hear, and kills the process when this one is asked to end meanwhile: by a signal that is
    /// held back (see [`Signals`](crate::Signals)). A container that is entered may stop the process, for ever.
    fn wait_for_a_word(&self) {
        loop {
            let mut fds = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(200_u8)) != Ok(0) {
                return;
            }
            let is_late = self.limit.is_some_and(|limit| limit < Instant::now());
            if is_late || sys::is_asked_to_end() {
                let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            }
        }
    }

    /// Ends the process and says why it did not get to its program.
    fn why_not(&mut self) -> Error {
        self.trace(0);
        self.reap();
        if self.entered.as_ref().is_some_and(|one| self.went_with(one)) {
            return Error::Gone;
        }
        let Some((index, errno)) = self.report.failure() else {
            let index = self.report.begun();
            let call = self
                .plan
                .steps()
                .get(index)
                .map_or_else(String::new, ToString::to_string);
            return Error::Killed { index, call };
        };
        let source = io::Error::from_raw_os_error(errno);
        let step = &self.plan.steps()[index];
        if step.role == Role::Exec && self.fail_at != Some(index) {
            let program = self.program.clone();
            return match errno {
                libc::ENOENT | libc::ENOTDIR => Error::NotFound {
                    program,
                    tried: self.tried(),
                    source,
                },
                _ => Error::NotExecutable { program, source },
            };
        }
        let args = step.render_args(|index| self.report.done(index).map(|done| done.result));
        let call = format!("{}({args})", step.call());
        if let Some((steps, path)) = &self.directory
            && steps.contains(&index)
            && self.fail_at != Some(index)
        {
            let path = path.clone();
            return Error::WorkingDirectory { path, call, source };
        }
        Error::Step {
            index,
            call,
            why: step.why().to_owned(),
            source,
        }
    }

    /// Whether the process beside which this one was to run has ended, and has taken this one with it.
    fn went_with(&self, one: &OwnedFd) -> bool {
        let patience = match self.report.failure() {
            Some(_) => PollTimeout::ZERO,
            // Killed: the other one ends as soon as this one was waited for.
            None => PollTimeout::from(500_u16),
        };
        sys::has_ended(one.as_fd(), patience)
    }

    /// The paths at which the program was looked for.
    fn tried(&self) -> Vec<String> {
        let execs = self
            .plan
            .steps()
            .iter()
            .filter(|step| step.role == Role::Exec);
        let path = |step: &crate::Step| step.args().first().map(ToString::to_string);
        execs
            .filter_map(path)
            .map(|path| path.trim_matches('"').to_owned())
            .collect()
    }

    fn call_failed(&self, call: &str, source: io::Error) -> Error {
        Error::Call {
            call: call.to_owned(),
            why: "so that the parent can look after the new process",
            source,
        }
    }

    /// Reports the steps that the child made, with results and times.
    ///
    /// A successful `execve(2)` cannot say when it is done: that is when the line is at its end, at `executed`.
    fn trace(&self, executed: u64) {
        if !trace::listening() {
            return;
        }
        let result = |index| self.report.done(index).map(|done| done.result);
        let steps = self.plan.steps().iter().enumerate();
        for (index, step) in steps.take(self.report.begun()) {
            let Some(mut done) = self.report.done(index) else {
                continue;
            };
            // Not made, for want of the step that it needs.
            let skipped = |needed| result(needed).is_some_and(|value| value < 0);
            if step.needs.is_some_and(skipped) {
                continue;
            }
            if let Some((_, errno)) = self.report.failure().filter(|(failed, _)| *failed == index) {
                done.result = -i64::from(errno);
            }
            if step.role == Role::Exec && done.result == 0 && done.started > 0 {
                done.took = executed.saturating_sub(done.started);
            }
            trace::child_step(self.maker_of(index), step, &step.render_args(result), done);
        }
    }

    /// The id of the process that made a step.
    fn maker_of(&self, index: usize) -> u32 {
        match (self.fork, self.init) {
            (Some((fork, first)), _) if index <= fork => first,
            (_, Some(init)) if index > init => self.under_init().unwrap_or(self.pid),
            _ => self.pid,
        }
    }

    /// The only child of a process that has become an init; it has just been made.
    fn under_init(&self) -> Option<u32> {
        let pid = self.pid;
        let children = kernel_file::read(&format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn reap(&mut self) {
        if self.state != State::Over {
            self.state = State::Over;
            let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            let _ = sys::wait(self.pidfd.as_fd(), "so that nothing of it is left");
        }
    }
}

impl AsFd for Created {
    /// The process's pidfd, see
    /// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            self.reap();
        }
    }
}
