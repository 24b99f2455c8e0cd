//! A child process whose lines are read with a deadline and which never outlives its owner.
//!
//! Owns the child, the threads that read its output, and the last lines of its log. Does not know what the lines mean.
//!
//! Invariants: 1. no read waits longer than it was told; 2. the process is gone once its [`Process`] is dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Enough of a log to see why a process failed, small enough to print.
const LOG_LINES_MAX: usize = 60;

/// A child process.
pub(crate) struct Process {
    name: String,
    child: Child,
    /// `None` once closed, which tells the process that no more will come.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Log,
}

/// The last lines that the process logged, for messages of failure.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

/// Lets the processes that are started from now on end when their terminal is closed, though whoever started this one may have
/// it ignore that (`nohup`): what a process listens for is answered as usual by those that it starts.
#[cfg(unix)]
pub(crate) fn let_children_hang_up() {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime can be made");
    let _entered = runtime.enter();
    drop(signal(SignalKind::hangup()).expect("the signal can be listened for"));
}

impl Process {
    /// Starts `command`; `name` stands for it in messages.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        let input = child.stdin.take();
        let (sender, lines) = channel();
        let log = Log::default();
        in_background({
            let output = child.stdout.take().expect("standard output was asked for");
            move || forward(output, &sender)
        });
        in_background({
            let (errors, log) = (
                child.stderr.take().expect("standard error was asked for"),
                log.clone(),
            );
            move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    log.push(line);
                }
            }
        });
        Self {
            name: name.to_owned(),
            child,
            input,
            lines,
            log,
        }
    }

    /// Its number, as the system knows it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the process.
    ///
    /// # Errors
    /// If it does not read any more.
    pub(crate) fn write_line(&mut self, line: &str) -> Result<(), String> {
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| format!("the input of {} is closed", self.name))?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .map_err(|error| self.failure(&format!("does not read: {error}")))
    }

    /// The next line that the process writes.
    ///
    /// # Errors
    /// If none comes within `patience`, or the process has closed its output.
    pub(crate) fn read_line(&mut self, patience: Duration) -> Result<String, String> {
        self.lines.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.failure(&format!("said nothing for {patience:?}")),
            RecvTimeoutError::Disconnected => self.failure("has ended"),
        })
    }

    /// Closes the input and waits for the end; call it only once the process has been told to end.
    ///
    /// # Errors
    /// If it does not close its output within `patience`.
    pub(crate) fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        self.input = None;
        loop {
            match self.lines.recv_timeout(patience) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(self.failure("does not end")),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.child
            .wait()
            .map_err(|error| self.failure(&format!("cannot be waited for: {error}")))
    }

    /// Ends the process at once and without a chance to tidy up (signal 9 where there are signals).
    pub(crate) fn kill_9(&mut self) {
        // An error means that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A message about the process with the end of its log.
    fn failure(&self, what: &str) -> String {
        format!("{} {what}; the end of its log:\n{}", self.name, self.log.text())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
    }
}

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}

/// Hands every line on until the process closes its output or nobody listens.
fn forward(output: impl Read, sender: &Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if sender.send(line).is_err() {
            return;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pipe can be read with a deadline only from a thread of its own"
)]
fn in_background(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

#[cfg(unix)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::spawn("the script", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn lines_go_in_and_come_out() {
        let mut echo = shell("while read line; do echo \"got $line\"; done");
        echo.write_line("one").expect("it reads");
        assert_eq!(echo.read_line(PATIENCE), Ok("got one".to_owned()));
        assert!(echo.wait_for_end(PATIENCE).expect("it ends").success());
    }

    #[test]
    fn silence_and_the_end_are_told_apart_and_come_with_the_log() {
        let mut silent = shell("echo why >&2; read line");
        let failure = silent
            .read_line(Duration::from_millis(300))
            .expect_err("nothing was written");
        assert!(failure.contains("said nothing"), "{failure}");
        silent.write_line("end").expect("it reads");
        let failure = silent.read_line(PATIENCE).expect_err("it has ended");
        assert!(
            failure.contains("has ended") && failure.contains("why"),
            "{failure}"
        );
    }

    #[test]
    fn a_killed_process_says_no_more() {
        let mut killed = shell("read line; echo alive");
        killed.kill_9();
        assert!(
            killed
                .read_line(PATIENCE)
                .expect_err("it is gone")
                .contains("has ended")
        );
    }
}
