//! A way between clients and a server that can be bad: it sees every request and every realtime message, and loses,
//! holds back, refuses or repeats what a test tells it to.
//!
//! Owns the sockets on both sides and the notes of what passed. Requests and replies are handed on byte by byte, so that
//! each side meets the other as it is; it knows just as much of HTTP as tells one request from the next.
//!
//! Invariants: 1. nothing is held back or changed unless a test says so; 2. no wait is longer than [`PATIENCE`]; 3. it is
//! gone once its [`Proxy`] is dropped.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::serve::ServeProcess;

/// Ends a test that would wait for ever; far beyond what a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest head of a request: credentials and some headers.
const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1_024;

/// A subscription that was asked for.
#[derive(Debug)]
pub(crate) struct Start {
    /// Number of the connection.
    pub(crate) connection: u32,
    /// Field of the subscription.
    pub(crate) field: String,
    pub(crate) variables: Json,
}

/// What has passed so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The bodies of requests, in the order in which they came.
    pub(crate) requests: Vec<Json>,
    /// The subscriptions that were asked for.
    pub(crate) starts: Vec<Start>,
    /// Subscriptions that the server has acknowledged so far.
    pub(crate) acknowledged: usize,
    /// Messages with records that were handed on: number of the connection, and frame.
    pub(crate) messages: Vec<(u32, Json)>,
    /// Realtime connections so far.
    pub(crate) connections: u32,
    /// Requests that are held back now.
    pub(crate) held: usize,
}

impl Seen {
    /// The requests whose document has this field at its root.
    pub(crate) fn requests_for(&self, field: &str) -> Vec<&Json> {
        let is_it = |body: &&Json| root_field(body) == field;
        self.requests.iter().filter(is_it).collect()
    }

    /// How often this subscription was asked for on a connection.
    pub(crate) fn starts_of(&self, field: &str, connection: u32) -> usize {
        let is_it = |start: &&Start| start.field == field && start.connection == connection;
        self.starts.iter().filter(is_it).count()
    }
}

/// What a test has told it to do.
#[derive(Debug, Default)]
struct Orders {
    /// Subscriptions that are answered with an error instead of reaching the server.
    refused: BTreeSet<String>,
    /// Requests for this field are held back, once so many have passed.
    held: Option<(String, usize)>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    orders: Mutex<Orders>,
    changed: Condvar,
    released: Notify,
    /// The ways to the clients, by number of the connection less one.
    clients: Mutex<Vec<mpsc::UnboundedSender<String>>>,
}

/// The way; it ends when dropped.
pub(crate) struct Proxy {
    /// The GraphQL endpoint, as clients find it through here.
    pub(crate) url: String,
    shared: Arc<Shared>,
    _end: oneshot::Sender<()>,
}

