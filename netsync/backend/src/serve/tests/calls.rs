//! The room and the places that a call takes on its way, seen from inside: without sockets, step by step.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use tokio::sync::mpsc;

use super::*;
use crate::auth::{IamCredential, IamRole};
use crate::conflict::{
    ConflictCall, ConflictHandler, ConflictHandlers, ConflictStrategy, HandlerFailed, Resolution,
};
use crate::entropy::Entropy;
use crate::http::{HttpCall, HttpReply};
use crate::realtime::Out;

/// Longer than what is parsed on the spot.
const LONG: usize = 4 * 1024 + 1;

/// A shell whose mutations wait in a queue.
struct Inside {
    shell: Shell,
    queue: mpsc::Receiver<work::QueuedJob>,
    _sockets: mpsc::Receiver<()>,
}

fn inside(config: BackendConfig, options: ServeOptions) -> Inside {
    inside_with(config, options, os_entropy())
}

fn inside_with(config: BackendConfig, options: ServeOptions, entropy: impl Entropy + 'static) -> Inside {
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(fixtures::blog(), config, kv, entropy).unwrap();
    let (jobs, queue) = mpsc::channel(work::QUEUE_JOBS_MAX);
    let (shell, sockets) = Shell::new(Arc::new(backend), options, jobs);
    Inside {
        shell,
        queue,
        _sockets: sockets,
    }
}

fn with_key() -> Inside {
    inside(BackendConfig::with_api_key(KEY), ServeOptions::default())
}

impl Inside {
    async fn call(&self, request: Request) -> (u16, String) {
        let response = call::call(State(self.shell.clone()), request).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn status(&self, request: Request) -> u16 {
        self.call(request).await.0
    }

    /// Runs a mutation without a call.
    fn run(&self, query: &str) {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        let reply = self.shell.backend.handle_http(0, &call);
        assert_eq!((reply.status, reply.errors), (200, 0));
    }

    /// What a call takes in memory.
    fn held(&self, query: &str) -> usize {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        self.shell.backend.prepare(0, &call).unwrap().held_bytes()
    }

    /// Whether calls find so much room.
    fn has_room(&self, bytes: usize) -> bool {
        body::Place::take(&self.shell.calls, bytes).is_some()
    }

    /// Commits what is in the queue.
    fn write(&mut self) -> tokio::task::JoinHandle<()> {
        let queue = std::mem::replace(&mut self.queue, mpsc::channel(1).1);
        let (clock, backend) = (Arc::clone(&self.shell.clock), Arc::clone(&self.shell.backend));
        let replies = Arc::clone(&self.shell.replies);
        tokio::spawn(work::write_jobs(clock, backend, replies, queue))
    }
}

fn post_of(body: impl Into<Body>) -> Request {
    let request = Request::post("/graphql").header("x-api-key", KEY);
    request.body(body.into()).unwrap()
}

fn post_query(query: &str) -> Request {
    post_of(json!({"query": query}).to_string())
}

/// What comes of something without waiting.
async fn at_once<T>(
    future: &mut Pin<impl std::ops::DerefMut<Target = impl Future<Output = T>>>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = future.as_mut() => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// Lets others run until something holds.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await;
    waited.expect("it never held");
}

#[tokio::test]
async fn what_is_long_is_parsed_only_where_there_is_a_place() {
    let inside = with_key();
    let places = inside.shell.parsing.available_permits();
    let places = Arc::clone(&inside.shell.parsing).acquire_many_owned(u32::try_from(places).unwrap());
    let places = places.await.unwrap();
    // Nonsense is answered as soon as it is read.
    let post = |length: usize| post_of("x".repeat(length));
    let get = |length: usize| {
        let uri = format!("/graphql?query={}", "x".repeat(length - "query=".len()));
        Request::get(uri)
            .header("x-api-key", KEY)
            .body(Body::empty())
            .unwrap()
    };
    let mut waiting = Vec::new();
    for request in [post as fn(usize) -> Request, get] {
        let mut short = Box::pin(inside.status(request(LONG - 1)));
        assert_eq!(at_once(&mut short).await, Some(400));
        let mut long = Box::pin(inside.status(request(LONG)));
        assert_eq!(at_once(&mut long).await, None);
        waiting.push(long);
    }
    drop(places);
    for long in waiting {
        assert_eq!(long.await, 400);
    }
}

/// Lets everybody in and says so.
struct Doorman(mpsc::UnboundedSender<()>);

impl crate::auth::Authorizer for Doorman {
    fn authorize(
        &self,
        _: &crate::auth::AuthorizerRequest,
    ) -> Result<crate::auth::AuthorizerAnswer, crate::auth::AuthorizerFault> {
        self.0.send(()).unwrap();
        Ok(crate::auth::AuthorizerAnswer {
            is_authorized: true,
            ..crate::auth::AuthorizerAnswer::default()
        })
    }
}

#[tokio::test]
async fn whom_an_authorizer_judges_waits_for_a_place_to_be_parsed_like_everybody() {
    let (said, mut asked) = mpsc::unbounded_channel();
    let mut config = BackendConfig::with_api_key(KEY);
    config.auth.authorizer = Some(crate::auth::AuthorizerSettings {
        authorizer: Arc::new(Doorman(said)),
        ttl_s: 0,
        token_pattern: None,
    });
    let inside = inside(config, ServeOptions::default());
    let places = inside.shell.parsing.available_permits();
    let places = Arc::clone(&inside.shell.parsing).acquire_many_owned(u32::try_from(places).unwrap());
    let places = places.await.unwrap();
    let post = |length: usize| {
        let request = Request::post("/graphql").header("authorization", "whoever");
        request.body(Body::from("x".repeat(length))).unwrap()
    };
    // Nonsense is answered as soon as it is read.
    assert_eq!(inside.status(post(LONG - 1)).await, 400);
    asked.recv().await.unwrap();
    let mut long = Box::pin(inside.status(post(LONG)));
    tokio::select! {
        status = &mut long => panic!("it was answered with {status}"),
        word = asked.recv() => word.unwrap(),
    }
    // By the time that somebody else was judged and answered, so was this one judged.
    assert_eq!(inside.status(post(LONG - 1)).await, 400);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        assert_eq!(at_once(&mut long).await, None);
    }
    drop(places);
    assert_eq!(long.await, 400);
}

