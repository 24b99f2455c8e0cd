//! The log of the command line, on standard error.
//!
//! Owns its form and its level. Standard output belongs to what a command prints.

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text for each event.
    #[default]
    Text,
    /// A JSON object on a line for each event.
    Json,
}

/// What is logged, unless `LANDFALL_LOG` says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What needs somebody's attention.
    #[default]
    Error,
    /// Also what is odd.
    Warn,
    /// Also what goes on.
    Info,
    /// Also why.
    Debug,
}

impl LogLevel {
    fn filter(self) -> EnvFilter {
        let text = match self {
            Self::Error => "error",
            Self::Warn => "warn",
            // Of the libraries below only what is odd.
            Self::Info => "warn,landfall_backend=info,landfall_storage=info,landfall=info",
            Self::Debug => "info,landfall_backend=debug,landfall_storage=debug,landfall=debug",
        };
        EnvFilter::new(text)
    }
}

/// Starts the log; `LANDFALL_LOG` (such as `landfall=debug`) goes before the level.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let filter = EnvFilter::try_from_env("LANDFALL_LOG").unwrap_or_else(|_| level.filter());
    // Colours are for a terminal that wants them; in a pipe or a file they are noise.
    let colours = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
