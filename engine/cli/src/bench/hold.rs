//! A process that holds a store open until it is killed; what the figures of size are measured on.
//!
//! Prints one JSON line: the milliseconds that opening took, and the memory in use after reading and writing a little.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use super::rows::{self, id, item, report};

/// Records read before memory is looked at, so that the page cache has seen use.
const READS: usize = 20_000;

/// Items saved before the kill comes, each an entry of the journal.
const SAVES: usize = 2_000;

pub(super) async fn run(directory: &Path) -> miette::Result<ExitCode> {
    let start = Instant::now();
    let builder = landfall::DataStore::builder(rows::schema());
    let store = builder.directory(directory).open().await.map_err(report)?;
    let opened_ms = start.elapsed().as_secs_f64() * 1e3;
    let rows = usize::try_from(
        store
            .count(landfall::TypedPredicate::<rows::Item>::all())
            .map_err(report)?,
    )
    .unwrap_or(1);
    for number in 0..READS {
        store
            .get::<rows::Item>(id(number.wrapping_mul(7_919) % rows.max(1)))
            .map_err(report)?;
    }
    // New items in each process, so that the kill leaves a journal that is far from empty.
    for number in rows..rows + SAVES {
        store.save(item(number + 1)).await.map_err(report)?;
    }
    println!(
        "{}",
        json!({ "opened_ms": opened_ms, "rows": rows, "memory_mib": memory_mib() })
    );
    std::future::pending::<()>().await;
    Ok(ExitCode::SUCCESS)
}

/// Memory of this process in MiB, of its own and not shared with files; 0 where the system does not say.
pub(super) fn memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
