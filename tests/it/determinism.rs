//! The same seed gives the same run: in separate processes, and whatever else the machine is doing.

use std::process::Stdio;

use serde_json::Value;

use crate::support::landfall::landfall;

/// Seeds that are run twice each.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Simulated seconds of work in each.
const BUSY_S: &str = "60";

fn run(seed: u64) -> Value {
    let mut command = landfall();
    command.args(["sim", "--json", "--busy", BUSY_S, "--seed", &seed.to_string()]);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .expect("the simulation runs");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"))
}

#[test]
fn the_same_seed_gives_the_same_trace_in_separate_processes() {
    let mut hashes = Vec::new();
    for seed in SEEDS {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one, other, "seed {seed} ran differently");
        assert_eq!(one["violations"], Value::Array(Vec::new()), "seed {seed}");
        assert!(
            one["traceLines"].as_u64() > Some(1_000),
            "seed {seed} did next to nothing"
        );
        hashes.push(one["traceHash"].clone());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), SEEDS.len(), "different seeds run differently");
}
