//! An app of somebody else's is explored: what is wrong with it is found, made small, told, and becomes a test.
#![allow(missing_docs, reason = "a test is named after what it shows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use landfall::{DataStore, Error, Query, Record, Value};
use landfall_sim::{App, Exploration, Explorer, Found, Plan, Profile, RunOptions, Stream};

landfall::inline_schema!("type Ticket @model { seat: String! holder: String! }");

/// Seats of the house.
const SEATS: u64 = 30;

/// A box office that sells the seats of one evening.
#[derive(Clone, Copy)]
struct BoxOffice {
    /// The defect: each office names its tickets itself, so that two of them sell one seat.
    names_tickets_itself: bool,
}

impl App for BoxOffice {
    async fn act(&self, user: &str, store: &DataStore, chance: &Stream) -> Result<(), Error> {
        let seat = format!("seat{}", chance.below(SEATS));
        if sold(store)?.contains_key(&seat) {
            return Ok(());
        }
        let id = if self.names_tickets_itself {
            format!("{:016x}", chance.bits())
        } else {
            seat.clone()
        };
        let mut ticket = Record::new(store.records().def("Ticket")?, Vec::new());
        ticket.set("id", id.into());
        ticket.set("seat", seat.into());
        ticket.set("holder", user.into());
        store.records().save(ticket).await?;
        Ok(())
    }

    fn finally(&self, _: &str, store: &DataStore) -> Result<(), String> {
        let sold = sold(store).map_err(|error| error.to_string())?;
        match sold.iter().find(|(_, times)| **times > 1) {
            Some((seat, times)) => Err(format!("{seat} was sold {times} times")),
            None => Ok(()),
        }
    }
}

/// How often each seat was sold.
fn sold(store: &DataStore) -> Result<BTreeMap<String, u64>, Error> {
    let mut sold = BTreeMap::new();
    for ticket in store.records().query(&Query::all("Ticket"))? {
        if let Some(Value::String(seat)) = ticket.get("seat") {
            *sold.entry(seat.clone()).or_default() += 1;
        }
    }
    Ok(sold)
}

fn explorer(names_tickets_itself: bool) -> Explorer<BoxOffice> {
    Explorer::new(schema(), move || BoxOffice { names_tickets_itself }).called("explorer(true)")
}

fn exploration(seed: u64) -> Exploration {
    Exploration {
        profile: Profile::Net,
        busy_ms: 15_000,
        ..Exploration::of_seed(seed)
    }
}

/// What the first seed finds that finds something.
fn found() -> Box<Found> {
    let explorer = explorer(true);
    let mut found = (1..40).filter_map(|seed| explorer.explore(&exploration(seed)).err());
    found.next().unwrap()
}

#[test]
fn what_is_wrong_with_an_app_is_made_small_and_told() {
    let found = found();
    assert_eq!(found.outcome.invariant(), Some("APP"));
    assert!(found.plan.actions.len() > 30, "{}", found.plan.actions.len());

    // Two who sell, and what keeps them from hearing of each other.
    let small = &found.shrunk.plan;
    assert_eq!(small.actions.len(), 2, "{found}");
    assert!(small.faults.len() <= 1, "{found}");
    assert_eq!(found.shrunk.outcome.invariant(), Some("APP"));

    let (told, seed) = (found.to_string(), found.plan.seed);
    for part in [
        &format!(
            "seed {seed} profile net version {} violates APP at ",
            env!("CARGO_PKG_VERSION")
        ),
        "exit code 129",
        "was sold 2 times",
        "the run:",
        "what happened before, the newest of each part:",
        " turn ",
        &format!(
            "again: explorer(true).explore(&Exploration {{ profile: Profile::Net, busy_ms: 15000, \
             ..Exploration::of_seed({seed}) }})"
        ),
        "made small by ",
        &format!("#[test]\nfn seed_{seed}() {{"),
        "explorer(true).run(&plan, landfall_sim::RunOptions::default())",
    ] {
        assert!(told.contains(part), "`{part}` is not told:\n{told}");
    }
    assert!(!told.contains("I19"), "{told}");
}

#[test]
fn the_test_that_is_written_fails_until_the_app_is_mended() {
    let found = found();
    let (_, plan) = found.test.split_once("r#\"").unwrap();
    let (plan, _) = plan.split_once("\"#").unwrap();
    let plan = Plan::from_json(plan).unwrap();
    let again = explorer(true).run(&plan, RunOptions::default());
    assert_eq!(again, found.shrunk.outcome, "the same plan gives the same run");
    let mended = explorer(false).run(&plan, RunOptions::default());
    assert!(mended.is_well(), "{:#?}", mended.violations);
}

#[test]
fn a_sound_app_is_found_sound() {
    for seed in 1..6 {
        let outcome = explorer(false).explore(&exploration(seed)).unwrap();
        assert!(
            outcome.acknowledged > 0 || outcome.trace_lines > 100,
            "seed {seed}"
        );
    }
    assert_eq!(explorer(false).shrink(&exploration(1).plan()), None);
}

/// An app that draws on a chance of its own cannot be explored, and is told so.
#[test]
fn an_app_with_a_chance_of_its_own_is_found_out() {
    use std::sync::atomic::{AtomicU64, Ordering};

    static ELSEWHERE: AtomicU64 = AtomicU64::new(0);

    struct Careless;

    impl App for Careless {
        async fn act(&self, user: &str, store: &DataStore, _: &Stream) -> Result<(), Error> {
            let mut ticket = Record::new(store.records().def("Ticket")?, Vec::new());
            let number = ELSEWHERE.fetch_add(1, Ordering::Relaxed);
            ticket.set("id", format!("t{number}").into());
            ticket.set("seat", "any".into());
            ticket.set("holder", user.into());
            store.records().save(ticket).await?;
            Ok(())
        }

        fn finally(&self, _: &str, _: &DataStore) -> Result<(), String> {
            Err("never content".to_owned())
        }
    }

    let explorer = Explorer::new(schema(), || Careless).tries(1);
    let exploration = Exploration {
        profile: Profile::Calm,
        busy_ms: 3_000,
        ..Exploration::of_seed(1)
    };
    let found = explorer.explore(&exploration).unwrap_err();
    assert!(found.report.starts_with("I19: "), "{}", found.report);
}
