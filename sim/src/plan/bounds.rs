//! What keeps a plan within what can be run: no file can make a run endless, or take its numbers out of their range.
//!
//! Owns [`Plan::check`]. Whether a plan makes sense is not asked: what cannot be done when its turn comes is passed over.

use std::collections::BTreeSet;

use landfall_wire::BATCH_MAX;
use serde::Serialize;

use super::{Action, BUSY_MS_MAX, CLIENTS_MAX, Fault, PLAN_FORMAT, Plan, PlanError, STEPS_MAX};

/// Most operations, messages or repetitions that one fault names.
const COUNT_MAX: u64 = 100_000;

/// Shortest time between keep-alive messages; each is an event for each client, for days if the plan says so.
const KEEP_ALIVE_MS_MIN: i64 = 1_000;

/// Longest time between two full syncs, in seconds: a year.
const FULL_SYNC_S_MAX: u64 = 365 * 24 * 60 * 60;

/// Most bytes a second of a narrow link; more is no fault.
const BYTES_PER_SECOND_MAX: u64 = 1_000_000_000;

/// Most records of a page, and most minutes that the server keeps deltas for.
const SERVER_NUMBER_MAX: u64 = 1_000_000;

/// Most characters of a client's name; it stands in each line of the trace.
const NAME_CHARS_MAX: usize = 32;

impl Plan {
    /// Refuses what is beyond a bound.
    ///
    /// # Errors
    /// [`PlanError::Format`] and [`PlanError::TooLarge`].
    pub fn check(&self) -> Result<(), PlanError> {
        if self.format != PLAN_FORMAT {
            return Err(PlanError::Format { found: self.format });
        }
        let clients = self.clients.len();
        if clients == 0 || clients > CLIENTS_MAX {
            return too_large(format!("{clients} clients; 1 to {CLIENTS_MAX} can take part"));
        }
        if self.busy_ms > BUSY_MS_MAX {
            return too_large(format!("{} ms of work; at most {BUSY_MS_MAX}", self.busy_ms));
        }
        self.check_steps()?;
        self.check_server()?;
        self.check_clients()
    }

    fn check_steps(&self) -> Result<(), PlanError> {
        let (clients, faults) = (self.clients.len(), self.faults.len());
        let times = |action: &Action| match action {
            Action::Chain { times, .. } => u64::from(*times),
            _ => 1,
        };
        let writes: u64 = self.actions.iter().map(|step| times(&step.action)).sum();
        // A chain of no changes is a step all the same.
        let actions = writes.max(self.actions.len() as u64);
        if actions.max(faults as u64) > STEPS_MAX as u64 {
            return too_large(format!(
                "{actions} changes and {faults} faults; at most {STEPS_MAX} of each"
            ));
        }
        let of_actions = self.actions.iter().map(|step| step.client);
        let of_faults = self.faults.iter().filter_map(|step| step.fault.client());
        let together = self.faults.iter().flat_map(|step| met_together(&step.fault));
        let mut met = of_actions.chain(of_faults).chain(together.copied());
        if let Some(client) = met.find(|client| *client >= clients) {
            return too_large(format!("client {client}; the last one is {}", clients - 1));
        }
        if let Some(many) = self
            .faults
            .iter()
            .map(|step| met_together(&step.fault).len().max(repaired(&step.fault).len()))
            .find(|many| *many > clients)
        {
            return too_large(format!("a fault that meets {many} clients; {clients} take part"));
        }
        self.actions.iter().try_for_each(check_numbers)?;
        self.faults.iter().try_for_each(check_numbers)
    }

    fn check_server(&self) -> Result<(), PlanError> {
        let server = &self.server;
        if server.keep_alive_ms < KEEP_ALIVE_MS_MIN || server.keep_alive_ms.unsigned_abs() > BUSY_MS_MAX {
            return too_large(format!(
                "keep-alives every {} ms; {KEEP_ALIVE_MS_MIN} to {BUSY_MS_MAX}",
                server.keep_alive_ms
            ));
        }
        within("pageMax", server.page_max as u64, 1, SERVER_NUMBER_MAX)?;
        let ttl = u64::from(server.delta_ttl_minutes);
        within("deltaTtlMinutes", ttl, 0, SERVER_NUMBER_MAX)?;
        within(
            "clockAheadMs",
            server.clock_ahead_ms.unsigned_abs(),
            0,
            BUSY_MS_MAX,
        )
    }

