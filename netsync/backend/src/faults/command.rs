//! Faults as text: the command line, the endpoint for administration and programs say the same words.
//!
//! Owns [`FaultCommand`], its text form, and what each does to [`Faults`]. Invariant: the text of a command reads back as
//! the same command.

use std::fmt;
use std::str::FromStr;

use super::{DELAY_MS_MAX, Faults, FieldError};

/// How often a fault happens when it is to happen until it is cleared.
const ALWAYS: u32 = u32::MAX;

/// Something that is to go wrong, or to be put right, on a server in development mode.
///
/// As text, `N` being a number of times (`all` for every time, until cleared):
/// `fail=STATUS*N`, `delay=MS*N`, `throttle=CALLS_PER_SECOND`, `lose-requests=N`, `lose-replies=N`, `max-conflicts=N`,
/// `delta-sync-write=N`, `drop-messages=N`, `duplicate-messages=N`, `pause-messages`, `resume-messages`, `cut-sockets`,
/// `clock=UNIX_MS`, `clock=+MS`, `purge`, `clear`.
///
/// ```
/// use landfall_backend::FaultCommand;
///
/// let fault: FaultCommand = "fail=503*3".parse()?;
/// assert_eq!(fault, FaultCommand::Fail { status: 503, calls: 3 });
/// assert_eq!(fault.to_string(), "fail=503*3");
/// assert!("fail=200".parse::<FaultCommand>().is_err());
/// # Ok::<(), landfall_backend::BadFault>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultCommand {
    /// Answers calls with a status from 400 to 599, without running them.
    Fail {
        /// The status.
        status: u16,
        /// How many calls.
        calls: u32,
    },
    /// Runs calls and holds their replies back, for a minute at most.
    Delay {
        /// For how long, in milliseconds.
        ms: u64,
        /// How many calls.
        calls: u32,
    },
    /// Answers 429 to calls beyond so many in a second.
    Throttle {
        /// How many are let through.
        per_second: u32,
    },
    /// Loses calls before they run.
    LoseRequests(u32),
    /// Runs calls and loses their replies: what they wrote is there.
    LoseReplies(u32),
    /// Answers requests with mutations with an error of the service.
    FailFields {
        /// The error.
        error: FieldError,
        /// How many requests.
        requests: u32,
    },
    /// Loses subscription messages.
    DropMessages(u32),
    /// Sends subscription messages twice.
    DuplicateMessages(u32),
    /// Holds subscription messages back.
    PauseMessages,
    /// Sends what was held back, and holds back no more.
    ResumeMessages,
    /// Lets every realtime connection break off.
    CutSockets,
    /// Sets the clock.
    SetClock {
        /// To this time, in milliseconds since 1970.
        unix_ms: i64,
    },
    /// Moves the clock; backwards if negative.
    MoveClock {
        /// By how much, in milliseconds.
        ms: i64,
    },
    /// Purges expired tombstones and old changes now.
    Purge,
    /// Puts all faults right, except the clock.
    Clear,
}

/// A text that is no [`FaultCommand`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no fault; give one of fail=STATUS*N, delay=MS*N, throttle=CALLS_PER_SECOND, lose-requests=N, lose-replies=N, \
     max-conflicts=N, delta-sync-write=N, drop-messages=N, duplicate-messages=N, pause-messages, resume-messages, \
     cut-sockets, clock=UNIX_MS, clock=+MS, purge, clear (N may be `all`)"
)]
pub struct BadFault {
    text: String,
}

impl FromStr for FaultCommand {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let bad = || BadFault {
            // Only the beginning: whoever sent it may have sent anything.
            text: text.chars().take(80).collect(),
        };
        let (name, operand) = match text.split_once('=') {
            Some((name, operand)) => (name, Some(operand)),
            None => (text, None),
        };
        read(name, operand).ok_or_else(bad)
    }
}

fn read(name: &str, operand: Option<&str>) -> Option<FaultCommand> {
    let Some(operand) = operand else {
        return Some(match name {
            "pause-messages" => FaultCommand::PauseMessages,
            "resume-messages" => FaultCommand::ResumeMessages,
            "cut-sockets" => FaultCommand::CutSockets,
            "purge" => FaultCommand::Purge,
            "clear" => FaultCommand::Clear,
            _ => return None,
        });
    };
    Some(match name {
        "fail" => {
            let (status, calls) = with_times(operand)?;
            let status = status.parse().ok()?;
            (400..600)
                .contains(&status)
                .then_some(FaultCommand::Fail { status, calls })?
        }
        "delay" => {
            let (ms, calls) = with_times(operand)?;
            let ms = ms.parse().ok()?;
            (ms <= DELAY_MS_MAX).then_some(FaultCommand::Delay { ms, calls })?
        }
        "throttle" => FaultCommand::Throttle {
            per_second: operand.parse().ok()?,
        },
        "lose-requests" => FaultCommand::LoseRequests(times(operand)?),
        "lose-replies" => FaultCommand::LoseReplies(times(operand)?),
        "max-conflicts" => FaultCommand::FailFields {
            error: FieldError::MaxConflicts,
            requests: times(operand)?,
        },
        "delta-sync-write" => FaultCommand::FailFields {
            error: FieldError::DeltaSyncWrite,
            requests: times(operand)?,
        },
        "drop-messages" => FaultCommand::DropMessages(times(operand)?),
        "duplicate-messages" => FaultCommand::DuplicateMessages(times(operand)?),
        "clock" if operand.starts_with(['+', '-']) => FaultCommand::MoveClock {
            ms: operand.parse().ok()?,
        },
        "clock" => FaultCommand::SetClock {
            unix_ms: operand.parse().ok()?,
        },
        _ => return None,
    })
}

