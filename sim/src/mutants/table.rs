//! The table of defects, by area.

use super::{Area, Defect, defect, defect_under};
use crate::plan::Profile;

/// Every area with its defects.
pub const AREAS: &[Area] = &[
    Area {
        name: "merge",
        defects: MERGE,
    },
    Area {
        name: "outbox",
        defects: OUTBOX,
    },
    Area {
        name: "cursor",
        defects: CURSOR,
    },
    Area {
        name: "subscriptions",
        defects: SUBSCRIPTIONS,
    },
    Area {
        name: "storage",
        defects: STORAGE,
    },
    Area {
        name: "recovery",
        defects: RECOVERY,
    },
    Area {
        name: "observers",
        defects: OBSERVERS,
    },
];

/// How local and remote changes of a record come together.
const MERGE: &[Defect] = &[
    defect(
        "replay-forgets-edits",
        Profile::Net,
        "an arriving record hides the edits that wait over it",
    ),
    defect(
        "old-version-taken",
        Profile::Net,
        "a record that arrives late overwrites a newer one",
    ),
    defect(
        "no-hand-over",
        Profile::Calm,
        "a change made behind another one is sent without a version",
    ),
    defect(
        "conflict-keeps-version",
        Profile::Calm,
        "after a conflict a change is sent again on the old version",
    ),
    defect(
        "patch-loses-field",
        Profile::Calm,
        "a field that was changed is not sent",
    ),
    defect(
        "server-field-lost",
        Profile::Net,
        "a field of an arriving record is not stored",
    ),
    defect(
        "version-not-noted",
        Profile::Calm,
        "an arriving record's version is noted wrongly",
    ),
    defect(
        "create-always-applied",
        Profile::Calm,
        "a refused create is taken for an earlier one that went through",
    ),
    defect(
        "condition-ignored",
        Profile::Calm,
        "a save whose condition does not hold is carried out",
    ),
    defect(
        "shadow-not-kept",
        Profile::Calm,
        "the server's record is not kept beneath the first edit",
    ),
    defect(
        "shadow-not-updated",
        Profile::Net,
        "a record that arrives under an edit is not kept",
    ),
    defect(
        "answer-not-learned",
        Profile::Calm,
        "the server's record in an answer is not taken over",
    ),
    defect(
        "delete-not-shown",
        Profile::Calm,
        "a record whose delete waits is still shown",
    ),
    defect(
        "discard-keeps-edit",
        Profile::Server,
        "a change that the app gave up is still shown",
    ),
    defect(
        "dropped-still-waits",
        Profile::Calm,
        "a change that a conflict dropped stays in the outbox",
    ),
    defect(
        "kept-change-loses-field",
        Profile::Calm,
        "a change that won a conflict goes on without one of its fields",
    ),
    defect(
        "stale-copy-on-newest",
        Profile::Calm,
        "a stale copy is saved as if its author had read the newest version",
    ),
    defect(
        "clash-not-pinned",
        Profile::Net,
        "a waiting change is handed a version that its author has not read",
    ),
];