impl Proxy {
    /// A way to that server.
    ///
    /// # Panics
    /// If no port can be had.
    pub(crate) fn before(server: &ServeProcess) -> Self {
        let to: SocketAddr = server
            .address()
            .parse()
            .expect("the server listens on an address of this machine");
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        in_background({
            let shared = Arc::clone(&shared);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be made");
                runtime.block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
                    let at = listener.local_addr().expect("it listens");
                    listens.send(at).expect("the test waits for it");
                    tokio::select! {
                        () = accept(&listener, to, &shared) => {}
                        _ = ended => {}
                    }
                });
            }
        });
        let at = listening.recv_timeout(PATIENCE).expect("it listens");
        Self {
            url: format!("http://{at}/graphql"),
            shared,
            _end: end,
        }
    }

    /// What has passed so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.shared.seen)
    }

    /// Waits until what has passed is so.
    ///
    /// # Panics
    /// If it is not in time.
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Seen) -> bool) {
        let seen = lock(&self.shared.seen);
        let (seen, waited) = self
            .shared
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| !is_so(seen))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "not so in time: {what}; seen: {seen:#?}");
    }

    /// Answers each `start` of that subscription with an error that may pass, until [`allow_all`](Self::allow_all).
    pub(crate) fn refuse_subscription(&self, field: &str) {
        lock(&self.shared.orders).refused.insert(field.to_owned());
    }

    /// Refuses no subscription any more.
    pub(crate) fn allow_all(&self) {
        lock(&self.shared.orders).refused.clear();
    }

    /// Lets so many more requests for that field pass and holds all others back, until [`release`](Self::release).
    pub(crate) fn hold_after(&self, field: &str, passed: usize) {
        lock(&self.shared.orders).held = Some((field.to_owned(), passed));
    }

    /// Hands on what is held back, and holds back no more.
    pub(crate) fn release(&self) {
        lock(&self.shared.orders).held = None;
        self.shared.released.notify_waiters();
    }

    /// Hands every message that a connection has had to it once more.
    ///
    /// # Panics
    /// If there never was that connection.
    pub(crate) fn repeat_messages(&self, connection: u32) {
        let seen = lock(&self.shared.seen);
        let of_it = seen.messages.iter().filter(|(number, _)| *number == connection);
        let clients = lock(&self.shared.clients);
        let client = &clients[connection as usize - 1];
        for (_, frame) in of_it {
            client
                .send(frame.to_string())
                .expect("the connection is still open");
        }
    }
}

impl Shared {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut lock(&self.seen));
        self.changed.notify_all();
    }

    /// Whether a request is to wait, and counts it.
    fn holds(&self, field: &str) -> bool {
        match &mut lock(&self.orders).held {
            Some((held, passes)) if held == field => match passes.checked_sub(1) {
                Some(left) => {
                    *passes = left;
                    false
                }
                None => true,
            },
            _ => false,
        }
    }

    async fn wait_while_held(&self, field: &str) {
        if !self.holds(field) {
            return;
        }
        self.note(|seen| seen.held += 1);
        loop {
            let released = self.released.notified();
            if lock(&self.orders).held.is_none() {
                break;
            }
            released.await;
        }
        self.note(|seen| seen.held -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test itself waits on its own thread, and its clients are processes"
)]
fn in_background(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

async fn accept(listener: &TcpListener, to: SocketAddr, shared: &Arc<Shared>) {
    let mut connections = futures_util::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.push(connection(client, to, Arc::clone(shared)));
                }
            }
            // A side that breaks off is what tests are about; the other hears of it.
            Some(_) = connections.next() => {}
        }
    }
}

/// One connection of a client, from its first request on.
async fn connection(mut client: TcpStream, to: SocketAddr, shared: Arc<Shared>) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let mut read = Vec::new();
    let Some(head) = read_head(&mut client, &mut read).await? else {
        return Ok(());
    };
    if !header(&head, "upgrade").is_some_and(|name| name.eq_ignore_ascii_case("websocket")) {
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        tokio::select! {
            done = hand_on_requests(client_reads, server_writes, read, head, &shared) => done?,
            done = hand_on(server_reads, client_writes) => done?,
        }
        return Ok(());
    }
    server.write_all(&read).await?;
    let mut answered = Vec::new();
    if read_head(&mut server, &mut answered).await?.is_none() {
        return Ok(());
    }
    client.write_all(&answered).await?;
    realtime(client, server, &shared).await;
    Ok(())
}

/// Reads to the end of a head and answers with it; `read` has all that was read. `None` if the peer is done.
async fn read_head<R: tokio::io::AsyncRead + Unpin>(
    from: &mut R,
    read: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(String::from_utf8_lossy(&read[..end + 4]).into_owned()));
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head is too long"));
        }
        if from.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .next()
}

