//! Finding what is wrong with an app, and telling it so that it can be mended.
//!
//! Owns [`Explorer`] and [`Found`]: a plan that fails is made small as every plan is (`shrink.rs`), reported as every plan is
//! (`report.rs`), and becomes a test. Invariant: each run has an app of its own, so that nothing that one run left in it can
//! make another one fail.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use landfall::Schema;

use super::{App, Exploration, carry_out};
use crate::knobs::Knobs;
use crate::plan::{Plan, Profile};
use crate::report::report_of;
use crate::run::{Outcome, RunOptions};
use crate::shrink::{Shrunk, as_test_by, shrink_from};

/// Most plans that are run to make one small.
const TRIES: usize = 300;

/// An app that is explored, as often as need be.
///
/// ```
/// use landfall::{DataStore, Error};
/// use landfall_sim::{App, Exploration, Explorer, Profile, Stream};
///
/// landfall::inline_schema!("type Visit @model { by: String! }");
///
/// struct Guestbook;
///
/// impl App for Guestbook {
///     async fn act(&self, user: &str, store: &DataStore, _: &Stream) -> Result<(), Error> {
///         store.save(Visit::builder().by(user).build().expect("complete")).await?;
///         Ok(())
///     }
/// }
///
/// let explorer = Explorer::new(schema(), || Guestbook);
/// let exploration = Exploration { busy_ms: 3_000, profile: Profile::Net, ..Exploration::of_seed(1) };
/// explorer.explore(&exploration).expect("nothing is wrong with it");
/// ```
pub struct Explorer<A> {
    schema: Arc<Schema>,
    make: Box<dyn Fn() -> A>,
    called: String,
    tries: usize,
}

impl<A> fmt::Debug for Explorer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Explorer({})", self.called)
    }
}

/// What is wrong with an app: a small plan that shows it, and all there is to say about it.
///
/// Both `Display` and `Debug` are the whole of it, so that a test that expects nothing to be found tells it when it fails.
pub struct Found {
    /// The plan that the seed became.
    pub plan: Plan,
    /// What it came to.
    pub outcome: Outcome,
    /// A small plan that violates the same, and what it comes to.
    pub shrunk: Shrunk,
    /// What, when, under which faults, what happened before, and how to see it again; of the small plan.
    pub report: String,
    /// The source of a test that fails until it is mended.
    pub test: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, small) = (&self.plan, &self.shrunk.plan);
        writeln!(
            f,
            "{}\nmade small by {} runs: {} of {} actions, {} of {} faults; as a test:\n\n{}",
            self.report,
            self.shrunk.runs,
            small.actions.len(),
            plan.actions.len(),
            small.faults.len(),
            plan.faults.len(),
            self.test
        )
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Found {}

impl<A: App + 'static> Explorer<A> {
    /// An explorer of an app with that schema; `make` makes an app for each run.
    pub fn new(schema: &Arc<Schema>, make: impl Fn() -> A + 'static) -> Self {
        Self {
            schema: Arc::clone(schema),
            make: Box::new(make),
            called: "explorer()".to_owned(),
            tries: TRIES,
        }
    }

    /// The Rust expression by which tests get at this explorer, for those that it writes; `explorer()` by default.
    #[must_use]
    pub fn called(mut self, expression: &str) -> Self {
        expression.clone_into(&mut self.called);
        self
    }

    /// How many plans are run at most to make one small; 300 by default, and with 1 none is.
    #[must_use]
    pub fn tries(mut self, runs: usize) -> Self {
        self.tries = runs;
        self
    }

    /// Carries a plan out.
    ///
    /// # Panics
    /// If the schema makes no backend.
    pub fn run(&self, plan: &Plan, options: RunOptions) -> Outcome {
        carry_out(&self.schema, (self.make)(), plan, options)
    }

    /// Runs the app under one seed. What fails is made small first.
    ///
    /// # Errors
    /// What is wrong with it.
    ///
    /// # Panics
    /// If the schema makes no backend, or the exploration no plan ([`Exploration::plan`]).
    pub fn explore(&self, exploration: &Exploration) -> Result<Outcome, Box<Found>> {
        let plan = exploration.plan();
        let options = RunOptions {
            record: exploration.record,
            ..RunOptions::default()
        };
        let outcome = self.run(&plan, options);
        let again = format!("{}.explore(&{})", self.called, as_code(exploration));
        match self.shrink_from(&plan, outcome.clone()) {
            None => Ok(outcome),
            Some(shrunk) => Err(Box::new(self.found(plan, outcome, shrunk, &again))),
        }
    }

    /// Makes a failing plan smaller; `None` if it does not fail.
    pub fn shrink(&self, plan: &Plan) -> Option<Shrunk> {
        self.shrink_from(plan, self.run(plan, RunOptions::default()))
    }

    /// The report of a plan that violates something; empty if nothing is violated. `replay` says how to run it again.
    pub fn report(&self, plan: &Plan, options: RunOptions, replay: &str) -> String {
        let options = RunOptions {
            echo: false,
            record: true,
            ..options
        };
        report_of(plan, &self.run(plan, options), replay)
    }

    fn shrink_from(&self, plan: &Plan, outcome: Outcome) -> Option<Shrunk> {
        let carry_out = |plan: &Plan| self.run(plan, RunOptions::default());
        shrink_from(plan, outcome, &carry_out, self.tries, &mut |_, _| {})
    }

    fn found(&self, plan: Plan, outcome: Outcome, shrunk: Shrunk, again: &str) -> Found {
        let options = RunOptions {
            record: true,
            ..RunOptions::default()
        };
        let recorded = self.run(&shrunk.plan, options);
        let mut report = report_of(&shrunk.plan, &recorded, again);
        if recorded.trace_hash != shrunk.outcome.trace_hash {
            // Nothing that is said of the run can be relied on then.
            report.insert_str(
                0,
                "I19: the same plan went differently the second time; the app draws on chance, time or threads that are \
                 not the simulator's\n",
            );
        }
        let first = shrunk.outcome.violations.first();
        let what = first.map_or_else(String::new, ToString::to_string);
        let run = format!("{}.run", self.called);
        let test = as_test_by(&run, &shrunk.plan, &format!("seed_{}", plan.seed), &what);
        Found {
            plan,
            outcome,
            shrunk,
            report,
            test,
        }
    }
}