/// What waits for the server, in which order it goes, and what an answer does to it.
const OUTBOX: &[Defect] = &[
    defect(
        "ack-removes-two",
        Profile::Calm,
        "an answer takes a second change out of the outbox",
    ),
    defect(
        "fold-into-sent",
        Profile::Net,
        "a change is folded into one that is already on its way",
    ),
    defect(
        "fold-forgets-fields",
        Profile::Net,
        "folding loses the fields of the newer change",
    ),
    defect(
        "cancel-sent-create",
        Profile::Server,
        "a delete undoes a create that the server may have seen",
    ),
    defect(
        "order-ignored",
        Profile::Net,
        "changes of one record are sent at the same time",
    ),
    defect(
        "parents-ignored",
        Profile::Net,
        "a record is sent before the one that it refers to",
    ),
    defect(
        "unknown-means-not-applied",
        Profile::Net,
        "after a lost reply a change is sent again without asking",
    ),
    defect(
        "unknown-means-refused",
        Profile::Net,
        "a failing server gets changes refused",
    ),
    defect_under(
        "throttled-means-refused",
        Profile::Server,
        &[("throttled", 200)],
        "a server that is busy gets changes refused",
    ),
    defect_under(
        "outage-means-refused",
        Profile::Net,
        &[("partition", 200)],
        "a network that fails gets changes refused",
    ),
    defect_under(
        "unauthorized-means-refused",
        Profile::Server,
        &[("unauthorized", 200)],
        "credentials that have run out get changes refused",
    ),
    defect(
        "save-not-answered",
        Profile::Calm,
        "whoever saves never hears what became of it",
    ),
    defect_under(
        "clear-not-answered",
        Profile::Life,
        &[("clear", 200)],
        "whoever clears never hears that it is done",
    ),
    defect(
        "not-applied-means-acknowledged",
        Profile::Server,
        "a change that the server turned away leaves the outbox",
    ),
    defect_under(
        "settle-forgotten",
        Profile::Disk,
        &[("write_fails", 120)],
        "an answer that could not be stored is forgotten",
    ),
    defect(
        "sent-not-noted",
        Profile::Disk,
        "a change goes out without being marked sent on disk",
    ),
    defect(
        "outbox-row-left",
        Profile::Calm,
        "a settled change stays in the outbox on disk",
    ),
    defect(
        "queued-not-written",
        Profile::Calm,
        "a save is stored and not queued for the server",
    ),
    defect(
        "refusal-not-told",
        Profile::Calm,
        "the app is not told what the server refused",
    ),
    defect(
        "half-transaction",
        Profile::Calm,
        "the second write of a transaction is left out",
    ),
    defect(
        "folded-not-shown",
        Profile::Net,
        "a change that was folded into a waiting one is not shown",
    ),
    defect(
        "cancelled-create-stays",
        Profile::Net,
        "a delete of a record that nobody has seen leaves its create",
    ),
    defect(
        "attempts-not-counted",
        Profile::Net,
        "a create counts as never sent although it was",
    ),
    defect_under(
        "group-order-ignored",
        Profile::Net,
        &[("slow", 300)],
        "the parts of a transaction are sent at the same time",
    ),
    defect(
        "children-not-awaited",
        Profile::Net,
        "a record is deleted before those that belong to it",
    ),
    defect(
        "give-back-forgotten",
        Profile::Net,
        "a change that was taken and not sent is never taken again",
    ),
    defect(
        "in-hand-not-given-back",
        Profile::Calm,
        "what the outbox hands out again before the sender has heard of its settlement is forgotten",
    ),
    defect(
        "sender-not-woken",
        Profile::Calm,
        "the sender is not told that there is work",
    ),
    defect(
        "outbox-stays-paused",
        Profile::Calm,
        "the outbox is not resumed after the sync",
    ),
    defect(
        "cascade-stops",
        Profile::Calm,
        "a delete does not take along what belongs to the record",
    ),
];

/// How far a sync has got.
const CURSOR: &[Defect] = &[
    defect(
        "page-row-skipped",
        Profile::Net,
        "the last record of a page is not stored",
    ),
    defect(
        "tombstones-skipped",
        Profile::Net,
        "deletes that arrive are not stored",
    ),
    defect(
        "cursor-too-far",
        Profile::Net,
        "the stored cursor lies ahead of what was fetched",
    ),
    defect(
        "first-page-only",
        Profile::Net,
        "a sync ends after its first page",
    ),
    defect(
        "cursor-ahead-of-pages",
        Profile::Net,
        "the cursor moves to the server's time with the first page",
    ),
    defect(
        "second-page-dropped",
        Profile::Net,
        "the second page of a sync is not stored",
    ),
];

