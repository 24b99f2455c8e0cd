//! The actor on paused time, with a real store and a server that lives in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use futures_util::future::BoxFuture;
use landfall_core::RecordId;
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Reader, Store, StoreOptions};
use landfall_wire::{
    Credentials, Frame, HttpRequest, HttpResponse, ServerError, Socket, SocketSink, SocketStream, Transport,
    TransportError,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::socket::UNREAD_MAX;
use super::testing::{record, schema};
use super::*;
use crate::config::SyncSettings;
use crate::env::Trace;
use crate::handlers::ErrorHandler;
use crate::hub::Hub;
use crate::outbox::OutboxActor;
use crate::port::Message as _;
use crate::reachability::Outcome;
use crate::storage::{Epoch, StorageActor};
use crate::test_support::{SimTime, ear, on_paused_time, paused_env};

/// A server with one connection at a time.
#[derive(Default)]
struct Server {
    connections: Mutex<Vec<Connection>>,
    /// Root fields that may not be subscribed.
    forbidden: Mutex<Vec<&'static str>>,
    frames_read: Arc<AtomicUsize>,
}

struct Connection {
    frames: mpsc::UnboundedSender<String>,
    /// Identifiers and texts of what is subscribed.
    starts: Vec<(SubscriptionId, String)>,
    closed: bool,
}

/// One end of a connection; the client's.
struct End {
    server: Arc<Server>,
    number: usize,
    frames: mpsc::UnboundedReceiver<String>,
}

struct Sink {
    server: Arc<Server>,
    number: usize,
}

struct Stream {
    frames: mpsc::UnboundedReceiver<String>,
    read: Arc<AtomicUsize>,
}

impl Server {
    fn answer(&self, number: usize, frame: Frame) {
        let mut connections = self.connections.lock().unwrap();
        let connection = &mut connections[number];
        let answer = match frame {
            Frame::ConnectionInit => Frame::ConnectionAck {
                connection_timeout_ms: Some(60_000),
            },
            Frame::Start { id, data, .. } => {
                let forbidden = self
                    .forbidden
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|root| data.contains(root));
                if forbidden {
                    let errors = vec![ServerError::new("Unauthorized", "not yours")];
                    Frame::Error { id: Some(id), errors }
                } else {
                    connection.starts.push((id.clone(), data));
                    Frame::StartAck { id }
                }
            }
            frame => panic!("not expected from this client: {frame:?}"),
        };
        connection.frames.send(answer.to_text()).unwrap();
    }

    /// Sends a record to whoever subscribed to that root field on the newest connection.
    fn publish(&self, root: &str, id: &str) {
        let connections = self.connections.lock().unwrap();
        let connection = connections.last().expect("a connection");
        let (subscription, _) = connection
            .starts
            .iter()
            .find(|(_, data)| data.contains(root))
            .expect("subscribed");
        let payload = json!({ "data": { root: record(id, 1) } }).to_string();
        connection
            .frames
            .send(
                Frame::Data {
                    id: subscription.clone(),
                    payload,
                }
                .to_text(),
            )
            .unwrap();
    }

    /// Breaks the newest connection.
    fn cut(&self) {
        let mut connections = self.connections.lock().unwrap();
        let connection = connections.last_mut().expect("a connection");
        connection.frames = mpsc::unbounded_channel().0;
    }
}

struct Way(Arc<Server>);

impl Transport for Way {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        panic!("nothing here is incomplete, and yet {request:?}");
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        let (sender, frames) = mpsc::unbounded_channel();
        let mut connections = self.0.connections.lock().unwrap();
        connections.push(Connection {
            frames: sender,
            starts: Vec::new(),
            closed: false,
        });
        let end = End {
            server: Arc::clone(&self.0),
            number: connections.len() - 1,
            frames,
        };
        Box::pin(async move { Ok(Box::new(end) as Box<dyn Socket>) })
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        Box::pin(std::future::ready(Ok(Credentials::default())))
    }

    fn endpoint(&self) -> &str {
        "http://server"
    }
}

impl Socket for End {
    fn split(self: Box<Self>) -> (Box<dyn SocketSink>, Box<dyn SocketStream>) {
        let read = Arc::clone(&self.server.frames_read);
        let sink = Sink {
            server: self.server,
            number: self.number,
        };
        (
            Box::new(sink),
            Box::new(Stream {
                frames: self.frames,
                read,
            }),
        )
    }
}

