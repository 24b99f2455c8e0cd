//! Figures of a backend with many rows: what memory it takes, and what a mutation costs.
//!
//! The floor of both is the same backend with few rows: a server whose memory or whose mutations grow with its tables
//! misses them on any machine. Tables are filled in process, a thousand records to a commit; what is measured goes over
//! loopback HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_backend::{Backend, BackendConfig, HttpCall, Job, os_entropy};
use landfall_storage::kv::KvStore;
use serde_json::json;

use super::{CLIENTS, KEY, Scale, create, mutate, runtime, serve, synchronize, update};
use crate::bench::figure::Figure;
use crate::bench::rows::{self, report};
use crate::bench::{hold as holding, size::hold_and_kill};

/// Rows of the small table that the large one is compared with.
const ROWS_SMALL: usize = 1_000;

/// Records in one commit when a table is filled.
const FILL_BATCH: usize = 1_000;

/// What memory may grow by over a small table: the page cache by default, and what the allocator keeps of it.
const MEMORY_SLACK_MIB: f64 = 96.0;

/// The least that the cost in a small table should be of that in a large one: at most twice as much.
const TARGET_COST: f64 = 0.5;

pub(in crate::bench) const SIZE: [&str; 3] = [
    "backend memory with all rows served",
    "backend cost per mutation in a full table, 1 client",
    "backend cost per mutation in a full table, 32 clients",
];

/// What is measured of a table.
struct Measured {
    memory_mib: f64,
    alone_us: f64,
    many_us: f64,
}

/// Memory, and cost of a mutation, with few and with many rows.
pub(in crate::bench) fn size(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let small = measure(&directory.join("small"), ROWS_SMALL, scale)?;
    let large = measure(&directory.join("large"), scale.rows_large, scale)?;
    let [memory, alone, many] = SIZE;
    Ok(vec![
        Figure::cost(
            memory,
            "MiB",
            large.memory_mib.max(0.1),
            small.memory_mib + MEMORY_SLACK_MIB,
            1.0,
        ),
        Figure::cost(alone, "us", large.alone_us, small.alone_us, TARGET_COST),
        Figure::cost(many, "us", large.many_us, small.many_us, TARGET_COST),
    ])
}

fn measure(directory: &Path, rows: usize, scale: &Scale) -> miette::Result<Measured> {
    fill(directory, rows)?;
    let of_each = (scale.mutations / 5).max(2);
    let (alone, many) = runtime()?.block_on(async {
        let server = serve(directory).await?;
        let address = server.local_addr;
        let alone = churn(address, rows, 1, 0, scale.mutations).await?;
        let many = churn(address, rows, CLIENTS, scale.mutations, of_each).await?;
        server.shutdown().await;
        miette::Result::<(f64, f64)>::Ok((alone, many))
    })?;
    // A process of its own, so that nothing of the filling is counted.
    let held = hold_and_kill("backend", directory)?;
    Ok(Measured {
        memory_mib: held["memory_mib"].as_f64().unwrap_or(0.0),
        alone_us: 1e6 / alone,
        many_us: 1e6 / many,
    })
}

/// Mutations per second in a table of so many rows, every other one an update of a record anywhere in it, the rest
/// creates. `from` tells one run from the next, so that each makes records of its own.
async fn churn(
    address: SocketAddr,
    rows: usize,
    clients: usize,
    from: usize,
    of_each: usize,
) -> miette::Result<f64> {
    let body_of = move |number: usize| {
        if number.is_multiple_of(2) {
            create(rows + number / 2)
        } else {
            update(number.wrapping_mul(7_919) % rows)
        }
    };
    mutate(address, clients, from, of_each, body_of).await
}

/// Fills a table through the backend itself, so that delta and index rows are there as well.
fn fill(directory: &Path, rows: usize) -> miette::Result<()> {
    let kv = KvStore::open(directory).map_err(report)?;
    let config = BackendConfig::with_api_key(KEY);
    let schema = std::sync::Arc::clone(rows::schema());
    let backend = Backend::new(schema, config, kv, os_entropy()).map_err(report)?;
    for first in (0..rows).step_by(FILL_BATCH) {
        let now_ms = now_ms()?;
        let jobs: Vec<Job> = (first..rows.min(first + FILL_BATCH))
            .map(|number| {
                let call = HttpCall::post(KEY, create(number));
                let refused = |reply: Box<landfall_backend::HttpReply>| {
                    miette::miette!("{}", String::from_utf8_lossy(&reply.body))
                };
                backend.prepare(now_ms, &call).map_err(refused)
            })
            .collect::<miette::Result<_>>()?;
        for reply in backend.run_mutations(now_ms, &jobs) {
            if reply.status != 200 || reply.errors > 0 {
                return Err(miette::miette!("{}", String::from_utf8_lossy(&reply.body)));
            }
        }
    }
    Ok(())
}

fn now_ms() -> miette::Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(report)?;
    i64::try_from(since.as_millis()).map_err(report)
}

/// Serves a table until it is killed; prints the memory that is in use after a sync of all of it and mutations.
pub(in crate::bench) async fn hold(directory: &Path) -> miette::Result<ExitCode> {
    let server = serve(directory).await?;
    let rows = synchronize(server.local_addr, 1, 1, None).await?.rows;
    churn(server.local_addr, rows.max(1), CLIENTS, 0, 64).await?;
    println!("{}", json!({ "rows": rows, "memory_mib": holding::memory_mib() }));
    std::future::pending::<()>().await;
    Ok(ExitCode::SUCCESS)
}
