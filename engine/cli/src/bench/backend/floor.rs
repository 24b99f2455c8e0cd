//! A server that does what any server of these rows must, and no more: the floor of the backend's figures.
//!
//! It parses the JSON of a request; for a mutation it writes the rows that the backend wrote for one into redb, together
//! with those of all mutations that wait, and answers with the input; for a sync it reads a page of rows and writes them as
//! JSON. It knows no GraphQL: what the backend takes longer is the price of that.

use std::net::SocketAddr;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::SinkExt;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::PAGE_ROWS;
use crate::bench::rows::report;

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
const BASE: Rows = TableDefinition::new("base-1");
const DELTA: Rows = TableDefinition::new("delta-1");
const INDEX: Rows = TableDefinition::new("index-1");
const META: Rows = TableDefinition::new("meta-1");

/// Mutations in one commit at most, as in the backend.
const BATCH_MAX: usize = 256;

/// Mutations that wait at most, and messages that a subscriber may be behind.
const QUEUE_MAX: usize = 1_024;

type Row = (Vec<u8>, Vec<u8>);

/// What one mutation wrote.
pub(super) struct Written {
    base: Row,
    delta: Row,
    index: Vec<Row>,
}

/// Reads what each mutation of a closed backend wrote.
pub(super) fn rows_of(directory: &Path) -> miette::Result<Vec<Written>> {
    let inside = landfall_storage::kv::database_of(directory).map_err(report)?;
    let database = Database::builder().create_with_backend(inside).map_err(report)?;
    let transaction = database.begin_read().map_err(report)?;
    let all = |table: Rows| -> miette::Result<Vec<Row>> {
        let table = transaction.open_table(table).map_err(report)?;
        let rows = table.iter().map_err(report)?;
        rows.map(|row| {
            let (key, value) = row.map_err(report)?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        })
        .collect()
    };
    let (base, delta, index) = (all(BASE)?, all(DELTA)?, all(INDEX)?);
    let entries_of_each = index.len() / base.len().max(1);
    let mut entries = index.into_iter();
    // In the order of their commits; which entries of the index go with which record makes no difference.
    Ok(base
        .into_iter()
        .zip(delta)
        .map(|(base, delta)| Written {
            base,
            delta,
            index: entries.by_ref().take(entries_of_each).collect(),
        })
        .collect())
}

/// The server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
    writing: JoinHandle<()>,
}

#[derive(Clone)]
struct Shell {
    database: Arc<Database>,
    jobs: mpsc::Sender<(usize, oneshot::Sender<()>)>,
    next: Arc<AtomicUsize>,
    told: broadcast::Sender<Arc<str>>,
}

impl Server {
    pub(super) async fn start(path: &Path, written: Vec<Written>) -> miette::Result<Self> {
        let database = Database::builder()
            .set_cache_size(landfall_storage::kv::KV_CACHE_BYTES)
            .create(path)
            .map_err(report)?;
        let database = Arc::new(database);
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let shell = Shell {
            database: Arc::clone(&database),
            jobs,
            next: Arc::default(),
            told: broadcast::channel(QUEUE_MAX).0,
        };
        let writing = tokio::spawn(write(database, Arc::new(written), queue));
        let routes = Router::new()
            .route("/graphql", post(call))
            .route("/graphql/realtime", get(upgrade))
            .with_state(shell);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(report)?;
        let address = listener.local_addr().map_err(report)?;
        let serving = tokio::spawn(async move {
            // Ends when the task is aborted.
            let _ = axum::serve(
                axum::serve::ListenerExt::tap_io(listener, |stream| {
                    // As the backend does; the figures are the same without it.
                    let _ = stream.set_nodelay(true);
                }),
                routes,
            )
            .await;
        });
        Ok(Self {
            address,
            serving,
            writing,
        })
    }

    pub(super) async fn stop(self) {
        self.serving.abort();
        self.writing.abort();
        let _ = self.serving.await;
        let _ = self.writing.await;
    }
}