#[tokio::test]
async fn a_message_that_is_long_is_read_only_where_there_is_a_place() {
    let mut config = BackendConfig::with_api_key(KEY);
    config.limits.frames_per_second_max = 2;
    let inside = inside(config, ServeOptions::default());
    inside.shell.clock.set(1_700_000_000_000);
    let (backend, key) = (&inside.shell.backend, [("x-api-key".to_owned(), KEY.to_owned())]);
    let id = backend.open_connection(1_700_000_000_000, &key, None, Arc::new(|| {}));
    let places = inside.shell.parsing.available_permits();
    let places = Arc::clone(&inside.shell.parsing).acquire_many_owned(u32::try_from(places).unwrap());
    let places = places.await.unwrap();
    let (short, long) = ("x", "x".repeat(LONG));
    let mut receiving = pin!(socket::receive(&inside.shell, id, short));
    assert_eq!(at_once(&mut receiving).await, Some(()));
    assert_eq!(
        backend.take_outgoing(id).len(),
        1,
        "that it is nothing that is known"
    );
    let mut receiving = pin!(socket::receive(&inside.shell, id, &long));
    assert_eq!(at_once(&mut receiving).await, None);
    assert_eq!(backend.take_outgoing(id), []);
    // What comes too fast is told so, and takes no place.
    let mut too_fast = pin!(socket::receive(&inside.shell, id, &long));
    assert_eq!(at_once(&mut too_fast).await, Some(()));
    let told = backend.take_outgoing(id);
    assert!(
        matches!(&told[..], [Out::Frame(text)] if text.contains("Rate limit exceeded")),
        "{told:?}"
    );
    drop(places);
    receiving.await;
    assert_eq!(backend.take_outgoing(id).len(), 1);
}

/// Once it is armed, says that it was asked and waits for a word.
struct Gated {
    armed: Arc<AtomicBool>,
    asked: mpsc::UnboundedSender<()>,
    word: std::sync::mpsc::Receiver<()>,
}