    fn check_clients(&self) -> Result<(), PlanError> {
        let mut names = BTreeSet::new();
        for client in &self.clients {
            let name = &client.name;
            let is_plain = name.chars().all(char::is_alphanumeric);
            if name.is_empty() || !is_plain || name.chars().count() > NAME_CHARS_MAX {
                return too_large(format!(
                    "a client's name that is not 1 to {NAME_CHARS_MAX} letters and digits"
                ));
            }
            if !names.insert(name) {
                return too_large(format!("two clients of the name {name}"));
            }
            within("holdMsMax", client.hold_ms_max, 0, BUSY_MS_MAX)?;
            within("pageSize", u64::from(client.page_size), 1, SERVER_NUMBER_MAX)?;
            within(
                "clockAheadMs",
                client.clock_ahead_ms.unsigned_abs(),
                0,
                BUSY_MS_MAX,
            )?;
            let together = client.mutations_per_request as u64;
            within("mutationsPerRequest", together, 1, BATCH_MAX as u64)?;
            within("fullSyncS", client.full_sync_s, 1, FULL_SYNC_S_MAX)?;
        }
        Ok(())
    }
}

fn too_large<T>(what: String) -> Result<T, PlanError> {
    Err(PlanError::TooLarge { what })
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    too_large(format!("`{name}` beyond its bounds: {least} to {most}"))
}

/// The order of the repairs of a fault that meets several.
fn repaired(fault: &Fault) -> &[usize] {
    match fault {
        Fault::Swizzle { repairs, .. } => repairs,
        _ => &[],
    }
}

/// Whom a fault meets that meets several.
fn met_together(fault: &Fault) -> &[usize] {
    match fault {
        Fault::Swizzle { clients, .. } => clients,
        _ => &[],
    }
}

/// The most that a number of a step may be, by its name in a plan's file; none if any number will do, or if it is looked
/// at elsewhere. The test beside this one knows every name.
fn most(name: &str) -> Option<u64> {
    match name {
        "ms" => Some(BUSY_MS_MAX),
        "perMille" => Some(1_000),
        "status" => Some(599),
        "bytesPerSecond" => Some(BYTES_PER_SECOND_MAX),
        "times" | "operations" | "again" => Some(COUNT_MAX),
        name if name.ends_with("Ms") || name.ends_with("_ms") => Some(BUSY_MS_MAX),
        _ => None,
    }
}

