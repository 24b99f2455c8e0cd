//! A run as data: who takes part, what they do and when, what fails and when.
//!
//! Owns [`Plan`] and its form as JSON. A seed becomes a plan in `plan/generate.rs`; a plan is carried out in `run.rs`.
//! Whatever is still left to chance while it runs (which packet is lost, how long one takes) comes from streams of
//! its own, so that a plan with an action or a fault left out leaves all other choices as they were.
//!
//! Invariant: a plan that was read from JSON is within the bounds of `plan/bounds.rs`; no file can make a run endless.

mod action;
mod bounds;
mod fault;
mod generate;
mod profile;

use serde::{Deserialize, Serialize};

pub use action::{Action, ActionStep};
pub use fault::{Fault, FaultStep};
pub use generate::{CLIENTS_DRAWN_MAX, fault_scenario, generate, generate_for};
pub use profile::Profile;

use crate::knobs::Knobs;

/// Version of the form in which plans are written.
pub const PLAN_FORMAT: u32 = 1;

/// Most clients of a plan; each has a store and actors of its own.
pub const CLIENTS_MAX: usize = 16;

/// Most actions and most faults of a plan.
pub const STEPS_MAX: usize = 100_000;

/// Longest busy time of a plan: ten simulated days.
pub const BUSY_MS_MAX: u64 = 10 * 24 * 60 * 60 * 1_000;

/// What a run does; everything that happens follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// Where residual draws come from.
    pub seed: u64,
    /// The profile that it was drawn for.
    pub profile: Profile,
    /// The knobs as the seed left them; for people, since the faults are in the plan.
    pub knobs: Knobs,
    /// How the server is set.
    pub server: ServerPlan,
    /// Who takes part.
    pub clients: Vec<ClientPlan>,
    /// Virtual time during which clients work and things fail, in milliseconds.
    pub busy_ms: u64,
    /// What users do, in order of time.
    pub actions: Vec<ActionStep>,
    /// What fails, in order of time.
    pub faults: Vec<FaultStep>,
}

/// How the server of a run is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerPlan {
    /// Whether stale writes are merged (`AUTOMERGE`) or refused (`OPTIMISTIC_CONCURRENCY`).
    pub automerge: bool,
    /// How old a `lastSync` is answered from the delta table, in minutes; older ones get everything.
    pub delta_ttl_minutes: u32,
    /// How far the server's clock is ahead of the clients', in milliseconds.
    pub clock_ahead_ms: i64,
    /// Time between keep-alive messages, in milliseconds.
    pub keep_alive_ms: i64,
    /// Rows that a page evaluates at most.
    pub page_max: usize,
}

impl Default for ServerPlan {
    fn default() -> Self {
        Self {
            automerge: true,
            delta_ttl_minutes: 30,
            clock_ahead_ms: 0,
            keep_alive_ms: 20_000,
            page_max: 1_000,
        }
    }
}

/// A client of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientPlan {
    /// Its name.
    pub name: String,
    /// Longest time that a message between actors is held, in milliseconds; 0 delivers at once.
    pub hold_ms_max: u64,
    /// Records that a page of a sync query asks for.
    pub page_size: u32,
    /// Whether its conflict handler lets the server's record stand instead of its own changes.
    pub accepts_remote: bool,
    /// How far its wall clock is ahead, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Mutations that it sends in one request at most.
    #[serde(default = "alone")]
    pub mutations_per_request: usize,
    /// How often it fetches everything once more, in seconds.
    #[serde(default = "a_day_in_seconds")]
    pub full_sync_s: u64,
}

/// What a client does of which a plan does not say it.
fn alone() -> usize {
    1
}

/// What an app has that sets nothing; also what plans mean that were written before there was such a setting.
fn a_day_in_seconds() -> u64 {
    24 * 60 * 60
}

impl ClientPlan {
    /// A client with the settings of an app that changed nothing.
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hold_ms_max: 0,
            page_size: 1_000,
            accepts_remote: false,
            clock_ahead_ms: 0,
            mutations_per_request: alone(),
            full_sync_s: a_day_in_seconds(),
        }
    }
}

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It is no JSON, or not of a plan's shape.
    #[error("this is not a plan: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("the plan has format {found}, this version reads {PLAN_FORMAT}; draw it anew from its seed")]
    Format {
        /// Its format.
        found: u32,
    },
    /// It is beyond a bound.
    #[error("the plan has {what}")]
    TooLarge {
        /// What is too large, with the bound.
        what: String,
    },
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// [`PlanError`] if the text is no plan, of another format, or beyond a bound.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan as JSON, one action or fault a line.
    ///
    /// # Panics
    /// Never: a plan holds nothing that JSON cannot.
    pub fn to_json(&self) -> String {
        let value = serde_json::to_value(self).expect("a plan is made of numbers, names and lists");
        let mut text = String::from("{");
        let members = value.as_object().into_iter().flatten();
        for (index, (name, member)) in members.enumerate() {
            text.push_str(if index == 0 { "\n" } else { ",\n" });
            match member.as_array() {
                Some(rows) if !rows.is_empty() => {
                    let rows: Vec<String> = rows.iter().map(|row| format!("    {row}")).collect();
                    text.push_str(&format!("  \"{name}\": [\n{}\n  ]", rows.join(",\n")));
                }
                _ => text.push_str(&format!("  \"{name}\": {member}")),
            }
        }
        text.push_str("\n}\n");
        text
    }

    /// How many actions and faults it has; what shrinking makes smaller.
    pub fn size(&self) -> usize {
        self.actions.len() + self.faults.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_after_a_trip_through_json() {
        for seed in 0..20 {
            let plan = generate(seed, Profile::Chaos, None, 60_000);
            let again = Plan::from_json(&plan.to_json()).expect("it was written by us");
            assert_eq!(again, plan, "seed {seed}");
        }
    }

    #[test]
    fn a_seed_always_gives_the_same_plan_and_turns_about_half_of_the_knobs_off() {
        let plan = generate(7, Profile::Chaos, None, 60_000);
        assert_eq!(plan, generate(7, Profile::Chaos, None, 60_000));
        let on: usize = (0..40)
            .map(|seed| generate(seed, Profile::Chaos, None, 1_000).knobs.on().len())
            .sum();
        let share = on * 100 / (40 * crate::knobs::KNOBS.len());
        assert!((40..=60).contains(&share), "{share} % of the knobs are on");
    }
}