/// An exploration as Rust has it, in a line.
fn as_code(exploration: &Exploration) -> String {
    let plain = Exploration::of_seed(exploration.seed);
    let mut members = String::new();
    let mut add = |member: fmt::Arguments<'_>| {
        // Writing into a string cannot fail.
        let _: fmt::Result = write!(members, "{member}, ");
    };
    if exploration.profile != plain.profile {
        add(format_args!("profile: {}", profile_as_code(exploration.profile)));
    }
    if exploration.users != plain.users {
        add(format_args!(
            "users: {:?}.map(str::to_owned).to_vec()",
            exploration.users
        ));
    }
    if exploration.busy_ms != plain.busy_ms {
        add(format_args!("busy_ms: {}", exploration.busy_ms));
    }
    if let Some(knobs) = &exploration.knobs {
        add(format_args!("knobs: Some({})", knobs_as_code(knobs)));
    }
    let seed = exploration.seed;
    if members.is_empty() {
        format!("Exploration::of_seed({seed})")
    } else {
        format!("Exploration {{ {members}..Exploration::of_seed({seed}) }}")
    }
}

fn profile_as_code(profile: Profile) -> String {
    format!("Profile::{profile:?}")
}

fn knobs_as_code(knobs: &Knobs) -> String {
    let on = knobs.on().into_iter();
    let members: String = on
        .map(|name| format!("{name}: {}, ", knobs.get(name).unwrap_or(0)))
        .collect();
    format!("Knobs {{ {members}..Knobs::default() }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exploration_is_written_as_somebody_would() {
        assert_eq!(as_code(&Exploration::of_seed(7)), "Exploration::of_seed(7)");
        let mut knobs = Knobs::default();
        knobs.set("partition", 50);
        let exploration = Exploration {
            profile: Profile::Net,
            users: vec!["eva".to_owned()],
            busy_ms: 5,
            knobs: Some(knobs),
            ..Exploration::of_seed(8)
        };
        assert_eq!(
            as_code(&exploration),
            "Exploration { profile: Profile::Net, users: [\"eva\"].map(str::to_owned).to_vec(), busy_ms: 5, \
             knobs: Some(Knobs { partition: 50, ..Knobs::default() }), ..Exploration::of_seed(8) }"
        );
    }

    #[test]
    fn a_turn_left_out_leaves_the_others_as_they_were_and_plans_are_files() {
        let exploration = Exploration::of_seed(3);
        let plan = exploration.plan();
        assert!(plan.actions.len() > 100, "{}", plan.actions.len());
        assert_eq!(
            Plan::from_json(&plan.to_json()).expect("it was written by us"),
            plan
        );
        let fewer = Exploration {
            users: vec!["anna".to_owned()],
            ..exploration
        };
        let of_anna = |plan: &Plan| -> Vec<_> {
            let own = plan.actions.iter().filter(|step| step.client == 0);
            own.cloned().collect()
        };
        assert_eq!(of_anna(&fewer.plan()), of_anna(&plan));
    }

    #[test]
    fn users_have_names_that_a_plan_can_hold() {
        let exploration = Exploration {
            users: vec!["anna smith".to_owned()],
            ..Exploration::of_seed(1)
        };
        let said = std::panic::catch_unwind(|| exploration.plan()).expect_err("no plan holds that name");
        let said = said.downcast_ref::<String>().map_or("", String::as_str);
        assert!(said.contains("letters and digits"), "{said}");
    }
}
