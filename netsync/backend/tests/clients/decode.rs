//! What the native clients decode: records with their metadata, pages, errors, realtime messages.
//!
//! Types are as narrow as theirs: a version is a 32-bit integer, a time of change a 64-bit one, `__typename` must be there.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

use crate::support::{Bench, KEY};
use landfall_backend::{BackendConfig, ConflictStrategy, ConnectionId, Out};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    Draft,
    Live,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Geo {
    pub(crate) lat: f64,
    pub(crate) lon: Option<f64>,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Blog {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
}

/// A post; what is optional in the generated class may be null or left out.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) rating: Option<i32>,
    pub(crate) status: Option<Status>,
    pub(crate) tags: Option<Vec<Option<String>>>,
    pub(crate) at: Option<String>,
    #[serde(rename = "where")]
    pub(crate) place: Option<Geo>,
    pub(crate) blog: Option<Blog>,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

/// The metadata beside each record; both clients find the model by `__typename`.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Metadata {
    #[serde(rename = "__typename")]
    pub(crate) typename: String,
    #[serde(rename = "_version")]
    pub(crate) version: i32,
    #[serde(rename = "_deleted")]
    pub(crate) deleted: Option<bool>,
    #[serde(rename = "_lastChangedAt")]
    pub(crate) last_changed_at: i64,
}

/// `MutationSync` of Swift, `ModelWithMetadata` of Android.
#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Synced {
    #[serde(flatten)]
    pub(crate) model: Post,
    #[serde(flatten)]
    pub(crate) metadata: Metadata,
}

/// `PaginatedList` of Swift, `PaginatedResult` of Android.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    pub(crate) items: Vec<Synced>,
    pub(crate) next_token: Option<String>,
    pub(crate) started_at: i64,
}