impl SocketSink for Sink {
    fn send(&mut self, text: String) -> BoxFuture<'_, Result<(), TransportError>> {
        self.server
            .answer(self.number, Frame::parse(&text).expect("a frame"));
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The other side takes its time to agree.
            SimTime::pass(100).await;
            self.server.connections.lock().unwrap()[self.number].closed = true;
        })
    }
}

impl SocketStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<String, TransportError>>> {
        Box::pin(async {
            // Only credit slows the reader down, not the runtime's fairness.
            let frame = tokio::task::unconstrained(self.frames.recv()).await?;
            self.read.fetch_add(1, Ordering::Relaxed);
            Some(Ok(frame))
        })
    }
}

/// Remembers what the app was told.
#[derive(Default)]
struct Errors(Mutex<Vec<SyncError>>);

impl ErrorHandler for Errors {
    fn handle(&self, error: SyncError) {
        self.0.lock().unwrap().push(error);
    }
}

/// The actor with everything that it asks and tells.
struct Stage {
    actor: Port<SubscriptionMessage>,
    server: Arc<Server>,
    reader: Reader,
    errors: Arc<Errors>,
    supervisor: mpsc::UnboundedReceiver<(u64, SupervisorMessage)>,
    reachability: mpsc::UnboundedReceiver<(u64, ReachabilityMessage)>,
    hub: mpsc::Receiver<HubEvent>,
}

impl Stage {
    async fn new(with: impl FnOnce(&mut Env)) -> Self {
        let server = Arc::new(Server::default());
        let mut env = paused_env(Some(Arc::new(Way(Arc::clone(&server)))));
        with(&mut env);
        let schema = schema(&["Post"]);
        let store = Store::open(StoreOptions {
            disk: Disk::Memory,
            schema: Arc::clone(&schema),
            cache_bytes: CACHE_BYTES_DEFAULT,
            incompatible: OnIncompatible::Refuse,
            now_ms: 0,
        })
        .unwrap();
        let reader = store.reader();
        let errors = Arc::new(Errors::default());
        let (supervisor, told_supervisor) = ear(&env);
        let (reachability, told_reachability) = ear(&env);
        let hub = Port::new(&Hub::new(env.clone()).start(), env.clone());
        let listening = hub.ask(|reply| HubMessage::Listen { reply }).await.unwrap();
        let outbox = OutboxActor::new(env.clone(), reader.clone(), hub.clone()).start();
        let actor = SubscriptionProcessor::new(supervisor::Context {
            env: env.clone(),
            schema,
            reader: reader.clone(),
            settings: SyncSettings {
                error_handler: Arc::clone(&errors) as Arc<dyn ErrorHandler>,
                ..SyncSettings::default()
            },
            epoch: Epoch::default(),
            storage: Port::new(&StorageActor::new(env.clone(), store, true).start(), env.clone()),
            outbox: Port::new(&outbox, env.clone()),
            hub,
            supervisor,
            reachability,
            endpoint: crate::EndpointTrouble::default(),
        });
        Self {
            actor: Port::new(&actor.start(), env),
            server,
            reader,
            errors,
            supervisor: told_supervisor,
            reachability: told_reachability,
            hub: listening.events,
        }
    }

    fn tell(&self, message: SubscriptionMessage) {
        self.actor.tell(message).unwrap();
    }

    /// What the supervisor was told, and when.
    fn told(&mut self) -> Vec<(u64, &'static str)> {
        let told = std::iter::from_fn(|| self.supervisor.try_recv().ok());
        told.map(|(at_ms, message)| (at_ms, message.name())).collect()
    }

    fn has(&self, id: &str) -> bool {
        self.reader
            .snapshot()
            .unwrap()
            .get("Post", &RecordId::text(id))
            .unwrap()
            .is_some()
    }
}

