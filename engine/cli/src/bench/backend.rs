//! Figures of the served backend over loopback: mutations, sync, fan-out.
//!
//! The floor is a plain axum server that parses the same JSON, writes the same rows to redb (as many to a commit as wait
//! for one) or reads them, and answers as many bytes (`floor.rs`). Clients are the same for both and as thin as they can be
//! (`client.rs`).

mod client;
mod floor;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use landfall_backend::{Backend, BackendConfig, ServerHandle, os_entropy};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::figure::Figure;
use super::rows::{self, Scale, item, per_second, report};
use client::{Connection, Subscriber};

/// Clients that call at the same time.
const CLIENTS: usize = 32;

/// Realtime connections, and the subscriptions of each: together a thousand.
const SUBSCRIBERS: usize = 200;
const SUBSCRIPTIONS_OF_EACH: usize = 5;

/// Rows that a page of a sync asks for, as Amplify's clients do.
const PAGE_ROWS: usize = 1_000;

/// The least that a figure should reach of its floor.
const TARGET: f64 = 0.5;

const KEY: &str = "da2-bench";

/// What clients select, as Amplify's do.
const SELECTION: &str =
    "id name category rating score active note createdAt updatedAt _version _lastChangedAt _deleted";

pub(super) const CALLS: [&str; 4] = [
    "backend mutations, 1 client",
    "backend mutations, 32 clients",
    "backend sync, 1 client",
    "backend sync, 32 clients",
];

pub(super) const FAN_OUT: [&str; 1] = ["backend fan-out to 1,000 subscriptions, p99"];

fn runtime() -> miette::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(report)
}

async fn serve(directory: &Path) -> miette::Result<ServerHandle> {
    let kv = KvStore::open(directory).map_err(report)?;
    let config = BackendConfig::with_api_key(KEY);
    let backend = Backend::new(Arc::clone(rows::schema()), config, kv, os_entropy()).map_err(report)?;
    landfall_backend::serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .map_err(report)
}

/// A create of the item of that number, as the JavaScript client writes it.
fn create(number: usize) -> String {
    let query = format!(
        "mutation operation($input: CreateItemInput!, $condition: ModelItemConditionInput) {{ \
         createItem(input: $input, condition: $condition) {{ {SELECTION} }} }}"
    );
    let item = item(number);
    let input = json!({
        "id": item.id, "name": item.name, "category": item.category, "rating": item.rating, "score": item.score,
        "active": item.active, "note": item.note,
    });
    json!({"query": query, "variables": {"input": input, "condition": null}}).to_string()
}

/// A page of a base sync.
fn sync(token: &Json) -> String {
    let query = format!(
        "query operation($limit: Int, $nextToken: String, $lastSync: AWSTimestamp) {{ \
         syncItems(limit: $limit, nextToken: $nextToken, lastSync: $lastSync) {{ \
         items {{ {SELECTION} }} nextToken startedAt }} }}"
    );
    let variables = json!({"limit": PAGE_ROWS, "nextToken": token, "lastSync": null});
    json!({"query": query, "variables": variables}).to_string()
}

/// What a server did in a second.
#[derive(Clone, Copy)]
struct Rates {
    mutations_alone: f64,
    mutations: f64,
    rows_alone: f64,
    rows: f64,
}

async fn mutate(address: SocketAddr, clients: usize, from: usize, of_each: usize) -> miette::Result<f64> {
    let begun = Instant::now();
    let calling = (0..clients).map(|client| async move {
        let mut connection = Connection::open(address, KEY).await?;
        for number in 0..of_each {
            let body = connection.post(&create(from + client * of_each + number)).await?;
            if memmem(body, b"\"errors\"") || !memmem(body, b"\"_version\"") {
                return Err(miette::miette!("{}", String::from_utf8_lossy(body)));
            }
        }
        miette::Result::<()>::Ok(())
    });
    spawn_all(calling).await?;
    Ok(per_second(clients * of_each, begun.elapsed()))
}

/// Whether bytes occur in others; the first page of a body is enough.
fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes[..bytes.len().min(1_024)]
        .windows(wanted.len())
        .any(|window| window == wanted)
}

async fn synchronize(address: SocketAddr, clients: usize, times: usize, rows: usize) -> miette::Result<f64> {
    let begun = Instant::now();
    let syncing = (0..clients).map(|_| async move {
        let mut connection = Connection::open(address, KEY).await?;
        for _ in 0..times {
            let (mut token, mut seen) = (Json::Null, 0);
            loop {
                let body = connection.post(&sync(&token)).await?;
                // Counted without parsing the rows: this measures the server.
                seen += body
                    .windows(10)
                    .filter(|window| window == b"\"_version\"")
                    .count();
                token = client::next_token(body)?;
                if token.is_null() {
                    break;
                }
            }
            if seen != rows {
                return Err(miette::miette!("{seen} of {rows} rows came"));
            }
        }
        Ok(())
    });
    spawn_all(syncing).await?;
    Ok(per_second(clients * times * rows, begun.elapsed()))
}

