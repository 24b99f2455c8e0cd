//! Figures of a large store: reopening after a kill, memory, cost of a save.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::figure::Figure;
use super::rows::{self, Scale, report};

/// Rows of the small store that the large one is compared with.
const ROWS_SMALL: usize = 1_000;

/// How much later than after a clean close a killed store may be open again, in milliseconds.
const REOPEN_SLACK_MS: f64 = 200.0;

/// What memory may grow by over a small store: the page cache by default, and what the allocator keeps of it.
const MEMORY_SLACK_MIB: f64 = 96.0;

/// Saves whose cost is measured in transactions of 64, as under load.
const SAVES: usize = 6_400;

/// Saves whose cost is measured in a transaction each, as they come one after another.
const SAVES_ALONE: usize = 2_000;

pub(super) fn size(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let (small, large) = (directory.join("small"), directory.join("large"));
    let mut store = rows::open(&small)?;
    rows::fill(&mut store, 0, ROWS_SMALL)?;
    let small_alone = cost_of_saves(&mut store, ROWS_SMALL, SAVES_ALONE, 1)?;
    let small_cost = cost_of_saves(&mut store, ROWS_SMALL + SAVES_ALONE, SAVES, 64)?;
    drop(store);
    let mut store = rows::open(&large)?;
    rows::fill(&mut store, 0, scale.rows_large)?;
    let large_alone = cost_of_saves(&mut store, scale.rows_large, SAVES_ALONE, 1)?;
    let large_cost = cost_of_saves(&mut store, scale.rows_large + SAVES_ALONE, SAVES, 64)?;
    drop(store);
    let small_held = hold_and_kill("store", &small)?;
    let held = hold_and_kill("store", &large)?;
    // The store was killed with a write behind it; this opening takes over its journal, and closes it cleanly.
    let after_kill = time_to_open(&large)?;
    let after_close = time_to_open(&large)?;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let memory = |held: &Json| held["memory_mib"].as_f64().unwrap_or(0.0);
    Ok(vec![
        Figure::cost(
            "reopen after a kill",
            "ms",
            ms(after_kill),
            ms(after_close) + REOPEN_SLACK_MS,
            1.0,
        ),
        Figure::cost(
            "memory with all rows open",
            "MiB",
            memory(&held).max(0.1),
            memory(&small_held) + MEMORY_SLACK_MIB,
            1.0,
        ),
        Figure::cost(
            "cost per save in a full store",
            "us",
            large_alone,
            small_alone,
            0.5,
        ),
        Figure::cost(
            "cost per save in a full store, 64 to a commit",
            "us",
            large_cost,
            small_cost,
            0.5,
        ),
    ])
}

/// Microseconds per save, with so many saves to a commit.
fn cost_of_saves(
    store: &mut landfall_storage::Store,
    from: usize,
    saves: usize,
    to_a_commit: usize,
) -> miette::Result<f64> {
    let start = Instant::now();
    for first in (from..from + saves).step_by(to_a_commit) {
        rows::fill(store, first, first + to_a_commit)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / saves as f64)
}

fn time_to_open(directory: &Path) -> miette::Result<Duration> {
    let start = Instant::now();
    let store = rows::open(directory)?;
    let elapsed = start.elapsed();
    drop(store);
    Ok(elapsed)
}

/// Has another process hold the store open, or serve the tables of the backend, and kills it. Returns what it said of itself.
pub(super) fn hold_and_kill(subject: &str, directory: &Path) -> miette::Result<Json> {
    let program = std::env::current_exe().map_err(report)?;
    let mut child = Command::new(program)
        .args(["bench", subject, "--hold"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(report)?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| miette::miette!("no output to read"))?;
    let mut line = String::new();
    let read = BufReader::new(output).read_line(&mut line);
    child.kill().map_err(report)?;
    child.wait().map_err(report)?;
    read.map_err(report)?;
    serde_json::from_str(&line).map_err(|error| miette::miette!("the holding process said {line:?}: {error}"))
}