#[test]
fn changes_reach_the_store_from_the_first_connection_to_an_orderly_stop() {
    on_paused_time(async {
        let mut stage = Stage::new(|_| {}).await;
        stage.tell(SubscriptionMessage::Connect);
        SimTime::pass(10).await;
        assert_eq!(stage.told(), [(0, "SubscriptionsEstablished")]);

        stage.server.publish("onCreatePost", "a");
        SimTime::pass(10).await;
        assert!(!stage.has("a"), "held back until the models are synced");
        stage.tell(SubscriptionMessage::Drain);
        SimTime::pass(10).await;
        assert_eq!(stage.told(), [(20, "BufferDrained")]);
        assert!(stage.has("a"));
        stage.server.publish("onUpdatePost", "b");
        SimTime::pass(10).await;
        assert!(stage.has("b"));

        stage.server.cut();
        SimTime::pass(600).await;
        let told: Vec<_> = stage.told().into_iter().map(|(_, name)| name).collect();
        assert_eq!(told, ["SubscriptionsLost", "SubscriptionsEstablished"]);
        let reports: Vec<_> = std::iter::from_fn(|| stage.reachability.try_recv().ok()).collect();
        assert!(
            matches!(
                reports[..],
                [
                    (0, ReachabilityMessage::Report(Outcome::Reached)),
                    (40, ReachabilityMessage::Report(Outcome::Unreachable)),
                    (_, ReachabilityMessage::Report(Outcome::Reached)),
                ]
            ),
            "{reports:?}"
        );

        stage.tell(SubscriptionMessage::Stop);
        SimTime::pass(99).await;
        assert!(
            stage.actor.tell(SubscriptionMessage::Connect).is_ok(),
            "it waits for its socket"
        );
        SimTime::pass(10).await;
        assert!(
            stage.actor.tell(SubscriptionMessage::Connect).is_err(),
            "it has stopped"
        );
        assert!(
            stage.server.connections.lock().unwrap()[1].closed,
            "the socket was closed in good order"
        );
    });
}

#[test]
fn a_silent_server_is_left_and_its_socket_closed() {
    on_paused_time(async {
        let mut stage = Stage::new(|_| {}).await;
        stage.tell(SubscriptionMessage::Connect);
        // The server promised a sign of life each minute.
        SimTime::pass(61_000).await;
        let told: Vec<_> = stage.told().into_iter().map(|(_, name)| name).collect();
        assert_eq!(
            told,
            [
                "SubscriptionsEstablished",
                "SubscriptionsLost",
                "SubscriptionsEstablished"
            ]
        );
        let closed: Vec<_> = stage
            .server
            .connections
            .lock()
            .unwrap()
            .iter()
            .map(|one| one.closed)
            .collect();
        assert_eq!(closed, [true, false]);
    });
}

#[test]
fn the_app_hears_of_a_subscription_that_is_left_out() {
    on_paused_time(async {
        let mut stage = Stage::new(|_| {}).await;
        stage.server.forbidden.lock().unwrap().push("onDeletePost");
        stage.tell(SubscriptionMessage::Connect);
        SimTime::pass(10).await;
        assert_eq!(stage.told(), [(0, "SubscriptionsEstablished")]);
        let errors = stage.errors.0.lock().unwrap();
        let [error] = &errors[..] else {
            panic!("one error, not {errors:?}")
        };
        assert_eq!(
            (error.kind, error.process),
            (ErrorKind::Unauthorized, Process::Subscribe)
        );
        assert_eq!(error.model.as_ref().map(ModelName::as_str), Some("Post"));
        assert_eq!(error.error_type.as_deref(), Some("Unauthorized"));
        let event = stage.hub.try_recv().unwrap();
        assert_eq!(event.name(), "subscriptionFailed");
        assert_eq!(event.data()["reason"], "onDelete: Unauthorized: not yours");
    });
}

/// Counts the frames that were handled, and how far reading was ahead of that at most.
struct Lead {
    read: Mutex<Arc<AtomicUsize>>,
    handled: AtomicUsize,
    most: AtomicUsize,
}

impl Trace for Lead {
    fn handled(&self, _: u64, _: &'static str, message: &'static str) {
        if message == "Frame" {
            let read = self.read.lock().unwrap().load(Ordering::Relaxed);
            let handled = self.handled.fetch_add(1, Ordering::Relaxed);
            self.most.fetch_max(read - handled, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_fast_server_cannot_flood_the_mailbox() {
    on_paused_time(async {
        let lead = Arc::new(Lead {
            read: Mutex::default(),
            handled: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let stage = Stage::new(|env| env.trace = Arc::clone(&lead) as Arc<dyn Trace>).await;
        *lead.read.lock().unwrap() = Arc::clone(&stage.server.frames_read);
        stage.tell(SubscriptionMessage::Connect);
        SimTime::pass(10).await;
        let before = lead.handled.load(Ordering::Relaxed);
        for number in 0..1_000 {
            stage.server.publish("onCreatePost", &number.to_string());
        }
        SimTime::pass(10).await;
        assert_eq!(lead.handled.load(Ordering::Relaxed) - before, 1_000);
        let most = lead.most.load(Ordering::Relaxed);
        assert!((2..=UNREAD_MAX).contains(&most), "{most} frames waited at most");
    });
}
