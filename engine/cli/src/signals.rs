//! What asks the process to end: Ctrl-C, what service managers send, and a terminal that is closed.
//!
//! Owns [`Signals`], [`outlive_file_limits`], and the exit status of a command that was interrupted in its work: 128 and the signal's number, as
//! shells have it. A command that runs until it is asked to end has done its work then, and ends with 0.

use std::future::Future;
use std::io;
use std::process::ExitCode;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for what asks the process to end.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Signal,
    /// There for who has something to tidy up once the terminal is gone.
    #[cfg(unix)]
    hang_up: Option<Signal>,
}

/// What asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// What service managers send.
    Terminate,
    /// The terminal is gone.
    HangUp,
}

impl Asked {
    /// The exit status of work that was broken off.
    pub(crate) fn status(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::from(130),
            Self::Terminate => ExitCode::from(143),
            Self::HangUp => ExitCode::from(129),
        }
    }
}

impl Signals {
    /// Listens from now on. A terminal that is closed ends the process as it would any other.
    pub(crate) fn new() -> miette::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: listen(SignalKind::terminate())?,
            #[cfg(unix)]
            hang_up: None,
        })
    }

    /// The same, and hears of a terminal that is closed as well, unless whoever started the process has told it not to mind, as
    /// `nohup` does.
    pub(crate) fn with_hang_up() -> miette::Result<Self> {
        #[cfg(unix)]
        let signals = Self {
            hang_up: match ignores_hang_up() {
                true => None,
                false => Some(listen(SignalKind::hangup())?),
            },
            ..Self::new()?
        };
        #[cfg(not(unix))]
        let signals = Self::new()?;
        Ok(signals)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        #[cfg(unix)]
        let (terminated, hung_up) = (self.terminate.recv(), heard_by(&mut self.hang_up));
        #[cfg(not(unix))]
        let (terminated, hung_up) = (
            std::future::pending::<Option<()>>(),
            std::future::pending::<Option<()>>(),
        );
        tokio::select! {
            () = heard(tokio::signal::ctrl_c()) => Asked::Interrupt,
            Some(()) = terminated => Asked::Terminate,
            Some(()) = hung_up => Asked::HangUp,
        }
    }
}

#[cfg(unix)]
fn listen(kind: SignalKind) -> miette::Result<Signal> {
    signal(kind).map_err(|error| miette::miette!("{error}"))
}

#[cfg(unix)]
async fn heard_by(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Whether the process was started so that it does not mind when the terminal is closed; where the system does not tell, it was
/// not.
#[cfg(unix)]
fn ignores_hang_up() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| names_hang_up(&status))
}

/// Whether the signals that a process ignores, as Linux lists them, include the first one, which this is.
#[cfg(unix)]
fn names_hang_up(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

/// Lets a write that would make a file larger than it may become fail, as it does on a full disk. The system would end the process
/// for it.
///
/// # Errors
/// If the system does not let it.
pub(crate) fn outlive_file_limits() -> io::Result<()> {
    #[cfg(unix)]
    {
        let too_large = rustix::process::Signal::XFSZ.as_raw();
        // A signal that was listened for once is never again answered by ending the process.
        drop(signal(SignalKind::from_raw(too_large))?);
    }
    Ok(())
}

/// Waits until Ctrl-C was pressed. Where it cannot be heard nobody has asked for anything, and the command goes on.
async fn heard(ctrl_c: impl Future<Output = io::Result<()>>) {
    if let Err(error) = ctrl_c.await {
        tracing::error!(%error, "Ctrl-C cannot be heard; what asks the process to end otherwise still is");
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn who_is_not_to_mind_a_closed_terminal_is_told_by_the_first_bit() {
        for (mask, ignores) in [
            ("0000000000001001", true),
            ("0000000000001000", false),
            ("?", false),
        ] {
            let status = format!("Name:\tlandfall\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
            assert_eq!(names_hang_up(&status), ignores, "{mask}");
        }
        assert!(!names_hang_up(""));
    }

    #[tokio::test]
    async fn a_command_goes_on_where_ctrl_c_cannot_be_heard() {
        let unheard = heard(ready(Err(io::Error::other("no handler can be set"))));
        let ended = tokio::select! {
            biased;
            () = unheard => true,
            () = ready(()) => false,
        };
        assert!(!ended, "nobody asked for it");
        heard(ready(Ok(()))).await;
    }
}