/// An error; members that GraphQL does not name become extensions, where the clients look for them.
#[derive(Debug, Deserialize)]
pub(crate) struct GraphqlError {
    pub(crate) message: String,
    pub(crate) locations: Option<Vec<Location>>,
    pub(crate) path: Option<Vec<Segment>>,
    #[serde(flatten)]
    pub(crate) extensions: Map<String, Json>,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Location {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(crate) enum Segment {
    Field(String),
    Index(u32),
}

impl GraphqlError {
    /// The stored record of a conflict.
    pub(crate) fn remote(&self) -> Synced {
        assert_eq!(self.extensions["errorType"], "ConflictUnhandled", "{self:?}");
        serde_json::from_value(self.extensions["data"].clone()).unwrap()
    }
}

/// A backend that refuses what conflicts, with a blog in it.
pub(crate) fn bench() -> Bench {
    let config = BackendConfig {
        conflict: ConflictStrategy::OptimisticConcurrency,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = Bench::new(crate::SDL, config);
    let blog = "mutation { createBlog(input: {id: \"b1\", name: \"news\"}) { id } }";
    bench.data(blog, Json::Null);
    bench
}

/// What a document without errors is decoded into: the clients take the only member of `data`.
#[track_caller]
pub(crate) fn decode<T: DeserializeOwned>(bench: &Bench, document: &str, variables: Json) -> T {
    only(bench.data(document, variables))
}

/// The only member of an object, decoded.
#[track_caller]
pub(crate) fn only<T: DeserializeOwned>(data: Json) -> T {
    let Json::Object(members) = data else {
        panic!("{data} is no object")
    };
    assert_eq!(members.len(), 1, "{members:?}");
    let (name, member) = members.into_iter().next().unwrap();
    serde_json::from_value(member.clone()).unwrap_or_else(|error| panic!("{name}: {error} in {member}"))
}

/// The only error of a mutation that is refused, and that it nulls its field.
#[track_caller]
pub(crate) fn refusal(bench: &Bench, document: &str, variables: Json) -> GraphqlError {
    let body = bench.ask(document, variables);
    let data = body["data"].as_object().unwrap();
    assert!(data.values().all(Json::is_null), "{body}");
    let mut errors: Vec<GraphqlError> = serde_json::from_value(body["errors"].clone()).unwrap();
    assert_eq!(errors.len(), 1, "{body}");
    errors.remove(0)
}

/// Texts of times as the clients parse them: UTC, with milliseconds.
#[track_caller]
pub(crate) fn check_time(text: &str) {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

/// A realtime connection as a client opens it; checks the acknowledgement as the clients decode it.
pub(crate) fn connect(bench: &Bench, headers: &[(&str, &str)], query: Option<&str>) -> ConnectionId {
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let wake = std::sync::Arc::new(|| {});
    let id = bench
        .backend
        .open_connection(bench.now_ms.get(), &headers, query, wake);
    let init = json!({"type": "connection_init"}).to_string();
    bench.backend.frame_in(bench.now_ms.get(), id, &init);
    let frames = frames(bench, id);
    assert_eq!(frames[0]["type"], "connection_ack", "{frames:?}");
    // Android reads it as text, the others as a number; both find 300,000 in it.
    assert_eq!(frames[0]["payload"]["connectionTimeoutMs"], json!(300_000));
    assert!(
        frames[1..].iter().all(|frame| frame["type"] == "ka"),
        "{frames:?}"
    );
    id
}

/// Starts a subscription whose document and variables are a text in the message, as the protocol has it.
pub(crate) fn start(bench: &Bench, connection: ConnectionId, id: &str, request: &Json) {
    let authorization = json!({"host": "localhost", "x-api-key": KEY, "x-amz-date": "20261121T101530Z"});
    let payload = json!({"data": request.to_string(), "extensions": {"authorization": authorization}});
    let start = json!({"id": id, "type": "start", "payload": payload});
    bench
        .backend
        .frame_in(bench.now_ms.get(), connection, &start.to_string());
    assert_eq!(
        frames(bench, connection),
        [json!({"id": id, "type": "start_ack"})]
    );
}

pub(crate) fn frames(bench: &Bench, connection: ConnectionId) -> Vec<Json> {
    let outgoing = bench.backend.take_outgoing(connection).into_iter();
    outgoing
        .map(|out| match out {
            Out::Frame(text) => serde_json::from_str(&text).unwrap(),
            Out::Close { code, .. } => panic!("the connection is closed with {code}"),
        })
        .collect()
}

/// The records of the messages that came, each with the identifier of its subscription.
pub(crate) fn heard(bench: &Bench, connection: ConnectionId) -> Vec<(String, Synced)> {
    frames(bench, connection)
        .into_iter()
        .map(|mut frame| {
            assert_eq!(frame["type"], "data", "{frame}");
            assert!(frame["payload"].get("errors").is_none(), "{frame}");
            let id = frame["id"].as_str().unwrap().to_owned();
            (id, only(frame["payload"]["data"].take()))
        })
        .collect()
}

/// What must be true of a post that went through create, update and delete, whoever wrote the documents.
pub(crate) struct Story<'a> {
    pub(crate) create: &'a str,
    pub(crate) update: &'a str,
    pub(crate) update_if: &'a str,
    pub(crate) delete: &'a str,
}

impl Story<'_> {
    /// Runs it; `blog` is what the client's selection shows of the parent.
    pub(crate) fn check(&self, bench: &Bench, blog: &Blog) {
        let input = json!({"id": "p1", "title": "one", "rating": null, "status": "LIVE", "tags": ["a", "b"],
            "at": "2026-11-21T10:15:30.123Z", "where": {"lat": 1.5, "lon": null}, "blogId": "b1"});
        let created: Synced = decode(bench, self.create, json!({"input": input}));
        assert_eq!(
            created.metadata,
            Metadata {
                typename: "Post".to_owned(),
                version: 1,
                deleted: None,
                last_changed_at: bench.now_ms.get(),
            }
        );
        let post = &created.model;
        assert_eq!((post.id.as_str(), post.title.as_str()), ("p1", "one"));
        assert_eq!((post.rating, post.status.as_ref()), (None, Some(&Status::Live)));
        assert_eq!(post.tags, Some(vec![Some("a".to_owned()), Some("b".to_owned())]));
        assert_eq!(post.at.as_deref(), Some("2026-11-21T10:15:30.123Z"));
        assert_eq!(post.place, Some(Geo { lat: 1.5, lon: None }));
        assert_eq!(post.blog.as_ref(), Some(blog));
        check_time(&post.created_at);
        check_time(&post.updated_at);

        let input = json!({"id": "p1", "title": "two", "rating": 5, "blogId": "b1", "_version": 1});
        let updated: Synced = decode(bench, self.update, json!({"input": input}));
        assert_eq!((updated.metadata.version, updated.model.rating), (2, Some(5)));
        assert_eq!(updated.model.tags, created.model.tags);

        // A stale update tells the stored record, in the shape of an answer.
        let stale = refusal(bench, self.update, json!({"input": input}));
        assert_eq!(stale.path, Some(vec![Segment::Field("updatePost".to_owned())]));
        assert!(
            stale
                .locations
                .as_ref()
                .is_some_and(|all| all[0].line > 0 && all[0].column > 0)
        );
        assert!(!stale.message.is_empty());
        check_remote(&stale, &updated);

        let condition = json!({"title": {"eq": "one"}});
        let input = json!({"id": "p1", "title": "three", "_version": 2});
        let failed = refusal(
            bench,
            self.update_if,
            json!({"condition": condition, "input": input}),
        );
        assert_eq!(failed.extensions["errorType"], "ConditionalCheckFailedException");
        let condition = json!({"and": [{"title": {"eq": "two"}}, {"rating": {"gt": 4}}]});
        let updated: Synced = decode(
            bench,
            self.update_if,
            json!({"condition": condition, "input": input}),
        );
        assert_eq!(
            (updated.metadata.version, updated.model.title.as_str()),
            (3, "three")
        );

        let stale = refusal(bench, self.delete, json!({"input": {"id": "p1", "_version": 1}}));
        check_remote(&stale, &updated);
        let deleted: Synced = decode(bench, self.delete, json!({"input": {"id": "p1", "_version": 3}}));
        assert_eq!(
            (deleted.metadata.version, deleted.metadata.deleted),
            (4, Some(true))
        );
        assert_eq!(deleted.model.title, "three");
        let again = refusal(bench, self.delete, json!({"input": {"id": "p1", "_version": 3}}));
        check_remote(&again, &deleted);
    }
}

/// A conflict tells the stored record in the shape of an answer, but for relations, which are not part of it.
#[track_caller]
fn check_remote(conflict: &GraphqlError, answer: &Synced) {
    let remote = conflict.remote();
    assert_eq!(remote.metadata, answer.metadata);
    let (remote, answer) = (&remote.model, &answer.model);
    assert_eq!(
        (&remote.id, &remote.title, &remote.tags),
        (&answer.id, &answer.title, &answer.tags)
    );
    assert_eq!(
        (remote.rating, &remote.status, &remote.place),
        (answer.rating, &answer.status, &answer.place)
    );
    assert_eq!(
        (&remote.created_at, &remote.updated_at),
        (&answer.created_at, &answer.updated_at)
    );
}

/// Creates posts `p0` and on.
pub(crate) fn posts(bench: &Bench, count: usize) {
    for number in 0..count {
        let create = format!(
            "mutation {{ createPost(input: {{id: \"p{number}\", title: \"t{number}\", rating: {number}, blogId: \"b1\"}}) {{ id }} }}"
        );
        bench.data(&create, Json::Null);
    }
}
