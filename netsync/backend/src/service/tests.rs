//! Tests through the front door: calls in, replies and messages out.

mod auth;
mod conflicts;
mod documents;
mod handlers;
mod hostile;
mod mutations;
mod plans;
mod queries;
mod realtime;
mod realtime_fuzz;
mod stories;
mod sync;

use serde_json::{Value as Json, json};

use super::*;
use crate::entropy::SeededEntropy;
use crate::fixtures;

pub(super) const START_MS: i64 = 1_700_000_000_000;
pub(super) const KEY: &str = "da2-test";

/// Every field of a post that JS clients select, and the key of what it belongs to.
pub(super) const POST: &str = "id title rating score live status kinds tags at where { lat lon } meta blogId createdAt updatedAt \
                               _version _lastChangedAt _deleted";

/// A backend with a clock of its own that moves a millisecond with each call.
pub(super) struct Bench {
    pub(super) backend: Backend,
    pub(super) now_ms: std::cell::Cell<i64>,
}

pub(super) fn bench() -> Bench {
    bench_with(fixtures::blog(), BackendConfig::with_api_key(KEY))
}

pub(super) fn bench_with(schema: Arc<Schema>, config: BackendConfig) -> Bench {
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(schema, config, kv, SeededEntropy::new(1)).unwrap();
    Bench {
        backend,
        now_ms: START_MS.into(),
    }
}