impl Entropy for Gated {
    fn fill(&mut self, bytes: &mut [u8]) {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.asked.send(()).unwrap();
            self.word.recv().unwrap();
        }
        bytes.fill(7);
    }
}

#[tokio::test]
async fn a_query_keeps_its_room_until_it_is_done() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let (word, heard) = std::sync::mpsc::channel();
    let armed = Arc::new(AtomicBool::new(false));
    let gated = Gated {
        armed: Arc::clone(&armed),
        asked,
        word: heard,
    };
    let mut config = BackendConfig::with_api_key(KEY);
    // What is said of too long a filter has an identifier in it.
    config.limits.filter_operators_max = 0;
    let mut inside = inside_with(config, ServeOptions::default(), gated);
    let query = "{ listPosts(filter: {title: {eq: \"t\"}}) { nextToken } }";
    let held = inside.held(query);
    inside.shell.calls = Arc::new(body::Budget::new(held));
    let places = u32::try_from(inside.shell.queries.available_permits()).unwrap();
    let places = Arc::clone(&inside.shell.queries).acquire_many_owned(places);
    let places = places.await.unwrap();
    let mut call = pin!(inside.call(post_query(query)));
    assert_eq!(at_once(&mut call).await, None);
    assert!(!inside.has_room(1), "it waits");
    armed.store(true, Ordering::SeqCst);
    drop(places);
    let meanwhile = async {
        was_asked.recv().await.unwrap();
        assert!(!inside.has_room(1), "it runs");
        word.send(()).unwrap();
    };
    let ((status, body), ()) = tokio::join!(call, meanwhile);
    assert!(status == 200 && body.contains("too many operators"), "{body}");
    until(|| inside.has_room(held)).await;
}

#[tokio::test]
async fn a_mutation_keeps_its_room_until_it_is_committed() {
    let mut inside = with_key();
    let create = "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }";
    let held = inside.held(create);
    inside.shell.calls = Arc::new(body::Budget::new(2 * held - 1));
    let disk = Arc::clone(&inside.shell.backend);
    let busy = disk.hold_writer();
    let writer = inside.write();
    let jobs = inside.shell.jobs.clone();
    let inside = &inside;
    let mut first = pin!(inside.call(post_query(create)));
    assert_eq!(at_once(&mut first).await, None);
    // It is in the queue, then in the commit.
    assert!(jobs.capacity() < jobs.max_capacity() && !inside.has_room(held));
    until(|| jobs.capacity() == jobs.max_capacity()).await;
    assert!(!inside.has_room(held));
    assert_eq!(inside.status(post_query(create)).await, 429);
    drop(busy);
    assert_eq!(first.await.0, 200);
    until(|| inside.has_room(2 * held - 1)).await;
    writer.abort();
}

/// Says that it was asked and waits for a word before it decides.
struct Asked {
    asked: mpsc::UnboundedSender<()>,
    word: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl ConflictHandler for Asked {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        self.asked.send(()).unwrap();
        self.word.lock().unwrap().recv().unwrap();
        Ok(Resolution::Resolve(call.new_item.clone()))
    }
}

#[tokio::test]
async fn a_mutation_that_a_handler_decides_keeps_its_room_and_its_answer_takes_some() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let (word, heard) = std::sync::mpsc::channel();
    let handler = Asked {
        asked,
        word: heard.into(),
    };
    let config = BackendConfig {
        conflict: ConflictStrategy::Handler,
        conflict_handlers: ConflictHandlers::for_all(handler),
        ..BackendConfig::with_api_key(KEY)
    };
    let mut inside = inside(config, ServeOptions::default());
    inside.run("mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }");
    let title = "x".repeat(20_000);
    let stale = format!(
        "mutation {{ updatePost(input: {{id: \"p\", title: \"{title}\", _version: 0}}) {{ id title }} }}"
    );
    let held = inside.held(&stale);
    // Once in the queue, and once for the handler.
    inside.shell.calls = Arc::new(body::Budget::new(2 * held - 1));
    // Parsed beside the event loop, so it takes a moment.
    assert_eq!(inside.status(post_query(&stale)).await, 429);
    inside.shell.calls = Arc::new(body::Budget::new(3 * held));
    inside.shell.replies = Arc::new(body::Budget::new(1_000));
    let writer = inside.write();
    let decided = inside.call(post_query(&stale));
    let meanwhile = async {
        was_asked.recv().await.unwrap();
        // What was for the queue is given back by the time that the next is answered, what is for the handler is not.
        let other = "mutation { createPost(input: {title: \"t\"}) { id } }";
        assert_eq!(inside.status(post_query(other)).await, 200);
        assert!(!inside.has_room(2 * held + 1));
        word.send(()).unwrap();
    };
    let ((status, body), ()) = tokio::join!(decided, meanwhile);
    assert_eq!(status, 200);
    assert!(
        body.contains("ResponseSizeExceeded"),
        "{}",
        &body[..body.len().min(200)]
    );
    until(|| inside.has_room(3 * held)).await;
    writer.abort();
}

