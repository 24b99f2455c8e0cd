//! From a plan that fails to a small one that fails in the same way.
//!
//! Owns [`shrink`] and [`as_test`], and their forms for apps (`app/explorer.rs`). Delta debugging over faults and actions,
//! then plainer settings and less time. Since each client and each link draws from streams of its own, leaving one thing out
//! leaves the others as they were.
//!
//! Invariant: the result violates the same invariant as the plan that it was made from; the same plan gives the same result.

use crate::plan::{ClientPlan, Plan, ServerPlan};
use crate::run::{Outcome, RunOptions, run};

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The small plan.
    pub plan: Plan,
    /// What it comes to.
    pub outcome: Outcome,
    /// How many plans were run.
    pub runs: usize,
}

struct Search<'a> {
    carry_out: &'a dyn Fn(&Plan) -> Outcome,
    invariant: &'static str,
    plan: Plan,
    outcome: Outcome,
    runs: usize,
    runs_max: usize,
    progress: &'a mut dyn FnMut(usize, usize),
}

/// Makes a failing plan smaller, running at most `runs_max` plans; `None` if the plan does not fail.
///
/// `progress` hears after each run how many there were and how large the smallest plan is.
pub fn shrink(plan: &Plan, runs_max: usize, progress: &mut dyn FnMut(usize, usize)) -> Option<Shrunk> {
    let carry_out = |plan: &Plan| run(plan, RunOptions::default());
    shrink_from(plan, carry_out(plan), &carry_out, runs_max, progress)
}

/// As [`shrink`], of a plan that was run, for whoever carries plans out in another way.
pub(crate) fn shrink_from(
    plan: &Plan,
    outcome: Outcome,
    carry_out: &dyn Fn(&Plan) -> Outcome,
    runs_max: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Option<Shrunk> {
    let invariant = outcome.invariant()?;
    let mut search = Search {
        carry_out,
        invariant,
        plan: plan.clone(),
        outcome,
        runs: 1,
        runs_max,
        progress,
    };
    search.cut_the_end();
    loop {
        let before = search.plan.clone();
        search.leave_out_clients();
        search.leave_out(|plan| &mut plan.faults);
        search.leave_out(|plan| &mut plan.actions);
        search.plainer();
        if search.plan == before || search.runs >= search.runs_max {
            break;
        }
    }
    Some(Shrunk {
        plan: search.plan,
        outcome: search.outcome,
        runs: search.runs,
    })
}

impl Search<'_> {
    /// Takes a smaller plan over if it fails in the same way.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if plan == self.plan || self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let outcome = (self.carry_out)(&plan);
        let fails = outcome.invariant() == Some(self.invariant);
        if fails {
            self.plan = plan;
            self.outcome = outcome;
        }
        (self.progress)(self.runs, self.plan.size());
        fails
    }

    /// Nothing after the violation can have led to it, unless it was seen only in the end.
    fn cut_the_end(&mut self) {
        let at_ms = self
            .outcome
            .violations
            .first()
            .map_or(u64::MAX, |violation| violation.at_ms);
        let mut plan = self.plan.clone();
        plan.actions.retain(|step| step.at_ms <= at_ms);
        plan.faults.retain(|step| step.at_ms <= at_ms);
        self.try_plan(plan);
    }

    fn leave_out_clients(&mut self) {
        for client in (0..self.plan.clients.len()).rev() {
            let mut plan = self.plan.clone();
            plan.actions.retain(|step| step.client != client);
            plan.faults.retain(|step| step.fault.client() != Some(client));
            self.try_plan(plan);
        }
    }

    /// Delta debugging: leaves out ever smaller parts of a list.
    fn leave_out<T: Clone + PartialEq>(&mut self, list: fn(&mut Plan) -> &mut Vec<T>) {
        let mut chunk = list(&mut self.plan).len().div_ceil(2);
        while chunk > 0 {
            let mut start = 0;
            while start < list(&mut self.plan).len() && self.runs < self.runs_max {
                let mut plan = self.plan.clone();
                let rows = list(&mut plan);
                let end = (start + chunk).min(rows.len());
                rows.drain(start..end);
                if !self.try_plan(plan) {
                    start = end;
                }
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
    }

    /// Plainer settings, less time.
    fn plainer(&mut self) {
        let mut plan = self.plan.clone();
        plan.server = ServerPlan {
            automerge: plan.server.automerge,
            ..ServerPlan::default()
        };
        self.try_plan(plan);
        for index in 0..self.plan.clients.len() {
            let mut plan = self.plan.clone();
            plan.clients[index] = ClientPlan {
                accepts_remote: plan.clients[index].accepts_remote,
                ..ClientPlan::plain(&plan.clients[index].name)
            };
            self.try_plan(plan);
        }
        let last = self.plan.clone();
        let last = last.actions.iter().map(|step| step.at_ms);
        let newest = last.chain(self.plan.faults.iter().map(|step| step.at_ms)).max();
        let mut plan = self.plan.clone();
        plan.busy_ms = newest.unwrap_or(0) + 1_000;
        self.try_plan(plan);
    }
}

/// The source of a test that runs a plan and expects nothing to be violated.
pub fn as_test(plan: &Plan, name: &str, what: &str) -> String {
    as_test_by("landfall_sim::run", plan, name, what)
}

/// The same, with a plan carried out by what `run` calls.
pub(crate) fn as_test_by(run: &str, plan: &Plan, name: &str, what: &str) -> String {
    // A text of several lines would leave the comment.
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "/// Violated once: {what}.\n#[test]\nfn {name}() {{\n    let plan = r#\"{}\"#;\n    let plan = \
         landfall_sim::Plan::from_json(plan).expect(\"it was written by the simulator\");\n    let outcome = \
         {run}(&plan, landfall_sim::RunOptions::default());\n    assert!(outcome.is_well(), \"{{:#?}}\", \
         outcome.violations);\n}}\n",
        plan.to_json()
    )
}
