//! Proof that the oracles see: defects planted on purpose, each of which some seed has to find.
//!
//! Owns [`DEFECTS`] and [`hunt`]. Where a defect sits, the engine asks `landfall_core::planted`, in one line; without the
//! feature `planted-defects` that is a constant.

use landfall_core::plant;

use crate::knobs::Knobs;
use crate::plan::{Profile, generate};
use crate::run::{RunOptions, run};

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Its name, as `landfall_core::planted` knows it.
    pub name: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// The profile whose seeds are searched.
    pub profile: Profile,
    /// The only knob that is on, and its value; for defects that other faults would cure.
    pub only: Option<(&'static str, u32)>,
}

/// How a defect was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// How many seeds it took.
    pub seeds: u64,
    /// The invariant that was violated.
    pub invariant: &'static str,
    /// What the oracle said.
    pub said: String,
}

const fn defect(name: &'static str, profile: Profile, what: &'static str) -> Defect {
    Defect {
        name,
        what,
        profile,
        only: None,
    }
}

/// Knobs of which only one is on.
fn alone((knob, value): (&str, u32)) -> Knobs {
    let mut knobs = Knobs::default();
    assert!(knobs.set(knob, value), "there is no knob `{knob}`");
    knobs
}

/// Every defect.
pub const DEFECTS: &[Defect] = &[
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
        "ack-removes-two",
        Profile::Calm,
        "an answer takes a second change out of the outbox",
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
        "create-always-applied",
        Profile::Calm,
        "a refused create is taken for an earlier one that went through",
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
    defect(
        "not-applied-means-acknowledged",
        Profile::Server,
        "a change that the server turned away leaves the outbox",
    ),
    defect(
        "recovery-forgotten",
        Profile::Life,
        "what was on its way at a crash stays on its way for ever",
    ),
    Defect {
        only: Some(("write_fails", 120)),
        ..defect(
            "settle-forgotten",
            Profile::Disk,
            "an answer that could not be stored is forgotten",
        )
    },
    defect(
        "sent-not-noted",
        Profile::Disk,
        "a change goes out without being marked sent on disk",
    ),
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
        "refusal-not-told",
        Profile::Calm,
        "the app is not told what the server refused",
    ),
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
        "index-not-written",
        Profile::Calm,
        "an index misses the entry of the new value",
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
        "half-transaction",
        Profile::Calm,
        "the second write of a transaction is left out",
    ),
    defect(
        "condition-ignored",
        Profile::Calm,
        "a save whose condition does not hold is carried out",
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
];

/// Searches seeds until one finds the defect; `None` if none of `seeds_max` does.
pub fn hunt(defect: &Defect, seeds_max: u64, busy_ms: u64) -> Option<Kill> {
    (1..=seeds_max).find_map(|seed| {
        // Half of the seeds with every fault of the profile, half as they draw them.
        let knobs = (seed % 2 == 0).then(|| defect.profile.knobs());
        let plan = generate(seed, defect.profile, defect.only.map(alone).or(knobs), busy_ms);
        plant(Some(defect.name));
        let outcome = run(&plan, RunOptions::default());
        plant(None);
        let first = outcome.violations.first()?;
        Some(Kill {
            seeds: seed,
            invariant: first.invariant,
            said: first.to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_defects_are_found_within_a_few_seeds() {
        for name in [
            "replay-forgets-edits",
            "ack-removes-two",
            "outbox-row-left",
            "observers-told-twice",
        ] {
            let defect = DEFECTS.iter().find(|defect| defect.name == name);
            let defect = defect.unwrap_or_else(|| panic!("{name} is not in the list"));
            assert!(hunt(defect, 10, 20_000).is_some(), "{name} survives");
        }
    }
}
