//! What asks the process to end: Ctrl-C, and what service managers send.
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
}

/// What asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// What service managers send.
    Terminate,
}

impl Asked {
    /// The exit status of work that was broken off.
    pub(crate) fn status(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::from(130),
            Self::Terminate => ExitCode::from(143),
        }
    }
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> miette::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate()).map_err(|error| miette::miette!("{error}"))?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        #[cfg(unix)]
        let terminated = self.terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            () = heard(tokio::signal::ctrl_c()) => Asked::Interrupt,
            Some(()) = terminated => Asked::Terminate,
        }
    }
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