async fn call(State(shell): State<Shell>, body: Bytes) -> Result<Vec<u8>, String> {
    let mut request: Json = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let mut variables = request["variables"].take();
    if variables.get("input").is_none() {
        let token = variables["nextToken"].take();
        let page = tokio::task::spawn_blocking(move || page(&shell.database, &token))
            .await
            .map_err(|error| error.to_string())?;
        return page.map_err(|error| error.to_string());
    }
    let number = shell.next.fetch_add(1, Ordering::Relaxed);
    let (answer, answered) = oneshot::channel();
    let job = (number, answer);
    shell.jobs.send(job).await.map_err(|error| error.to_string())?;
    answered.await.map_err(|error| error.to_string())?;
    let mut record = variables["input"].take();
    for (name, value) in [
        ("createdAt", json!("2026-11-21T10:15:30.123Z")),
        ("updatedAt", json!("2026-11-21T10:15:30.123Z")),
        ("_version", json!(1)),
        ("_lastChangedAt", json!(1_795_256_130_123_i64)),
        ("_deleted", Json::Null),
    ] {
        record[name] = value;
    }
    if shell.told.receiver_count() > 0 {
        let payload = json!({"data": {"onCreateItem": &record}}).to_string();
        // Nobody need be listening any more.
        let _ = shell.told.send(payload.into());
    }
    Ok(json!({"data": {"createItem": record}}).to_string().into_bytes())
}

/// Writes the rows of all mutations that wait in one durable transaction.
async fn write(
    database: Arc<Database>,
    written: Arc<Vec<Written>>,
    mut queue: mpsc::Receiver<(usize, oneshot::Sender<()>)>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let jobs: Vec<_> = std::mem::take(&mut batch);
        let (database, written) = (Arc::clone(&database), Arc::clone(&written));
        let done = tokio::task::spawn_blocking(move || {
            let numbers = jobs.iter().map(|(number, _)| *number);
            let committed = commit(&database, numbers.filter_map(|number| written.get(number)));
            committed.map(|()| jobs)
        });
        // Callers of a commit that failed see that nobody answers.
        for (_, answer) in done.await.into_iter().flatten().flatten() {
            let _ = answer.send(());
        }
    }
}

fn commit<'w>(database: &Database, rows: impl Iterator<Item = &'w Written>) -> miette::Result<()> {
    let transaction = database.begin_write().map_err(report)?;
    {
        let mut base = transaction.open_table(BASE).map_err(report)?;
        let mut delta = transaction.open_table(DELTA).map_err(report)?;
        let mut index = transaction.open_table(INDEX).map_err(report)?;
        let mut meta = transaction.open_table(META).map_err(report)?;
        for row in rows {
            base.insert(row.base.0.as_slice(), row.base.1.as_slice())
                .map_err(report)?;
            delta
                .insert(row.delta.0.as_slice(), row.delta.1.as_slice())
                .map_err(report)?;
            for (key, value) in &row.index {
                index.insert(key.as_slice(), value.as_slice()).map_err(report)?;
            }
        }
        meta.insert(&b"state"[..], &[0_u8; 16][..]).map_err(report)?;
    }
    transaction.commit().map_err(report)
}

/// A page of rows behind the key that the token is.
fn page(database: &Database, token: &Json) -> miette::Result<Vec<u8>> {
    let transaction = database.begin_read().map_err(report)?;
    let table = transaction.open_table(BASE).map_err(report)?;
    let from = token
        .as_str()
        .map_or(Bound::Unbounded, |token| Bound::Excluded(token.as_bytes()));
    let mut items: Vec<Json> = Vec::with_capacity(PAGE_ROWS);
    let (mut last, mut next) = (Vec::new(), None);
    for row in table.range::<&[u8]>((from, Bound::Unbounded)).map_err(report)? {
        let (key, value) = row.map_err(report)?;
        if items.len() == PAGE_ROWS {
            next = Some(String::from_utf8_lossy(&last).into_owned());
            break;
        }
        last = key.value().to_vec();
        items.push(rmp_serde::from_slice(value.value()).map_err(report)?);
    }
    let page = json!({"items": items, "nextToken": next, "startedAt": 1_795_256_130_123_i64});
    serde_json::to_vec(&json!({"data": {"syncItems": page}})).map_err(report)
}

async fn upgrade(State(shell): State<Shell>, socket: WebSocketUpgrade) -> Response {
    socket
        .protocols(["graphql-ws"])
        .on_upgrade(move |socket| connection(socket, shell.told.subscribe()))
}

/// Tells each subscription of a connection of each mutation.
async fn connection(mut socket: WebSocket, mut told: broadcast::Receiver<Arc<str>>) {
    let mut ids: Vec<String> = Vec::new();
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                let Ok(frame) = serde_json::from_str::<Json>(&text) else { return };
                let id = frame["id"].as_str().unwrap_or_default().to_owned();
                let ack = json!({"id": id, "type": "start_ack"}).to_string();
                ids.push(id);
                if socket.send(Message::Text(ack.into())).await.is_err() {
                    return;
                }
            }
            payload = told.recv() => {
                let Ok(payload) = payload else { return };
                for id in &ids {
                    let frame = format!(r#"{{"id":"{id}","type":"data","payload":{payload}}}"#);
                    if socket.feed(Message::Text(frame.into())).await.is_err() {
                        return;
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