#[test]
fn an_answer_that_finds_no_room_is_late_and_lost_all_the_same() {
    let reply = |length: usize| HttpReply {
        status: 200,
        headers: Vec::new(),
        body: vec![b'x'; length].into(),
        errors: 0,
        delay_ms: 7,
        lost: true,
    };
    let none = Arc::new(body::Budget::new(0));
    let told = call::hold_answer(reply(20_000), "r", &none);
    assert_eq!(
        (told.status, told.delay_ms, told.lost, told.errors),
        (200, 7, true, 1)
    );
    assert_eq!(call::hold_answer(reply(100), "r", &none), reply(100));
    let some = Arc::new(body::Budget::new(20_000));
    assert_eq!(call::hold_answer(reply(20_000), "r", &some), reply(20_000));
}

#[tokio::test]
async fn a_refusal_that_is_long_takes_room_as_well() {
    let mut inside = with_key();
    let nonsense: String = (0..400).map(|n| format!("nothing_that_is_there_{n} ")).collect();
    let query = format!("{{ {nonsense} }}");
    let (status, body) = inside.call(post_query(&query)).await;
    assert_eq!(status, 200);
    assert!(body.len() > 16 * 1024, "{}", body.len());
    inside.shell.replies = Arc::new(body::Budget::new(body.len() - 1));
    assert_eq!(inside.status(post_query(&query)).await, 429);
}

/// A body of just so many bytes.
fn body_of(length: usize) -> String {
    let head = "{\"query\": \"{ listPosts { nextToken } } #";
    format!("{head}{}\"}}", "x".repeat(length - head.len() - 2))
}

#[tokio::test]
async fn the_bodies_of_one_address_take_a_fourth_of_the_room() {
    let mut config = BackendConfig::with_api_key(KEY);
    config.auth.iam.credentials = vec![IamCredential::new("A", "secret", IamRole::Service)];
    let options = ServeOptions {
        bodies_bytes_max: 2_000,
        strangers_bytes_max: 1_600,
        ..ServeOptions::default()
    };
    let inside = inside(config, options);
    let place = inside.shell.addresses.take("203.0.113.7".parse().unwrap());
    let rooms = place.as_ref().unwrap().rooms().unwrap();
    let from_there = |mut request: Request| {
        request.extensions_mut().insert(rooms.clone());
        request
    };
    let known = |length: usize| post_of(body_of(length));
    assert_eq!(inside.status(from_there(known(500))).await, 200);
    assert_eq!(inside.status(from_there(known(501))).await, 429);
    assert_eq!(inside.status(known(501)).await, 200);
    let signed = |length: usize| {
        let by =
            "AWS4-HMAC-SHA256 Credential=A/20231114/r/appsync/aws4_request, SignedHeaders=host, Signature=0";
        let request = Request::post("/graphql").header("authorization", by);
        request.body(Body::from(body_of(length))).unwrap()
    };
    let refused = inside.status(signed(401)).await;
    assert!(refused == 401 || refused == 403, "{refused}");
    assert_eq!(inside.status(from_there(signed(400))).await, refused);
    assert_eq!(inside.status(from_there(signed(401))).await, 429);
}

#[tokio::test]
async fn a_server_times_how_long_hidden_rows_are_passed_over() {
    let (backend, server) = start().await;
    assert!(backend.has_stopwatch());
    server.shutdown().await;
}