/// Every number of an action or a fault.
fn check_numbers(step: &impl Serialize) -> Result<(), PlanError> {
    let step = serde_json::to_value(step)?;
    for (name, value) in step.as_object().into_iter().flatten() {
        let number = value.as_i64().map(i64::unsigned_abs).or_else(|| value.as_u64());
        if let (Some(number), Some(most)) = (number, most(name)) {
            within(name, number, 0, most)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ActionStep, FaultStep, Profile, generate};
    use super::*;
    use crate::knobs::KNOBS;

    /// Names of numbers for which any will do, and of what is checked by itself.
    const FREE: [&str; 10] = [
        "client", "clients", "repairs", "note", "above", "pair", "board", "list", "item", "turn",
    ];

    fn plan() -> Plan {
        generate(1, Profile::Calm, None, 1_000)
    }

    fn refused(change: impl Fn(&mut Plan)) -> bool {
        let mut plan = plan();
        change(&mut plan);
        Plan::from_json(&plan.to_json()).is_err()
    }

    #[test]
    fn plans_beyond_the_bounds_are_refused() {
        assert!(!refused(|_| {}));
        assert!(refused(|plan| plan.format = 99));
        assert!(refused(|plan| plan.clients.clear()));
        assert!(refused(|plan| plan.busy_ms = u64::MAX));
        assert!(refused(|plan| plan.actions[0].client = 77));
        assert!(Plan::from_json("[]").is_err());
    }

    #[test]
    fn settings_that_would_not_end_or_not_fit_are_refused() {
        assert!(refused(|plan| plan.server.keep_alive_ms = 0));
        assert!(refused(|plan| plan.server.keep_alive_ms = i64::MIN));
        assert!(refused(|plan| plan.server.page_max = 0));
        assert!(refused(|plan| plan.server.clock_ahead_ms = i64::MIN));
        assert!(refused(|plan| plan.server.delta_ttl_minutes = u32::MAX));
        assert!(refused(|plan| plan.clients[0].page_size = 0));
        assert!(refused(|plan| plan.clients[0].full_sync_s = 0));
        assert!(refused(|plan| plan.clients[0].mutations_per_request = 0));
        assert!(refused(
            |plan| plan.clients[0].mutations_per_request = BATCH_MAX + 1
        ));
        assert!(refused(|plan| plan.clients[0].hold_ms_max = u64::MAX));
        assert!(refused(|plan| plan.clients[0].clock_ahead_ms = i64::MAX));
        assert!(refused(|plan| plan.clients[0].name = "a#1".to_owned()));
        assert!(refused(|plan| plan.clients[1].name = plan.clients[0].name.clone()));
    }

    #[test]
    fn steps_that_would_not_end_are_refused() {
        let act = |action: Action| {
            refused(move |plan| {
                plan.actions.push(ActionStep {
                    at_ms: 1,
                    client: 0,
                    action: action.clone(),
                });
            })
        };
        assert!(!act(Action::Chain { note: 1, times: 100 }));
        assert!(act(Action::Chain {
            note: 1,
            times: u32::MAX
        }));
        assert!(act(Action::EditStale {
            note: 1,
            hold_ms: u64::MAX
        }));
        let fail = |at_ms: u64, fault: Fault| {
            refused(move |plan| {
                let fault = fault.clone();
                plan.faults.push(FaultStep { at_ms, fault });
            })
        };
        let (client, ms, step_ms) = (0, 1, 1);
        let swizzle = |clients: Vec<usize>| Fault::Swizzle {
            clients,
            step_ms,
            ms,
            repairs: Vec::new(),
        };
        assert!(!fail(1, Fault::Partition { client, ms }));
        assert!(fail(u64::MAX, Fault::Partition { client, ms }));
        assert!(fail(1, Fault::Partition { client, ms: u64::MAX }));
        assert!(fail(
            1,
            Fault::WallClockJumps {
                client,
                by_ms: i64::MIN
            }
        ));
        assert!(fail(
            1,
            Fault::ReadFails {
                client,
                times: u64::MAX
            }
        ));
        assert!(fail(
            1,
            Fault::Narrow {
                client,
                ms,
                bytes_per_second: u64::MAX
            }
        ));
        assert!(!fail(1, swizzle(vec![0, 1])));
        assert!(fail(1, swizzle(vec![99])) && fail(1, swizzle(vec![0; 1_000])));
    }

    #[test]
    fn every_number_of_every_step_has_a_bound_or_needs_none() {
        let mut kinds = BTreeSet::new();
        for knob in KNOBS {
            let mut knobs = crate::knobs::Knobs::default();
            knobs.set(knob.name, 1_000);
            let plan = generate(3, Profile::Chaos, Some(knobs), 60_000);
            assert!(!plan.faults.is_empty(), "{} is never drawn", knob.name);
            let actions = plan.actions.iter().map(serde_json::to_value);
            for step in actions.chain(plan.faults.iter().map(serde_json::to_value)) {
                let step = step.expect("a step can be written");
                for (name, value) in step.as_object().into_iter().flatten() {
                    let free = FREE.contains(&name.as_str()) || !(value.is_number() || value.is_array());
                    assert!(free || most(name).is_some(), "{step} has no bound for {name}");
                }
                kinds.insert(step["fault"].as_str().map(str::to_owned));
            }
            assert!(plan.check().is_ok(), "{}", knob.name);
        }
        // Actions are none of them; they count as one.
        assert_eq!(kinds.len(), KNOBS.len() + 1, "{kinds:?}");
    }
}
