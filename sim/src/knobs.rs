//! The faults that a run can have, each with its identifier and one knob that says how often.
//!
//! Owns [`Knobs`] and [`KNOBS`]. What a fault does is `run/inject.rs`; when it happens is written into the plan.
//!
//! A knob is the chance, per mille, that the fault begins in a given simulated second. Faults that last draw their
//! length from the plan's seed. Where the identifiers come from: N network, S server, C client process and disk, U user.

use serde::{Deserialize, Serialize};

/// A knob: what `--knob NAME=VALUE` can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Identifier of the fault, such as `N1`.
    pub id: &'static str,
    /// Name of the knob, such as `partition`.
    pub name: &'static str,
    /// Its value in the profile `chaos`, before half of the knobs are turned off by the seed.
    pub chaos: u32,
    /// What the fault is, in one sentence.
    pub what: &'static str,
}

/// Why a knob could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnobError {
    /// No such knob.
    #[error("there is no knob `{name}`; `landfall sim knobs` lists them")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Not `name=value`, or the value is no number from 0 to 1000.
    #[error("`{text}` is not NAME=VALUE with a value from 0 to 1000")]
    Malformed {
        /// What was given.
        text: String,
    },
}

macro_rules! knobs {
    ($($(#[doc = $doc:literal])+ $id:literal $name:ident = $chaos:literal;)*) => {
        /// How often each fault happens: chance per mille that it begins in a simulated second. 0 is never.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Knobs {
            $($(#[doc = $doc])+ pub $name: u32,)*
        }

        /// Every knob, in the order of [`Knobs`].
        pub const KNOBS: &[Knob] = &[
            $(Knob { id: $id, name: stringify!($name), chaos: $chaos, what: concat!($($doc),+) },)*
        ];

        impl Knobs {
            /// The knobs as profile `chaos` has them: everything, before the seed turns half of them off.
            pub fn chaos() -> Self {
                Self { $($name: $chaos,)* }
            }

            /// The value of a knob by its name.
            pub fn get(&self, name: &str) -> Option<u32> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            /// Sets a knob by its name; `false` if there is none of that name.
            pub fn set(&mut self, name: &str, value: u32) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

knobs! {
    /// The link between one client and the server is cut; open sockets break.
    "N1" partition = 12;
    /// Replies are lost, requests pass.
    "N2" replies_lost = 10;
    /// Requests are lost, what the server sends passes.
    "N3" requests_lost = 8;
    /// The links of some clients are cut one after the other and repaired in another order.
    "N4" swizzle = 4;
    /// Each request and each reply is lost with some probability.
    "N5" loss = 12;
    /// Nothing gets through for short moments, again and again.
    "N6" bursts = 6;
    /// Subscription messages arrive twice.
    "N7" frames_doubled = 8;
    /// Subscription messages overtake each other.
    "N8" frames_reordered = 8;
    /// Everything takes long, up to several seconds one way.
    "N9" slow = 10;
    /// A socket is dead and nobody is told: what is sent is swallowed, nothing arrives, keep-alives included.
    "N11" half_open = 5;
    /// Keep-alives arrive, subscription messages do not.
    "N12" frames_lost = 6;
    /// Open sockets break; requests pass.
    "N13" sockets_broken = 12;
    /// One reply is lost after the server acted.
    "N14" reply_lost_once = 14;
    /// Replies arrive cut off in the middle.
    "N15" garbled = 6;
    /// Open sockets break and new ones are refused; requests pass.
    "N16" connect_refused = 6;
    /// The platform says that there is no network although there is one.
    "N17" offline_signal = 6;
    /// Every request is answered with a login page.
    "N18" captive_portal = 5;
    /// All sockets of all clients break at one instant.
    "N19" storm = 3;
    /// Requests are refused with 500 or 503 before the server acts.
    "S1" fails_before = 8;
    /// Requests are answered with 500 after the server acted.
    "S2" fails_after = 8;
    /// Requests are refused with 429, with or without a time to wait.
    "S3" throttled = 6;
    /// Requests are refused with 401 until the credentials are renewed.
    "S4" unauthorized = 5;
    /// The server wrote the record and says that its journal failed.
    "S5" journal_fails = 6;
    /// The server gives up a mutation after too many conflicts of its own; nothing is written.
    "S6" max_conflicts = 6;
    /// Subscription messages wait on the server, then come all at once.
    "S11" fan_out_paused = 6;
    /// The server loses subscription messages and nobody is told.
    "S12" messages_dropped = 5;
    /// The server forgets all realtime connections without closing them.
    "S13" server_restart = 3;
    /// The power of one client goes; unsynced writes are lost, torn or reordered.
    "C1" crash = 12;
    /// The power goes at the n-th disk operation from now, and often again while the store recovers.
    "C2" crash_at_operation = 10;
    /// Writes to disk fail, some of them after half of their work.
    "C3" write_fails = 4;
    /// A sync of the disk fails, and what it covered may be gone though readers still see it.
    "C5" sync_fails = 4;
    /// The disk is full for a while.
    "C7" disk_full = 4;
    /// The app is closed, and reads from disk fail while it is opened again.
    "C8" read_fails = 3;
    /// The disk takes long.
    "C11" slow_disk = 6;
    /// The clock on the client's wall jumps, forwards or back.
    "C16" wall_clock_jumps = 6;
    /// The app is closed in good order and opened again.
    "C17" restart = 5;
    /// Sync is stopped and started again after a while.
    "U1" stop_start = 5;
    /// All local data is cleared, as at sign-out, and sync starts again.
    "U8" clear = 2;
    /// Requests and new sockets are neither refused nor answered, and whoever waits gives up in the end.
    "N22" hangs = 5;
    /// So little passes in a second that replies wait for each other.
    "N10" narrow = 6;
    /// Mutations are refused with 503 before the server acts, and everything else is answered.
    "S19" writes_fail = 6;
    /// Open sockets break, and everything but mutations is refused with 503.
    "S20" reads_fail = 6;
}

impl Knobs {
    /// As [`Knobs::chaos`], with only the kinds of faults whose identifiers begin with one of these letters: `NS` is
    /// everything that the network and the server can do.
    pub fn chaos_of(kinds: &str) -> Self {
        let mut knobs = Self::default();
        for knob in KNOBS
            .iter()
            .filter(|knob| knob.id.starts_with(|kind| kinds.contains(kind)))
        {
            knobs.set(knob.name, knob.chaos);
        }
        knobs
    }

    /// Sets a knob from text such as `partition=50`.
    ///
    /// # Errors
    /// [`KnobError`] if there is no such knob or the value is no number from 0 to 1000.
    pub fn set_from_text(&mut self, text: &str) -> Result<(), KnobError> {
        let malformed = || KnobError::Malformed {
            text: text.to_owned(),
        };
        let (name, value) = text.split_once('=').ok_or_else(malformed)?;
        let value: u32 = value.trim().parse().map_err(|_| malformed())?;
        if value > 1_000 {
            return Err(malformed());
        }
        if self.set(name.trim(), value) {
            Ok(())
        } else {
            Err(KnobError::Unknown {
                name: name.trim().to_owned(),
            })
        }
    }

    /// Names of the knobs that are not at zero.
    pub fn on(&self) -> Vec<&'static str> {
        KNOBS
            .iter()
            .map(|knob| knob.name)
            .filter(|name| self.get(name).unwrap_or(0) > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_has_an_identifier_of_its_own_and_can_be_set_by_name() {
        let mut ids: Vec<&str> = KNOBS.iter().map(|knob| knob.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), KNOBS.len());
        let mut knobs = Knobs::default();
        for knob in KNOBS {
            knobs
                .set_from_text(&format!("{}=7", knob.name))
                .expect("it exists");
            assert_eq!(knobs.get(knob.name), Some(7));
        }
        assert_eq!(knobs.on().len(), KNOBS.len());
    }

    #[test]
    fn a_knob_that_cannot_be_set_says_why() {
        let mut knobs = Knobs::default();
        assert!(matches!(
            knobs.set_from_text("partitoin=1"),
            Err(KnobError::Unknown { .. })
        ));
        for text in ["partition", "partition=-1", "partition=1001"] {
            assert!(matches!(
                knobs.set_from_text(text),
                Err(KnobError::Malformed { .. })
            ));
        }
    }
}