impl Bench {
    /// The body of the reply to a request, which must have status 200.
    pub(super) fn ask(&self, query: &str, variables: Json) -> Json {
        let mut request = json!({"query": query});
        request["variables"] = variables;
        let (status, body) = self.post(&request);
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(super) fn post(&self, request: &Json) -> (u16, Json) {
        self.now_ms.set(self.now_ms.get() + 1);
        let reply = self
            .backend
            .handle_http(self.now_ms.get(), &HttpCall::post(KEY, request.to_string()));
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    /// `data` of a request that has no errors.
    pub(super) fn data(&self, query: &str, variables: Json) -> Json {
        let mut body = self.ask(query, variables);
        assert!(body.get("errors").is_none(), "{body}");
        body["data"].take()
    }

    pub(super) fn create(&self, input: Json) -> Json {
        let query = format!(
            "mutation operation($input: CreatePostInput!) {{ createPost(input: $input) {{ {POST} }} }}"
        );
        self.data(&query, [("input".to_owned(), input)].into_iter().collect())["createPost"].take()
    }

    /// The whole body, as updates may be refused.
    pub(super) fn update(&self, input: Json) -> Json {
        let query = format!(
            "mutation operation($input: UpdatePostInput!, $condition: ModelPostConditionInput) {{ \
             updatePost(input: $input, condition: $condition) {{ {POST} }} }}"
        );
        let variables = [("input".to_owned(), input), ("condition".to_owned(), Json::Null)];
        self.ask(&query, variables.into_iter().collect())
    }

    pub(super) fn delete(&self, input: Json) -> Json {
        let query = format!(
            "mutation operation($input: DeletePostInput!) {{ deletePost(input: $input) {{ {POST} }} }}"
        );
        self.ask(&query, [("input".to_owned(), input)].into_iter().collect())
    }

    pub(super) fn get(&self, id: &str) -> Json {
        let query = format!("query operation($id: ID!) {{ getPost(id: $id) {{ {POST} }} }}");
        self.data(&query, json!({"id": id}))["getPost"].take()
    }
}

/// `errorType` and message of the only error.
pub(super) fn only_error(body: &Json) -> (String, String) {
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{body}");
    let text = |name: &str| errors[0][name].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("message"))
}

/// The identifiers in a connection.
pub(super) fn ids(connection: &Json) -> String {
    let items = connection["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn calls_without_a_good_key_are_turned_away() {
    let bench = bench();
    let request = json!({"query": "{ listPosts { nextToken } }"}).to_string();
    let call = |headers: Vec<(String, String)>| HttpCall {
        headers,
        body: request.clone().into(),
        ..HttpCall::default()
    };
    let key = |key: &str| vec![("X-API-Key".to_owned(), key.to_owned())];
    assert_eq!(bench.backend.handle_http(START_MS, &call(key(KEY))).status, 200);
    for (headers, message) in [
        (vec![], "Valid authorization header not provided."),
        (key("da2-wrong"), "You are not authorized to make this call."),
    ] {
        let reply = bench.backend.handle_http(START_MS, &call(headers));
        let body: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            (reply.status, only_error(&body)),
            (401, ("UnauthorizedException".to_owned(), message.to_owned()))
        );
    }
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let run = || {
        let bench = bench();
        let mut bytes = Vec::new();
        for title in ["a", "b"] {
            let query =
                "mutation($t: String!) { createPost(input: {title: $t}) { id createdAt _lastChangedAt } }";
            let call = HttpCall::post(
                KEY,
                json!({"query": query, "variables": {"t": title}}).to_string(),
            );
            let reply = bench.backend.handle_http(START_MS, &call);
            bytes.extend_from_slice(&reply.body);
            bytes.extend_from_slice(format!("{:?}", reply.headers).as_bytes());
        }
        bytes
    };
    assert_eq!(run(), run());
}

#[test]
fn injected_faults_fail_calls_lose_replies_and_keep_what_was_committed() {
    let bench = bench();
    let create = |id: &str| {
        let query =
            format!("mutation {{ createPost(input: {{id: \"{id}\", title: \"t\"}}) {{ id _version }} }}");
        bench.backend.handle_http(
            START_MS,
            &HttpCall::post(KEY, json!({"query": query}).to_string()),
        )
    };
    bench.backend.faults().fail_next(1, 503);
    assert_eq!((create("p1").status, bench.get("p1")), (503, Json::Null));
    bench.backend.faults().lose_requests(1);
    assert!(create("p1").lost);
    assert_eq!(bench.get("p1"), Json::Null);
    bench.backend.faults().lose_replies(1);
    assert!(create("p1").lost);
    assert_eq!(bench.get("p1")["_version"], 1);
    bench.backend.faults().fail_fields(1, FieldError::DeltaSyncWrite);
    let body: Json = serde_json::from_slice(&create("p2").body).unwrap();
    assert_eq!(only_error(&body).0, "DeltaSyncWriteError");
    assert_eq!(bench.get("p2")["_version"], 1);
    bench.backend.faults().fail_fields(1, FieldError::MaxConflicts);
    let body: Json = serde_json::from_slice(&create("p3").body).unwrap();
    assert_eq!(
        (only_error(&body).0.as_str(), bench.get("p3")),
        ("MaxConflicts", Json::Null)
    );
}

#[test]
fn thirty_two_writers_on_one_record_get_one_accepted_write_per_version() {
    const WRITERS: usize = 32;
    const WRITES: usize = 4;
    let config = BackendConfig {
        conflict: crate::conflict::ConflictStrategy::OptimisticConcurrency,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.create(json!({"id": "p", "title": "0"}));
    let backend = &bench.backend;
    let accepted: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let (mut accepted, mut version) = (Vec::new(), 1);
                    while accepted.len() < WRITES {
                        let query = "mutation($i: UpdatePostInput!) { updatePost(input: $i) { _version } }";
                        let input = json!({"id": "p", "rating": writer, "_version": version});
                        let request = json!({"query": query, "variables": {"i": input}}).to_string();
                        let reply = backend.handle_http(START_MS, &HttpCall::post(KEY, request));
                        let body: Json = serde_json::from_slice(&reply.body).unwrap();
                        match body["data"]["updatePost"]["_version"].as_u64() {
                            Some(now) => {
                                accepted.push(now);
                                version = now;
                            }
                            None => version = body["errors"][0]["data"]["_version"].as_u64().unwrap(),
                        }
                    }
                    accepted
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let mut versions = accepted;
    versions.sort_unstable();
    let expected: Vec<u64> = (2..2 + (WRITERS * WRITES) as u64).collect();
    assert_eq!(versions, expected);
    assert_eq!(bench.backend.changes("Post").unwrap().len(), 1 + WRITERS * WRITES);
}

#[test]
fn jobs_run_together_are_one_commit_and_each_has_its_reply() {
    let bench = bench();
    let job = |id: &str| {
        let query = format!("mutation {{ createPost(input: {{id: \"{id}\", title: \"t\"}}) {{ id }} }}");
        bench
            .backend
            .prepare(
                START_MS,
                &HttpCall::post(KEY, json!({"query": query}).to_string()),
            )
            .unwrap()
    };
    let replies = bench
        .backend
        .run_mutations(START_MS, &[job("p1"), job("p1"), job("p2")]);
    let bodies: Vec<Json> = replies
        .iter()
        .map(|reply| serde_json::from_slice(&reply.body).unwrap())
        .collect();
    assert_eq!(bodies[0], json!({"data": {"createPost": {"id": "p1"}}}));
    assert_eq!(only_error(&bodies[1]).0, "ConditionalCheckFailedException");
    assert_eq!(bodies[2], json!({"data": {"createPost": {"id": "p2"}}}));
    let times: Vec<i64> = bench
        .backend
        .records("Post")
        .unwrap()
        .iter()
        .map(|r| r.sync.last_changed_at_ms)
        .collect();
    assert_eq!(times, [START_MS, START_MS]);
}

#[test]
fn unknown_models_cannot_be_inspected() {
    let refused = bench().backend.records("Nope").unwrap_err().to_string();
    assert!(refused.contains("Post, Comment"), "{refused}");
}
