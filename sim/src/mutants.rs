//! Proof that the oracles see: defects planted on purpose, each of which some seed has to find.
//!
//! Owns [`Defect`] and [`hunt`]; the defects are `mutants/table.rs`. Where a defect sits, the engine asks
//! `landfall_core::planted`, in one line; without the feature `planted-defects` that is a constant.

mod table;

use landfall_core::plant;

use crate::knobs::Knobs;
use crate::plan::{Plan, Profile, generate};
use crate::run::{RunOptions, run};
pub use table::AREAS;

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Its name, as `landfall_core::planted` knows it.
    pub name: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// The profile whose seeds are searched.
    pub profile: Profile,
    /// The only knobs that are on, and their values, if there are some; for defects that other faults would cure, or that
    /// only two at once bring to light.
    pub only: &'static [(&'static str, u32)],
}

/// Defects of one part of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its name.
    pub name: &'static str,
    /// Its defects.
    pub defects: &'static [Defect],
}

/// Every defect.
pub fn defects() -> impl Iterator<Item = &'static Defect> {
    AREAS.iter().flat_map(|area| area.defects)
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
        only: &[],
    }
}

const fn defect_under(
    name: &'static str,
    profile: Profile,
    only: &'static [(&'static str, u32)],
    what: &'static str,
) -> Defect {
    Defect {
        only,
        ..defect(name, profile, what)
    }
}

/// Knobs of which only these are on.
fn alone(only: &[(&str, u32)]) -> Knobs {
    let mut knobs = Knobs::default();
    for (knob, value) in only {
        assert!(knobs.set(knob, *value), "there is no knob `{knob}`");
    }
    knobs
}

/// Does something with a defect planted on this thread.
pub fn with_defect<T>(defect: &Defect, work: impl FnOnce() -> T) -> T {
    plant(Some(defect.name));
    let result = work();
    plant(None);
    result
}

/// Plants the defect of that name on this thread, until another one is planted there. Returns whether there is one.
pub fn plant_defect(name: &str) -> bool {
    let defect = defects().find(|defect| defect.name == name);
    if let Some(defect) = defect {
        plant(Some(defect.name));
    }
    defect.is_some()
}

/// The plan that is tried with a seed.
fn plan_of(defect: &Defect, seed: u64, busy_ms: u64) -> Plan {
    // Half of the seeds with every fault of the profile, half as they draw them.
    let knobs = (seed % 2 == 0).then(|| defect.profile.knobs());
    let only = (!defect.only.is_empty()).then(|| alone(defect.only));
    generate(seed, defect.profile, only.or(knobs), busy_ms)
}

/// Searches seeds until one finds the defect; `None` if none of `seeds_max` does.
pub fn hunt(defect: &Defect, seeds_max: u64, busy_ms: u64) -> Option<Kill> {
    (1..=seeds_max).find_map(|seed| {
        let plan = plan_of(defect, seed, busy_ms);
        let outcome = with_defect(defect, || run(&plan, RunOptions::default()));
        let first = outcome.violations.first()?;
        Some(Kill {
            seeds: seed,
            invariant: first.invariant,
            said: first.to_string(),
        })
    })
}

/// The plan by which [`hunt`] finds a defect.
pub fn failing_plan(defect: &Defect, seeds_max: u64, busy_ms: u64) -> Option<Plan> {
    let kill = hunt(defect, seeds_max, busy_ms)?;
    Some(plan_of(defect, kill.seeds, busy_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_defects_and_none_is_listed_twice() {
        let mut names: Vec<&str> = defects().map(|defect| defect.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == count && count >= 60, "{count} defects");
    }

    #[test]
    fn some_defects_are_found_within_a_few_seeds() {
        for name in [
            "replay-forgets-edits",
            "ack-removes-two",
            "outbox-row-left",
            "observers-told-twice",
        ] {
            let defect = defects().find(|defect| defect.name == name);
            let defect = defect.unwrap_or_else(|| panic!("{name} is not in the list"));
            assert!(hunt(defect, 10, 20_000).is_some(), "{name} survives");
        }
    }

    #[test]
    fn refusals_of_the_engines_own_and_answers_that_never_come_are_found_by_their_oracles() {
        for (name, invariant) in [
            ("throttled-means-refused", "I3"),
            ("outage-means-refused", "I3"),
            ("unauthorized-means-refused", "I3"),
            ("save-not-answered", "E1"),
        ] {
            let defect = defects().find(|defect| defect.name == name);
            let defect = defect.unwrap_or_else(|| panic!("{name} is not in the list"));
            let kill = hunt(defect, 60, 20_000);
            println!("{name}: {kill:?}");
            assert_eq!(kill.map(|kill| kill.invariant), Some(invariant), "{name}");
        }
    }
}
