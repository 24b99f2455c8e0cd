//! What fails: the faults of a plan, each with an identifier.
//!
//! Owns [`Fault`] and its identifiers. How a fault is brought about is `run/inject.rs`.

use serde::{Deserialize, Serialize};

/// Something that fails at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultStep {
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

macro_rules! faults {
    ($($(#[$doc:meta])+ $id:literal $name:ident { client $(, $(#[$field_doc:meta])+ $field:ident: $ty:ty)* })*
     ; $($(#[$doc_all:meta])+ $id_all:literal $name_all:ident { $($(#[$field_doc_all:meta])+ $field_all:ident: $ty_all:ty),* })*) => {
        /// Something that fails; durations in milliseconds, probabilities per mille.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "fault", rename_all = "camelCase")]
        pub enum Fault {
            $($(#[$doc])+ #[serde(rename_all = "camelCase")] $name {
                /// Whom it meets, by position in the plan.
                client: usize,
                $($(#[$field_doc])+ $field: $ty,)*
            },)*
            $($(#[$doc_all])+ #[serde(rename_all = "camelCase")] $name_all { $($(#[$field_doc_all])+ $field_all: $ty_all,)* },)*
        }

        impl Fault {
            /// Identifier of its kind, such as `N1`.
            pub fn id(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $id,)*
                    $(Self::$name_all { .. } => $id_all,)*
                }
            }

            /// Name of its kind, for timelines.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                    $(Self::$name_all { .. } => stringify!($name_all),)*
                }
            }

            /// Whom it meets; `None` if all.
            pub fn client(&self) -> Option<usize> {
                match self {
                    $(Self::$name { client, .. } => Some(*client),)*
                    $(Self::$name_all { .. } => None,)*
                }
            }
        }
    };
}

faults! {
    /// The link is cut.
    "N1" Partition { client, /// How long.
        ms: u64 }
    /// Replies are lost, requests pass.
    "N2" RepliesLost { client, /// How long.
        ms: u64 }
    /// Requests are lost.
    "N3" RequestsLost { client, /// How long.
        ms: u64 }
    /// Each request and each reply is lost with this probability.
    "N5" Loss { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// Nothing gets through for moments of this length, with as much between them.
    "N6" Bursts { client, /// How many moments.
        times: u32, /// How long each.
        ms: u64 }
    /// Subscription messages arrive twice with this probability.
    "N7" FramesDoubled { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// Subscription messages overtake each other with this probability.
    "N8" FramesReordered { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// One way takes up to this long.
    "N9" Slow { client, /// How long the link is slow.
        ms: u64, /// Longest way.
        delay_ms: u64 }
    /// So little passes in a second that replies wait for each other.
    "N10" Narrow { client, /// How long.
        ms: u64, /// How much.
        bytes_per_second: u64 }
    /// Sockets that are open now are dead, and nobody is told.
    "N11" HalfOpen { client }
    /// Keep-alives arrive, subscription messages do not.
    "N12" FramesLost { client, /// How long.
        ms: u64 }
    /// Open sockets break.
    "N13" SocketsBroken { client }
    /// The reply to the next mutation is lost.
    "N14" ReplyLostOnce { client }
    /// Replies arrive cut off.
    "N15" Garbled { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// New sockets are refused.
    "N16" ConnectRefused { client, /// How long.
        ms: u64 }
    /// The platform says that there is no network.
    "N17" OfflineSignal { client, /// How long.
        ms: u64 }
    /// Requests are answered with a login page.
    "N18" CaptivePortal { client, /// How long.
        ms: u64 }
    /// Requests and new sockets are neither refused nor answered.
    "N22" Hangs { client, /// How long.
        ms: u64 }
    /// Requests are refused with this status before the server acts.
    "S1" FailsBefore { client, /// How long.
        ms: u64, /// The status.
        status: u16, /// How probable.
        per_mille: u32 }
    /// Requests are answered with 500 after the server acted.
    "S2" FailsAfter { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// Requests are refused with 429.
    "S3" Throttled { client, /// How long.
        ms: u64, /// The time to wait that the server names; 0 names none.
        retry_after_ms: u64 }
    /// Requests are refused with 401.
    "S4" Unauthorized { client, /// How long.
        ms: u64 }
    /// Mutations are refused with 503 before the server acts, and everything else is answered.
    "S19" WritesFail { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// Open sockets break, and everything but mutations is refused with 503.
    "S20" ReadsFail { client, /// How long.
        ms: u64, /// How probable.
        per_mille: u32 }
    /// The power goes.
    "C1" Crash { client, /// How long it stays off.
        off_ms: u64 }
    /// The power goes at the n-th disk operation from now.
    "C2" CrashAtOperation { client, /// How many operations still succeed.
        operations: u64, /// How long it stays off.
        off_ms: u64, /// How many operations of the recovery succeed before the power goes again; none if it does not.
        again: Option<u64> }
    /// Writes to disk fail.
    "C3" WriteFails { client, /// How many.
        times: u64, /// Whether half of the work is done.
        halved: bool }
    /// A sync of the disk fails.
    "C5" SyncFails { client, /// How many operations from now on are looked at.
        times: u64, /// Whether readers no longer see what is lost.
        forgotten: bool }
    /// The disk is full.
    "C7" DiskFull { client, /// How long.
        ms: u64 }
    /// Reads from disk fail.
    "C8" ReadFails { client, /// How many.
        times: u64 }
    /// The disk takes long.
    "C11" SlowDisk { client, /// How long it is slow.
        ms: u64, /// Longest wait of a message to the storage actor.
        hold_ms: u64 }
    /// The wall clock jumps.
    "C16" WallClockJumps { client, /// How far; back if negative.
        by_ms: i64 }
    /// The app is closed in good order and opened again.
    "C17" Restart { client, /// How long it stays closed.
        off_ms: u64 }
    /// Sync is stopped and started again.
    "U1" StopStart { client, /// How long it stays stopped.
        ms: u64 }
    /// All local data is cleared, and sync starts again.
    "U8" Clear { client }
    ;
    /// The links of these clients are cut one after the other, and repaired one after the other, in an order of its own.
    "N4" Swizzle { /// Whose links.
        clients: Vec<usize>, /// Time between two cuts, and between two repairs.
        step_ms: u64, /// Time between the last cut and the first repair.
        ms: u64, /// Which of them is repaired when, by position among them; in the order of the cuts if nothing is said.
        #[serde(default)]
        repairs: Vec<usize> }
    /// All sockets break at one instant.
    "N19" Storm {}
    /// The server wrote the record and says that its journal failed.
    "S5" JournalFails { /// How many mutations.
        times: u32 }
    /// The server gives mutations up.
    "S6" MaxConflicts { /// How many mutations.
        times: u32 }
    /// Subscription messages wait on the server.
    "S11" FanOutPaused { /// How long.
        ms: u64 }
    /// The server loses subscription messages.
    "S12" MessagesDropped { /// How many.
        times: u32 }
    /// The server forgets all realtime connections without closing them.
    "S13" ServerRestart {}
}
