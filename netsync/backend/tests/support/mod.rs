//! A backend asked from outside, with a clock that is set by hand.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::cell::Cell;
use std::sync::Arc;

use landfall_backend::{Backend, BackendConfig, ConnectionId, HttpCall, Out, SeededEntropy};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};

/// Time at which every test begins, in milliseconds.
pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const KEY: &str = "da2-test";

/// A backend and its clock.
pub(crate) struct Bench {
    pub(crate) backend: Backend,
    pub(crate) now_ms: Cell<i64>,
}

impl Bench {
    pub(crate) fn new(sdl: &str, config: BackendConfig) -> Self {
        let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).unwrap();
        let kv = KvStore::in_memory().unwrap();
        let backend = Backend::new(Arc::new(schema), config, kv, SeededEntropy::new(1)).unwrap();
        Self {
            backend,
            now_ms: START_MS.into(),
        }
    }

    pub(crate) fn of(sdl: &str) -> Self {
        Self::new(sdl, BackendConfig::with_api_key(KEY))
    }

    /// Status and body of the reply to a request, at the time that the clock shows.
    pub(crate) fn post(&self, request: &Json) -> (u16, Json) {
        let call = HttpCall::post(KEY, request.to_string());
        let reply = self.backend.handle_http(self.now_ms.get(), &call);
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    /// Body of the reply to a request that is answered with status 200, one millisecond later.
    pub(crate) fn ask(&self, query: &str, variables: Json) -> Json {
        self.now_ms.set(self.now_ms.get() + 1);
        let mut request = json!({"query": query});
        request["variables"] = variables;
        let (status, body) = self.post(&request);
        assert_eq!(status, 200, "{body}");
        body
    }

    /// `data` of a request without errors.
    #[track_caller]
    pub(crate) fn data(&self, query: &str, variables: Json) -> Json {
        let mut body = self.ask(query, variables);
        assert!(body.get("errors").is_none(), "{body}");
        body["data"].take()
    }

    /// A connection that subscribed to these fields, each `field { selection }`.
    pub(crate) fn listen(&self, fields: &[&str]) -> ConnectionId {
        let headers = [("x-api-key".to_owned(), KEY.to_owned())];
        let id = self
            .backend
            .open_connection(self.now_ms.get(), &headers, None, Arc::new(|| {}));
        for field in fields {
            let data = json!({"query": format!("subscription {{ {field} }}")}).to_string();
            let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
            let start = json!({"id": field, "type": "start", "payload": payload}).to_string();
            self.backend.frame_in(self.now_ms.get(), id, &start);
        }
        let acknowledged = self.heard(id);
        assert!(
            acknowledged.iter().all(|frame| frame["type"] == "start_ack"),
            "{acknowledged:?}"
        );
        id
    }

    /// The frames that a connection was sent since it was asked last.
    pub(crate) fn heard(&self, id: ConnectionId) -> Vec<Json> {
        let frames = self.backend.take_outgoing(id).into_iter();
        frames
            .filter_map(|out| match out {
                Out::Frame(text) => Some(serde_json::from_str(&text).unwrap()),
                Out::Close { .. } => None,
            })
            .collect()
    }
}

/// `errorType` and message of the only error.
#[track_caller]
pub(crate) fn only_error(body: &Json) -> (String, String) {
    let errors = body["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no error in {body}"));
    assert_eq!(errors.len(), 1, "{body}");
    let text = |name: &str| errors[0][name].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("message"))
}
