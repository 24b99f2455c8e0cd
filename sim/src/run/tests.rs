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