fn with_times(operand: &str) -> Option<(&str, u32)> {
    match operand.split_once('*') {
        Some((operand, count)) => Some((operand, times(count)?)),
        None => Some((operand, 1)),
    }
}

fn times(text: &str) -> Option<u32> {
    if text == "all" {
        return Some(ALWAYS);
    }
    text.parse().ok()
}

/// A number of times as text.
struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ALWAYS => f.write_str("all"),
            times => write!(f, "{times}"),
        }
    }
}

impl fmt::Display for FaultCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fail { status, calls } => write!(f, "fail={status}*{}", Times(calls)),
            Self::Delay { ms, calls } => write!(f, "delay={ms}*{}", Times(calls)),
            Self::Throttle { per_second } => write!(f, "throttle={per_second}"),
            Self::LoseRequests(calls) => write!(f, "lose-requests={}", Times(calls)),
            Self::LoseReplies(calls) => write!(f, "lose-replies={}", Times(calls)),
            Self::FailFields { error, requests } => {
                let name = match error {
                    FieldError::MaxConflicts => "max-conflicts",
                    FieldError::DeltaSyncWrite => "delta-sync-write",
                };
                write!(f, "{name}={}", Times(requests))
            }
            Self::DropMessages(messages) => write!(f, "drop-messages={}", Times(messages)),
            Self::DuplicateMessages(messages) => write!(f, "duplicate-messages={}", Times(messages)),
            Self::PauseMessages => f.write_str("pause-messages"),
            Self::ResumeMessages => f.write_str("resume-messages"),
            Self::CutSockets => f.write_str("cut-sockets"),
            Self::SetClock { unix_ms } => write!(f, "clock={unix_ms}"),
            Self::MoveClock { ms } => write!(f, "clock={ms:+}"),
            Self::Purge => f.write_str("purge"),
            Self::Clear => f.write_str("clear"),
        }
    }
}

impl Faults {
    /// The faults that are on, as the commands that would set them.
    pub fn active(&self) -> Vec<FaultCommand> {
        let counted = [
            self.failing
                .map(|(calls, status)| (calls, FaultCommand::Fail { status, calls })),
            self.delayed
                .map(|(calls, ms)| (calls, FaultCommand::Delay { ms, calls })),
            Some((self.lost_requests, FaultCommand::LoseRequests(self.lost_requests))),
            Some((self.lost_replies, FaultCommand::LoseReplies(self.lost_replies))),
            self.field_errors
                .map(|(requests, error)| (requests, FaultCommand::FailFields { error, requests })),
            Some((
                self.dropped_messages,
                FaultCommand::DropMessages(self.dropped_messages),
            )),
            Some((
                self.duplicated_messages,
                FaultCommand::DuplicateMessages(self.duplicated_messages),
            )),
        ];
        let throttle = self.throttle.as_ref().map(|throttle| FaultCommand::Throttle {
            per_second: throttle.per_second,
        });
        let paused = self.fan_out_paused.then_some(FaultCommand::PauseMessages);
        counted
            .into_iter()
            .flatten()
            .filter_map(|(left, command)| (left > 0).then_some(command))
            .chain(throttle)
            .chain(paused)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 19] = [
        "fail=503*3",
        "fail=401*all",
        "delay=200*1",
        "throttle=10",
        "lose-requests=1",
        "lose-replies=all",
        "max-conflicts=2",
        "delta-sync-write=2",
        "drop-messages=3",
        "duplicate-messages=3",
        "pause-messages",
        "resume-messages",
        "cut-sockets",
        "clock=1700000000000",
        "clock=+60000",
        "clock=-60000",
        "purge",
        "clear",
        "delay=60000*all",
    ];

    #[test]
    fn every_command_reads_back_as_it_was_written() {
        for text in ALL {
            let command: FaultCommand = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(command.to_string(), text);
        }
        assert_eq!(
            "fail=500".parse(),
            Ok(FaultCommand::Fail {
                status: 500,
                calls: 1
            })
        );
    }

    #[test]
    fn what_is_no_fault_is_refused_with_a_list_of_those_that_are() {
        for text in [
            "",
            "fail",
            "fail=",
            "fail=200",
            "fail=600*1",
            "fail=500*-1",
            "fail=500*",
            "delay=60001",
            "delay=x",
            "purge=1",
            "cut-sockets=1",
            "clock=",
            "clock=+",
            "nonsense",
            "FAIL=500",
        ] {
            let error = text.parse::<FaultCommand>().unwrap_err().to_string();
            assert!(error.contains("fail=STATUS*N"), "{text}: {error}");
        }
        let long = "x".repeat(10_000).parse::<FaultCommand>().unwrap_err();
        assert!(long.to_string().len() < 500);
    }

    #[test]
    fn what_is_on_is_told_as_the_commands_that_set_it() {
        let mut faults = Faults::default();
        assert_eq!(faults.active(), []);
        faults.fail_next(2, 429);
        faults.lose_replies(1);
        faults.pause_fan_out();
        faults.take_status();
        assert_eq!(
            faults
                .active()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["fail=429*1", "lose-replies=1", "pause-messages"]
        );
    }
}