/// Hands requests on, one after the other, and notes what they ask for.
async fn hand_on_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut read: Vec<u8>,
    mut head: String,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        let length: usize = header(&head, "content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let end = head.len() + length;
        while read.len() < end {
            if from.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        if let Ok(body) = serde_json::from_slice::<Json>(&read[head.len()..end]) {
            let field = root_field(&body).to_owned();
            shared.note(|seen| seen.requests.push(body));
            shared.wait_while_held(&field).await;
        }
        to.write_all(&read[..end]).await?;
        read.drain(..end);
        match read_head(&mut from, &mut read).await? {
            Some(next) => head = next,
            None => return Ok(()),
        }
    }
}

async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(()),
            read => to.write_all(&chunk[..read]).await?,
        }
    }
}

/// Hands realtime messages on until one side is done.
async fn realtime(client: TcpStream, server: TcpStream, shared: &Shared) {
    let client = WebSocketStream::from_raw_socket(client, Role::Server, None).await;
    let server = WebSocketStream::from_raw_socket(server, Role::Client, None).await;
    let (mut to_client, mut from_client) = client.split();
    let (mut to_server, mut from_server) = server.split();
    let (own, mut owned) = mpsc::unbounded_channel();
    let number = {
        let mut clients = lock(&shared.clients);
        clients.push(own);
        u32::try_from(clients.len()).expect("tests have few connections")
    };
    shared.note(|seen| seen.connections = number);
    // Whoever is done first, both are dropped, so that the other side sees what became of this one.
    loop {
        let sent = tokio::select! {
            message = from_client.next() => {
                let Some(Ok(message)) = message else { return };
                match answer_to(&message, number, shared) {
                    Some(answer) => to_client.send(Message::text(answer.to_string())).await,
                    None => to_server.send(message).await,
                }
            }
            message = from_server.next() => {
                let Some(Ok(message)) = message else { return };
                let frame = frame_of(&message);
                let sent = to_client.send(message).await;
                if let Some(frame) = frame {
                    note_of_server(frame, number, shared);
                }
                sent
            }
            Some(text) = owned.recv() => to_client.send(Message::text(text)).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn frame_of(message: &Message) -> Option<Json> {
    serde_json::from_str(message.to_text().ok()?).ok()
}

fn note_of_server(frame: Json, connection: u32, shared: &Shared) {
    match frame["type"].as_str() {
        Some("data") => shared.note(|seen| seen.messages.push((connection, frame))),
        Some("start_ack") => shared.note(|seen| seen.acknowledged += 1),
        _ => {}
    }
}

/// What is answered in the server's place; also notes what was asked for.
fn answer_to(message: &Message, connection: u32, shared: &Shared) -> Option<Json> {
    let frame = frame_of(message).filter(|frame| frame["type"] == "start")?;
    let mut data: Json = serde_json::from_str(frame["payload"]["data"].as_str()?).ok()?;
    let start = Start {
        connection,
        field: root_field(&data).to_owned(),
        variables: data["variables"].take(),
    };
    let is_refused = lock(&shared.orders).refused.contains(&start.field);
    shared.note(|seen| seen.starts.push(start));
    is_refused.then(|| {
        let error = json!({"errorType": "InternalFailure", "message": "this subscription cannot be had now"});
        json!({"type": "error", "id": frame["id"], "payload": {"errors": [error]}})
    })
}

/// The first field of a request's document.
fn root_field(body: &Json) -> &str {
    let document = body["query"].as_str().unwrap_or_default();
    let fields = document
        .split_once('{')
        .map_or("", |(_, fields)| fields)
        .trim_start();
    let end = fields.find(|letter: char| !letter.is_ascii_alphanumeric());
    &fields[..end.unwrap_or(fields.len())]
}

#[test]
fn the_first_field_of_a_document_names_what_it_asks_for() {
    let body = |query: &str| json!({ "query": query });
    assert_eq!(
        root_field(&body("query SyncPosts($a: Int) { syncPosts(limit: $a) { id } }")),
        "syncPosts"
    );
    assert_eq!(
        root_field(&body("subscription {\n  onCreatePost {\n id } }")),
        "onCreatePost"
    );
    assert_eq!((root_field(&json!([])), root_field(&body("{"))), ("", ""));
}