/// What arrives by itself.
const SUBSCRIPTIONS: &[Defect] = &[
    defect(
        "gap-not-healed",
        Profile::Net,
        "after a lost connection nothing is fetched",
    ),
    defect(
        "buffer-forgotten",
        Profile::Net,
        "what arrives during a sync is dropped",
    ),
    defect(
        "create-messages-ignored",
        Profile::Calm,
        "messages of creates are passed over",
    ),
    defect(
        "update-messages-ignored",
        Profile::Calm,
        "messages of updates are passed over",
    ),
    defect(
        "delete-messages-ignored",
        Profile::Calm,
        "messages of deletes are passed over",
    ),
    defect(
        "batch-loses-last",
        Profile::Net,
        "of a batch of messages the last one is not stored",
    ),
    defect_under(
        "dead-socket-not-noticed",
        Profile::Net,
        &[("half_open", 60)],
        "missing keep-alives are not taken for a lost connection",
    ),
    defect_under(
        "stale-epoch-accepted",
        Profile::Life,
        &[("stop_start", 300), ("clear", 400)],
        "what a stopped run of sync still brings is stored",
    ),
];

/// What is on disk when.
const STORAGE: &[Defect] = &[
    defect(
        "reply-before-commit",
        Profile::Disk,
        "a save is acknowledged before it is on disk",
    ),
    defect(
        "commit-not-durable",
        Profile::Disk,
        "commits are acknowledged without being synced",
    ),
    defect(
        "index-not-written",
        Profile::Calm,
        "an index misses the entry of the new value",
    ),
    defect_under(
        "index-entry-left",
        Profile::Net,
        &[("partition", 300)],
        "an index keeps the entry of the old value",
    ),
    defect(
        "cached-record-outlives-commit",
        Profile::Calm,
        "a record that is kept in memory is read after it was changed",
    ),
    defect(
        "cached-run-outlives-commit",
        Profile::Calm,
        "a scan finds in memory what was changed since",
    ),
    defect_under(
        "clear-keeps-outbox",
        Profile::Life,
        &[("clear", 250), ("partition", 250)],
        "clearing leaves the changes that wait",
    ),
    defect(
        "journal-not-synced",
        Profile::Disk,
        "entries count as stored before they are on disk",
    ),
    defect_under(
        "failed-sync-trusted",
        Profile::Disk,
        &[("sync_fails", 300), ("crash", 200)],
        "a failed sync counts as a success",
    ),
    defect_under(
        "unsynced-not-written-again",
        Profile::Disk,
        &[("sync_fails", 300), ("crash", 200)],
        "what a failed sync may have lost is not written again",
    ),
];

/// What a start makes of what a crash left.
const RECOVERY: &[Defect] = &[
    defect(
        "recovery-forgotten",
        Profile::Life,
        "what was on its way at a crash stays on its way for ever",
    ),
    defect(
        "journal-not-recovered",
        Profile::Disk,
        "what the journal holds is not taken over after a crash",
    ),
    defect_under(
        "torn-frame-accepted",
        Profile::Disk,
        &[("crash_at_operation", 300)],
        "a torn entry of the journal counts as whole",
    ),
    defect_under(
        "one-leftover-settled",
        Profile::Life,
        &[("slow", 200), ("crash", 100)],
        "after a crash only one change that was on its way is settled",
    ),
    defect_under(
        "taken-kept-at-resume",
        Profile::Life,
        &[("requests_lost", 200), ("stop_start", 300)],
        "what an earlier sender had taken stays taken",
    ),
];

/// What the app is told.
const OBSERVERS: &[Defect] = &[
    defect(
        "observers-miss-deletes",
        Profile::Calm,
        "observers are not told of deletes",
    ),
    defect(
        "observers-told-twice",
        Profile::Calm,
        "observers are told every change twice",
    ),
    defect(
        "observers-miss-inserts",
        Profile::Calm,
        "observers are not told of new records",
    ),
    defect(
        "observers-miss-updates",
        Profile::Calm,
        "observers are not told of changed records",
    ),
    defect(
        "observers-out-of-order",
        Profile::Net,
        "observers are told the changes of a commit backwards",
    ),
];
