//! What a failing plan is reported with.
//!
//! Owns [`report`] and [`exit_code`], whoever carried the plan out. The plan is run once more with everything kept, which
//! costs nothing but time: the same plan gives the same run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::Plan;
use crate::run::{Outcome, RunOptions, run};
use crate::trace::Line;

/// Newest lines of each actor that a report shows.
const LINES_OF_EACH: usize = 40;

/// Exit code of a run in which a part of a client panicked.
pub const EXIT_PANIC: u8 = 127;
/// Exit code of a run that did not become quiet.
pub const EXIT_LIVENESS: u8 = 128;
/// Exit code of a run that violated an invariant.
pub const EXIT_INVARIANT: u8 = 129;
/// Exit code of a run that went differently the second time.
pub const EXIT_NONDETERMINISM: u8 = 130;

/// The exit code for a violated invariant.
pub fn exit_code(invariant: &str) -> u8 {
    match invariant {
        "I19" => EXIT_NONDETERMINISM,
        "I22" => EXIT_PANIC,
        "E1" => EXIT_LIVENESS,
        _ => EXIT_INVARIANT,
    }
}

/// The report of a plan that violates something: what, when, under which faults, what happened before, and how to see it
/// again. Empty if nothing is violated.
///
/// `options` are those of the run that failed, so that the report is about the same violation. `replay` is the command that
/// runs the plan again.
pub fn report(plan: &Plan, options: RunOptions, replay: &str) -> String {
    let options = RunOptions {
        echo: false,
        record: true,
        ..options
    };
    report_of(plan, &run(plan, options), replay)
}

/// The report of what a plan came to when everything was kept.
pub(crate) fn report_of(plan: &Plan, outcome: &Outcome, replay: &str) -> String {
    let Some(first) = outcome.violations.first() else {
        return String::new();
    };
    let mut text = format!(
        "seed {} profile {} version {} violates {} at {} ms, step {}, exit code {}\n",
        plan.seed,
        plan.profile.name(),
        env!("CARGO_PKG_VERSION"),
        first.invariant,
        first.at_ms,
        first.step,
        exit_code(first.invariant)
    );
    for violation in &outcome.violations {
        writes(&mut text, &format!("  {violation}\n"));
    }
    writes(&mut text, &configuration(plan, outcome));
    writes(&mut text, "\nwhat happened before, the newest of each part:\n");
    let lines = outcome
        .recording
        .as_ref()
        .map_or(&[][..], |recording| &recording.lines);
    for line in newest_of_each(lines, &first.who) {
        writes(&mut text, &format!("{line}\n"));
    }
    if !outcome.story.is_empty() {
        writes(&mut text, "\nhow the record came to be what it is:\n");
        for line in &outcome.story {
            writes(&mut text, &format!("  {line}\n"));
        }
    }
    writes(&mut text, &format!("\nagain: {replay}\n"));
    text
}

fn writes(text: &mut String, more: &str) {
    text.push_str(more);
}

fn configuration(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::from("\nthe run:\n");
    let server = &plan.server;
    let strategy = if server.automerge {
        "automerge"
    } else {
        "optimistic concurrency"
    };
    // Writing into a string cannot fail.
    let _: Result<(), std::fmt::Error> = writeln!(
        text,
        "  {} actions and {} faults in {} s; server: {strategy}, delta table {} min, {} rows a page, clock {:+} ms",
        plan.actions.len(),
        plan.faults.len(),
        plan.busy_ms / 1_000,
        server.delta_ttl_minutes,
        server.page_max,
        server.clock_ahead_ms
    );
    for client in &plan.clients {
        text.push_str(&format!(
            "  {}: hold up to {} ms, {} rows a page, {} changes a request, {} conflicts, clock {:+} ms\n",
            client.name,
            client.hold_ms_max,
            client.page_size,
            client.mutations_per_request,
            if client.accepts_remote {
                "gives in to"
            } else {
                "keeps its changes in"
            },
            client.clock_ahead_ms
        ));
    }
    let on: Vec<String> = plan
        .knobs
        .on()
        .into_iter()
        .map(|name| format!("{name}={}", plan.knobs.get(name).unwrap_or(0)))
        .collect();
    text.push_str(&format!(
        "  knobs: {}\n",
        if on.is_empty() {
            "none".to_owned()
        } else {
            on.join(" ")
        }
    ));
    let faults: Vec<String> = outcome
        .faults
        .iter()
        .map(|(id, times)| format!("{id} {times}"))
        .collect();
    text.push_str(&format!("  faults so far: {}\n", faults.join(", ")));
    text
}

/// The newest lines of each part, in order of time; only those of the client in question, of the server's side and of
/// what was done to them.
fn newest_of_each<'a>(lines: &'a [Line], client: &str) -> Vec<&'a Line> {
    let concerns = |line: &&Line| {
        let who = line.who.split(' ').next().unwrap_or_default();
        who == client || who == "fault" || who == "scenario" || client == "all"
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut newest: Vec<&Line> = lines
        .iter()
        .rev()
        .filter(concerns)
        .filter(|line| {
            let count = counts.entry(line.who.as_str()).or_default();
            *count += 1;
            *count <= LINES_OF_EACH
        })
        .collect();
    newest.reverse();
    newest
}
