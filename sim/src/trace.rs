//! What happened, line by line, and the hash of it.
//!
//! Owns [`TraceLog`]. Two runs of one seed have the same lines, so equal hashes mean equal runs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use landfall::Trace;

/// Lines that are kept for a report; the hash covers all.
const LINES_KEPT: usize = 400;

/// Records what happens in a simulation.
#[derive(Clone, Debug, Default)]
pub struct TraceLog(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    hash: u64,
    count: u64,
    recent: VecDeque<String>,
    echo: bool,
    closed: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            recent: VecDeque::new(),
            echo: false,
            closed: false,
        }
    }
}

impl TraceLog {
    /// Prints each line to standard error as well.
    pub fn echo(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).echo = true;
    }

    /// Notes a line.
    pub fn note(&self, now_ms: u64, who: &str, what: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            return;
        }
        let line = format!("{now_ms:>9} {who:<24} {what}");
        inner.hash = line.bytes().fold(inner.hash, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        inner.count += 1;
        if inner.echo {
            eprintln!("{line}");
        }
        if inner.recent.len() == LINES_KEPT {
            inner.recent.pop_front();
        }
        inner.recent.push_back(line);
    }

    /// Takes no more lines: what is noted while a simulation is torn down depends on the real clock.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// Hash of all lines, 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        format!(
            "{:016x}",
            self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
        )
    }

    /// Number of lines.
    pub fn len(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest lines, oldest first.
    pub fn recent(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recent
            .iter()
            .cloned()
            .collect()
    }

    /// A trace of one client's actors.
    pub fn of_client(&self, name: &str) -> ClientTrace {
        ClientTrace {
            log: self.clone(),
            name: name.to_owned(),
        }
    }
}

/// Notes the messages of one client's actors.
#[derive(Clone, Debug)]
pub struct ClientTrace {
    log: TraceLog,
    name: String,
}

impl Trace for ClientTrace {
    fn handled(&self, now_ms: u64, actor: &'static str, message: &'static str) {
        self.log.note(now_ms, &format!("{} {actor}", self.name), message);
    }
}
