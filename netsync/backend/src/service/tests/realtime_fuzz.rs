//! Realtime connections under whatever clients, mutations, faults and the clock do, in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::realtime::silent;
use super::*;
use crate::config::Limits;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Open { authorized: bool },
    Close(usize),
    Frame(usize, ClientFrame),
    Take(usize),
    TakeSome(usize, usize),
    Create,
    Delete,
    Pass { ms: i64 },
    SetBack { ms: i64 },
    Pause,
    Resume,
    Drop(u32),
    Duplicate(u32),
    CutAll,
}

/// What a client sends.
#[derive(Clone, Debug)]
enum ClientFrame {
    Init,
    Start(u8, &'static str),
    Stop(u8),
    LongId,
    Long,
    Junk(String),
}

const LIMITS_FRAMES: usize = 6;
const LIMITS_BYTES: usize = 2_000;
const LIMITS_FRAME: usize = 600;
const LIMITS_CONNECTIONS: usize = 3;
const LIMITS_SUBSCRIPTIONS: usize = 3;

fn limits() -> Limits {
    Limits {
        outgoing_frames_max: LIMITS_FRAMES,
        outgoing_bytes_max: LIMITS_BYTES,
        frame_bytes_max: LIMITS_FRAME,
        connections_max: LIMITS_CONNECTIONS,
        subscriptions_max: LIMITS_SUBSCRIPTIONS,
        subscription_bytes_max: 7_000,
        frames_per_second_max: 5,
        connection_age_ms_max: 200_000,
        ..Limits::default()
    }
}

fn frame() -> impl Strategy<Value = ClientFrame> {
    let queries = vec![
        "subscription { onCreatePost { id } }",
        "subscription { onCreatePost(filter: {title: {eq: \"even\"}}) { id title } }",
        "subscription { onDeletePost { id _deleted } }",
        "subscription { onCreatePost { nope } }",
        "{ listPosts { nextToken } }",
        "subscription {",
    ];
    prop_oneof![
        1 => Just(ClientFrame::Init),
        6 => (0..5_u8, proptest::sample::select(queries)).prop_map(|(id, query)| ClientFrame::Start(id, query)),
        2 => (0..5_u8).prop_map(ClientFrame::Stop),
        1 => Just(ClientFrame::LongId),
        1 => Just(ClientFrame::Long),
        1 => "[{}\":a-z0-9]{0,12}".prop_map(ClientFrame::Junk),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let who = 0..4_usize;
    prop_oneof![
        4 => proptest::bool::weighted(0.9).prop_map(|authorized| Happening::Open { authorized }),
        1 => who.clone().prop_map(Happening::Close),
        10 => (who.clone(), frame()).prop_map(|(who, frame)| Happening::Frame(who, frame)),
        4 => who.clone().prop_map(Happening::Take),
        2 => (who, 0..700_usize).prop_map(|(who, bytes)| Happening::TakeSome(who, bytes)),
        5 => Just(Happening::Create),
        1 => Just(Happening::Delete),
        3 => (0..70_000_i64).prop_map(|ms| Happening::Pass { ms }),
        1 => (0..70_000_i64).prop_map(|ms| Happening::SetBack { ms }),
        1 => Just(Happening::Pause),
        1 => Just(Happening::Resume),
        1 => (0..3_u32).prop_map(Happening::Drop),
        1 => (0..3_u32).prop_map(Happening::Duplicate),
        1 => Just(Happening::CutAll),
    ]
}

/// What a client knows of its connection.
#[derive(Default)]
struct Client {
    acknowledged: BTreeSet<String>,
    closed: bool,
}

struct World {
    bench: Bench,
    clients: BTreeMap<ConnectionId, Client>,
    created: u64,
    deleted: u64,
}

impl World {
    fn new() -> Self {
        let config = BackendConfig {
            limits: limits(),
            ..BackendConfig::with_api_key(KEY)
        };
        Self {
            bench: bench_with(fixtures::blog(), config),
            clients: BTreeMap::new(),
            created: 0,
            deleted: 0,
        }
    }

    fn now_ms(&self) -> i64 {
        self.bench.now_ms.get()
    }

    /// One of the connections whose sockets are there.
    fn pick(&self, who: usize) -> Option<ConnectionId> {
        self.clients.keys().nth(who % self.clients.len().max(1)).copied()
    }

    fn happen(&mut self, what: Happening) {
        let backend = &self.bench.backend;
        match what {
            Happening::Open { authorized } => {
                let key = if authorized { KEY } else { "da2-wrong" };
                let headers = [("x-api-key".to_owned(), key.to_owned())];
                let id = backend.open_connection(self.now_ms(), &headers, None, silent());
                self.clients.insert(id, Client::default());
            }
            Happening::Close(who) => {
                if let Some(id) = self.pick(who) {
                    backend.close_connection(id);
                    self.clients.remove(&id);
                }
            }
            Happening::Frame(who, frame) => {
                if let Some(id) = self.pick(who) {
                    backend.frame_in(self.now_ms(), id, &text_of(&frame));
                }
            }
            Happening::Take(who) => {
                if let Some(id) = self.pick(who) {
                    self.receive(id, backend.take_outgoing(id));
                }
            }
            Happening::TakeSome(who, bytes) => {
                if let Some(id) = self.pick(who) {
                    self.receive(id, backend.take_some_outgoing(id, bytes));
                }
            }
            Happening::Create => {
                self.created += 1;
                let title = if self.created.is_multiple_of(2) {
                    "even"
                } else {
                    "odd"
                };
                let (id, long) = (self.created.to_string(), "x".repeat(LIMITS_FRAME));
                let title = if self.created.is_multiple_of(11) {
                    long.as_str()
                } else {
                    title
                };
                self.bench.create(json!({"id": id, "title": title}));
            }
            Happening::Delete if self.deleted < self.created => {
                self.deleted += 1;
                self.bench
                    .delete(json!({"id": self.deleted.to_string(), "_version": 1}));
            }
            Happening::Delete => {}
            Happening::Pass { ms } => {
                self.bench.now_ms.set(self.now_ms() + ms);
                backend.tick(self.now_ms());
                let next_ms = backend.next_deadline_ms();
                assert!(next_ms.is_none_or(|at_ms| at_ms > self.now_ms()), "{next_ms:?}");
            }
            Happening::SetBack { ms } => self.bench.now_ms.set(self.now_ms() - ms),
            Happening::Pause => backend.faults().pause_fan_out(),
            Happening::Resume => backend.resume_fan_out(),
            Happening::Drop(messages) => backend.faults().drop_messages(messages),
            Happening::Duplicate(messages) => backend.faults().duplicate_messages(messages),
            Happening::CutAll => backend.cut_connections(),
        }
    }

    /// What a client may be told, given what it was told before.
    fn receive(&mut self, id: ConnectionId, outs: Vec<Out>) {
        let bytes: usize = outs
            .iter()
            .map(|out| {
                if let Out::Frame(frame) = out {
                    frame.len()
                } else {
                    0
                }
            })
            .sum();
        // One message more than the bound is let in, and the goodbye.
        assert!(outs.len() <= LIMITS_FRAMES + 2, "{} messages", outs.len());
        assert!(bytes <= LIMITS_BYTES + 2 * LIMITS_FRAME, "{bytes} bytes");
        let client = self
            .clients
            .get_mut(&id)
            .expect("only those that are there are picked");
        for out in outs {
            assert!(!client.closed, "{out:?} after the goodbye");
            let Out::Frame(text) = out else {
                client.closed = true;
                continue;
            };
            let frame: Json = serde_json::from_str(&text).expect("messages are JSON");
            let of = frame["id"].as_str().unwrap_or_default().to_owned();
            match frame["type"].as_str().expect("messages have a type") {
                "start_ack" => assert!(client.acknowledged.insert(of), "{text}"),
                "complete" => assert!(client.acknowledged.remove(&of), "{text}"),
                "data" => assert!(client.acknowledged.contains(&of), "{text}"),
                "error" | "connection_ack" | "connection_error" | "ka" => {}
                other => panic!("{other} is no message of the protocol"),
            }
        }
        assert!(client.acknowledged.len() <= LIMITS_SUBSCRIPTIONS);
    }
}

fn text_of(frame: &ClientFrame) -> String {
    match frame {
        ClientFrame::Init => json!({"type": "connection_init"}).to_string(),
        ClientFrame::Start(id, query) => {
            let data = json!({"query": query}).to_string();
            let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
            json!({"type": "start", "id": id.to_string(), "payload": payload}).to_string()
        }
        ClientFrame::Stop(id) => json!({"type": "stop", "id": id.to_string()}).to_string(),
        ClientFrame::LongId => json!({"type": "start", "id": "i".repeat(300)}).to_string(),
        ClientFrame::Long => "x".repeat(LIMITS_FRAME + 1),
        ClientFrame::Junk(text) => text.clone(),
    }
}

proptest! {
    #![proptest_config(crate::fixtures::random(192))]

    #[test]
    fn no_order_of_events_breaks_the_protocol_or_the_bounds(
        events in proptest::collection::vec(happening(), 1..60)
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            let (connections, subscriptions) = world.bench.backend.realtime_population();
            prop_assert!(connections <= LIMITS_CONNECTIONS.max(1));
            prop_assert!(subscriptions <= connections * LIMITS_SUBSCRIPTIONS);
        }
        // Whatever happened: once all sockets are gone, nothing is left of them.
        let left: Vec<ConnectionId> = world.clients.keys().copied().collect();
        for id in left {
            world.bench.backend.close_connection(id);
        }
        prop_assert!(world.bench.backend.realtime_is_empty());
    }
}
