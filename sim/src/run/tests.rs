use super::*;
use crate::plan::{Profile, generate};

/// Simulated time of each run here, in milliseconds.
const BUSY_MS: u64 = 20_000;

fn check(profile: Profile, seeds: std::ops::Range<u64>) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    for seed in seeds {
        let outcome = run(&generate(seed, profile, None, BUSY_MS), RunOptions::default());
        assert!(
            outcome.is_well(),
            "{} seed {seed}: {:#?}\n{}\n{}",
            profile.name(),
            outcome.violations,
            outcome.recent.join("\n"),
            outcome.story.join("\n")
        );
        for (what, times) in outcome.sometimes {
            *seen.entry(what).or_default() += times;
        }
    }
    seen
}

#[test]
fn every_profile_keeps_every_promise() {
    for profile in Profile::ALL {
        check(profile, 0..3);
    }
}

/// A run of some fifty actions whose disks are full now and then, and nothing else fails.
fn with_full_disks(seed: u64) -> crate::plan::Plan {
    let mut knobs = crate::knobs::Knobs::default();
    knobs.set("disk_full", 150);
    generate(seed, Profile::Disk, Some(knobs), 10_000)
}

#[test]
fn full_disks_refuse_writes_in_short_runs() {
    let (mut fills, mut actions, mut bites) = (0, 0, 0);
    for seed in 0..40 {
        let plan = with_full_disks(seed);
        if plan.faults.is_empty() {
            continue;
        }
        let outcome = run(&plan, RunOptions::default());
        assert!(outcome.is_well(), "seed {seed}: {:#?}", outcome.violations);
        fills += 1;
        actions += plan.actions.len();
        let bit = outcome.effects.contains_key("C7");
        assert_eq!(outcome.sometimes.contains_key("disk full"), bit, "seed {seed}");
        bites += u32::from(bit);
    }
    println!(
        "{fills} runs of {} actions, {bites} with writes that were refused",
        actions / fills.max(1)
    );
    assert!(
        fills > 20 && actions / fills < 60,
        "{fills} runs, {actions} actions"
    );
    assert!(
        bites as usize * 2 > fills,
        "a full disk was met in {bites} of {fills} runs"
    );
}

#[test]
fn a_plan_runs_the_same_twice() {
    let plan = generate(11, Profile::Chaos, None, BUSY_MS);
    let one = run(&plan, RunOptions::default());
    assert_eq!(one, run(&plan, RunOptions::default()));
    assert!(one.trace_lines > 500, "{} lines", one.trace_lines);
    let recorded = RunOptions {
        record: true,
        ..RunOptions::default()
    };
    assert_eq!(
        run(&plan, recorded).trace_hash,
        one.trace_hash,
        "recording changes nothing"
    );
}

#[test]
fn a_run_leaves_nothing_in_memory() {
    let schema = Arc::new(landfall::Schema::clone(schema()));
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let world = World::new(&Setup::new(&schema, Seed(7), &["anna", "berta"]), &trace);
        world.boot().await.expect("new stores open");
        world.settle().await;
        assert!(!world.findings().is_violated());
    });
    assert_eq!(
        Arc::strong_count(&schema),
        1,
        "a store, an actor or the backend is still there"
    );
}