/// Runs clients beside each other, on all threads of the runtime.
async fn spawn_all<F>(clients: impl Iterator<Item = F>) -> miette::Result<()>
where
    F: Future<Output = miette::Result<()>> + Send + 'static,
{
    let tasks: Vec<_> = clients.map(tokio::spawn).collect();
    for done in try_join_all(tasks).await.map_err(report)? {
        done?;
    }
    Ok(())
}

async fn rates(address: SocketAddr, scale: &Scale) -> miette::Result<Rates> {
    let of_each = (scale.mutations / 5).max(1);
    let rows = scale.mutations + CLIENTS * of_each;
    Ok(Rates {
        mutations_alone: mutate(address, 1, 0, scale.mutations).await?,
        mutations: mutate(address, CLIENTS, scale.mutations, of_each).await?,
        rows_alone: synchronize(address, 1, 2 * scale.syncs, rows).await?,
        rows: synchronize(address, CLIENTS, scale.syncs, rows).await?,
    })
}

/// Mutations and sync over loopback HTTP.
pub(super) fn calls(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let ours = directory.join("backend");
    let value = runtime()?.block_on(async {
        let server = serve(&ours).await?;
        let value = rates(server.local_addr, scale).await?;
        server.shutdown().await;
        miette::Result::<Rates>::Ok(value)
    })?;
    let written = floor::rows_of(&ours)?;
    let floor = runtime()?.block_on(async {
        let server = floor::Server::start(&directory.join("floor.redb"), written).await?;
        let floor = rates(server.address, scale).await?;
        server.stop().await;
        miette::Result::<Rates>::Ok(floor)
    })?;
    let [alone, many, sync_alone, sync_many] = CALLS;
    Ok(vec![
        Figure::rate(
            alone,
            "mutations/s",
            value.mutations_alone,
            floor.mutations_alone,
            TARGET,
        ),
        Figure::rate(many, "mutations/s", value.mutations, floor.mutations, TARGET),
        Figure::rate(sync_alone, "rows/s", value.rows_alone, floor.rows_alone, TARGET),
        Figure::rate(sync_many, "rows/s", value.rows, floor.rows, TARGET),
    ])
}

/// Time from the sending of a mutation until all but one in a hundred subscriptions have heard of it.
async fn told_after(address: SocketAddr, mutations: usize) -> miette::Result<Duration> {
    let (heard, mut hearing) = mpsc::channel(SUBSCRIBERS * SUBSCRIPTIONS_OF_EACH);
    let mut listening = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = Subscriber::open(address, KEY).await?;
        for id in 0..SUBSCRIPTIONS_OF_EACH {
            let query = format!("subscription operation {{ onCreateItem {{ {SELECTION} }} }}");
            subscriber.start(&id.to_string(), &query).await?;
        }
        let heard = heard.clone();
        listening.push(tokio::spawn(async move {
            while subscriber.hear().await.is_ok() {
                if heard.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        }));
    }
    let mut connection = Connection::open(address, KEY).await?;
    let mut times = Vec::with_capacity(mutations * SUBSCRIBERS * SUBSCRIPTIONS_OF_EACH);
    for number in 0..mutations {
        let begun = Instant::now();
        connection.post(&create(number)).await?;
        for _ in 0..SUBSCRIBERS * SUBSCRIPTIONS_OF_EACH {
            let heard = hearing
                .recv()
                .await
                .ok_or_else(|| miette::miette!("the subscribers ended"))?;
            times.push(heard.duration_since(begun));
        }
    }
    drop(hearing);
    for task in listening {
        task.abort();
    }
    times.sort();
    Ok(times.get(times.len() * 99 / 100).copied().unwrap_or_default())
}

/// Fan-out of one mutation to a thousand subscriptions.
pub(super) fn fan_out(directory: &Path, scale: &Scale) -> miette::Result<Vec<Figure>> {
    let ours = directory.join("backend");
    let value = runtime()?.block_on(async {
        let server = serve(&ours).await?;
        let value = told_after(server.local_addr, scale.told).await?;
        server.shutdown().await;
        miette::Result::<Duration>::Ok(value)
    })?;
    let written = floor::rows_of(&ours)?;
    let floor = runtime()?.block_on(async {
        let server = floor::Server::start(&directory.join("floor.redb"), written).await?;
        let floor = told_after(server.address, scale.told).await?;
        server.stop().await;
        miette::Result::<Duration>::Ok(floor)
    })?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![Figure::cost(FAN_OUT[0], "ms", ms(value), ms(floor), TARGET)])
}
