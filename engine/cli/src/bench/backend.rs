//! Figures of the served backend over loopback: mutations, sync, fan-out. What many rows cost is in `size.rs`.
//!
//! The floor is a plain axum server that parses the same JSON, writes the same rows to redb (as many to a commit as wait
//! for one) or reads them, and answers as many bytes (`floor.rs`). Clients are the same for both and as thin as they can be
//! (`client.rs`).

pub(super) mod client;
mod floor;
mod size;

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

pub(super) use size::{SIZE, hold, size};

/// Clients that call at the same time.
const CLIENTS: usize = 32;

/// Realtime connections, and the subscriptions of each: together a thousand.
const SUBSCRIBERS: usize = 200;
const SUBSCRIPTIONS_OF_EACH: usize = 5;

/// Rows that a page of a sync asks for, as Amplify's clients do.
const PAGE_ROWS: usize = 1_000;

/// The least that a figure should reach of its floor.
const TARGET: f64 = 0.5;

pub(super) const KEY: &str = "da2-bench";

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

pub(super) fn runtime() -> miette::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(report)
}

pub(super) async fn serve(directory: &Path) -> miette::Result<ServerHandle> {
    let kv = KvStore::open(directory).map_err(report)?;
    let config = BackendConfig::with_api_key(KEY);
    let backend = Backend::new(Arc::clone(rows::schema()), config, kv, os_entropy()).map_err(report)?;
    landfall_backend::serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .map_err(report)
}

/// A create of the item of that number, as the JavaScript client writes it.
pub(super) fn create(number: usize) -> String {
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

/// An update of the item of that number, the version that it was created with in it.
fn update(number: usize) -> String {
    let query = format!(
        "mutation operation($input: UpdateItemInput!, $condition: ModelItemConditionInput) {{ \
         updateItem(input: $input, condition: $condition) {{ {SELECTION} }} }}"
    );
    let input = json!({"id": rows::id(number), "note": "another note of a sentence or so", "_version": 1});
    json!({"query": query, "variables": {"input": input, "condition": null}}).to_string()
}

/// A page of a base sync.
pub(super) fn sync(token: &Json) -> String {
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

/// Mutations per second of clients that send the bodies `from..from + clients * of_each`.
pub(super) async fn mutate<B>(
    address: SocketAddr,
    clients: usize,
    from: usize,
    of_each: usize,
    body_of: B,
) -> miette::Result<f64>
where
    B: Fn(usize) -> String + Copy + Send + Sync + 'static,
{
    let begun = Instant::now();
    let calling = (0..clients).map(|client| async move {
        let mut connection = Connection::open(address, KEY).await?;
        for number in 0..of_each {
            let body = connection
                .post(&body_of(from + client * of_each + number))
                .await?;
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

/// What clients that synced saw.
struct Synced {
    /// Rows of each sync.
    rows: usize,
    /// Rows of all clients in a second.
    rate: f64,
}

/// Has clients sync everything so many times; `expected` is how many rows each sync must bring.
async fn synchronize(
    address: SocketAddr,
    clients: usize,
    times: usize,
    expected: Option<usize>,
) -> miette::Result<Synced> {
    let begun = Instant::now();
    let syncing = (0..clients).map(|_| async move {
        let mut connection = Connection::open(address, KEY).await?;
        let mut rows = 0;
        for _ in 0..times {
            rows = sync_all(&mut connection).await?;
            if expected.is_some_and(|expected| expected != rows) {
                return Err(miette::miette!("a sync brought {rows} rows and not {expected:?}"));
            }
        }
        Ok(rows)
    });
    let rows = spawn_all(syncing).await?.into_iter().max().unwrap_or_default();
    Ok(Synced {
        rows,
        rate: per_second(clients * times * rows, begun.elapsed()),
    })
}

/// The rows of one base sync, counted without parsing them: this measures the server.
async fn sync_all(connection: &mut Connection) -> miette::Result<usize> {
    let (mut token, mut seen) = (Json::Null, 0);
    loop {
        let body = connection.post(&sync(&token)).await?;
        seen += body
            .windows(10)
            .filter(|window| window == b"\"_version\"")
            .count();
        token = client::next_token(body)?;
        if token.is_null() {
            return Ok(seen);
        }
    }
}

/// Runs clients beside each other, on all threads of the runtime.
async fn spawn_all<F, T>(clients: impl Iterator<Item = F>) -> miette::Result<Vec<T>>
where
    F: Future<Output = miette::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = clients.map(tokio::spawn).collect();
    try_join_all(tasks).await.map_err(report)?.into_iter().collect()
}

async fn rates(address: SocketAddr, scale: &Scale) -> miette::Result<Rates> {
    let of_each = (scale.mutations / 5).max(1);
    let rows = scale.mutations + CLIENTS * of_each;
    Ok(Rates {
        mutations_alone: mutate(address, 1, 0, scale.mutations, create).await?,
        mutations: mutate(address, CLIENTS, scale.mutations, of_each, create).await?,
        rows_alone: synchronize(address, 1, 2 * scale.syncs, Some(rows)).await?.rate,
        rows: synchronize(address, CLIENTS, scale.syncs, Some(rows)).await?.rate,
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
