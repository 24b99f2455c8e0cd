//! Conflicts that a handler of the application decides.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::realtime::silent;
use super::*;
use crate::conflict::{
    ConflictCall, ConflictHandler, ConflictHandlers, ConflictStrategy, HandlerFailed, Resolution,
};

/// Answers as told, and notes what it was asked.
#[derive(Clone)]
struct Scripted {
    answer: Result<Resolution, HandlerFailed>,
    calls: Arc<Mutex<Vec<ConflictCall>>>,
}

impl Scripted {
    fn new(answer: Result<Resolution, HandlerFailed>) -> Self {
        Self {
            answer,
            calls: Arc::default(),
        }
    }

    fn calls(&self) -> Vec<ConflictCall> {
        self.calls.lock().unwrap().clone()
    }
}

impl ConflictHandler for Scripted {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        self.calls.lock().unwrap().push(call.clone());
        self.answer.clone()
    }
}

fn asking(handlers: ConflictHandlers) -> Bench {
    let config = BackendConfig {
        conflict: ConflictStrategy::Handler,
        conflict_handlers: handlers,
        ..BackendConfig::with_api_key(KEY)
    };
    bench_with(fixtures::blog(), config)
}

/// A post at version 3, and a handler that answers so.
fn with_answer(answer: Result<Resolution, HandlerFailed>) -> (Bench, Scripted) {
    let handler = Scripted::new(answer);
    let bench = asking(ConflictHandlers::for_all(handler.clone()));
    bench.create(json!({"id": "p", "title": "a", "rating": 1, "meta": "{\"k\": 1}"}));
    bench.update(json!({"id": "p", "title": "b", "_version": 1}));
    bench.update(json!({"id": "p", "title": "c", "_version": 2}));
    assert_eq!(handler.calls(), [], "nothing was in conflict yet");
    (bench, handler)
}

fn object(json: &Json) -> serde_json::Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn changes(bench: &Bench) -> usize {
    bench.backend.changes("Post").unwrap().len()
}

#[test]
fn resolve_writes_the_handlers_record_without_its_key_and_metadata() {
    let item = json!({
        "id": "other", "title": "settled", "tags": ["x"], "meta": {"k": 2}, "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z", "_version": 99, "_deleted": true, "_lastChangedAt": 1, "unknown": 1
    });
    let (bench, _) = with_answer(Ok(Resolution::Resolve(object(&item))));
    let headers = [("x-api-key".to_owned(), KEY.to_owned())];
    let listener = bench.backend.open_connection(START_MS, &headers, None, silent());
    let data = json!({"query": "subscription { onUpdatePost { title _version } }"}).to_string();
    let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
    bench.backend.frame_in(
        START_MS,
        listener,
        &json!({"id": "1", "type": "start", "payload": payload}).to_string(),
    );
    bench.backend.take_outgoing(listener);
    let body = bench.update(json!({"id": "p", "title": "mine", "_version": 1}));
    let answer = &body["data"]["updatePost"];
    assert_eq!(
        (&answer["title"], &answer["_version"]),
        (&json!("settled"), &json!(4))
    );
    assert_eq!(answer["meta"], "{\"k\":2}");
    let stored = bench.get("p");
    assert_eq!(
        (&stored["rating"], &stored["tags"], &stored["_deleted"]),
        (&Json::Null, &json!(["x"]), &Json::Null),
        "what the handler left out is gone"
    );
    assert_eq!(changes(&bench), 4, "one change for each accepted write");
    assert_eq!(bench.backend.take_outgoing(listener).len(), 1);
    assert_eq!(bench.get("other"), Json::Null);
}

#[test]
fn a_handler_is_shown_both_records_the_arguments_and_the_field() {
    let (bench, handler) = with_answer(Ok(Resolution::Reject));
    bench.update(json!({"id": "p", "rating": 9, "_version": 1}));
    let call = &handler.calls()[0];
    let shown = |item: &serde_json::Map<String, Json>| {
        json!([
            item["id"],
            item["title"],
            item["rating"],
            item["_version"],
            item["__typename"]
        ])
    };
    assert_eq!(shown(&call.existing_item), json!(["p", "c", 1, 3, "Post"]));
    assert_eq!(shown(&call.new_item), json!(["p", "c", 9, 4, "Post"]));
    assert_eq!(
        call.existing_item["meta"],
        json!({"k": 1}),
        "AWSJSON is shown parsed"
    );
    assert!(!call.existing_item.contains_key("_deleted"));
    assert_eq!(
        call.arguments["input"],
        json!({"id": "p", "rating": 9, "_version": 1})
    );
    assert_eq!(
        (
            call.resolver.parent_type.as_str(),
            call.resolver.field.as_str(),
            &call.identity
        ),
        ("Mutation", "updatePost", &None)
    );
}

#[test]
fn reject_refuses_and_remove_deletes() {
    let (bench, _) = with_answer(Ok(Resolution::Reject));
    let refused = bench.update(json!({"id": "p", "title": "mine", "_version": 1}));
    assert_eq!(only_error(&refused).0, "ConflictUnhandled");
    assert_eq!(refused["errors"][0]["data"]["_version"], 3);
    assert_eq!(changes(&bench), 3);
    let (bench, handler) = with_answer(Ok(Resolution::Remove));
    let removed = bench.delete(json!({"id": "p", "_version": 1}));
    let answer = &removed["data"]["deletePost"];
    assert_eq!(
        (&answer["_version"], &answer["_deleted"]),
        (&json!(4), &json!(true))
    );
    let call = &handler.calls()[0];
    assert_eq!(call.resolver.field, "deletePost");
    assert_eq!(call.new_item["_deleted"], true);
}

#[test]
fn a_handler_that_fails_is_answered_with_conflict_error_and_nothing_is_written() {
    let resolve = |item: Json| Ok(Resolution::Resolve(object(&item)));
    for answer in [
        Err(HandlerFailed::new("out of order")),
        resolve(json!({"title": 5})),
        resolve(json!({"tags": "x"})),
        resolve(json!({"status": "GONE"})),
        resolve(json!({"where": {"lon": 1.0}})),
    ] {
        let (bench, handler) = with_answer(answer.clone());
        let body = bench.update(json!({"id": "p", "title": "mine", "_version": 1}));
        assert_eq!(only_error(&body).0, "ConflictError", "{answer:?}");
        assert_eq!(body["errors"][0]["path"], json!(["updatePost"]));
        assert_eq!(
            (bench.get("p")["title"].clone(), changes(&bench)),
            (json!("c"), 3)
        );
        assert_eq!(handler.calls().len(), 1);
    }
    let bench = asking(ConflictHandlers::default());
    bench.create(json!({"id": "p", "title": "a"}));
    let body = bench.update(json!({"id": "p", "title": "b", "_version": 9}));
    let expected = (
        "ConflictError".to_owned(),
        "no conflict handler is set for `Post`".to_owned(),
    );
    assert_eq!(only_error(&body), expected);
}

#[test]
fn rounds_before_the_answer_leave_no_trace() {
    let (bench, handler) = with_answer(Ok(Resolution::Reject));
    let query = "mutation { a: createPost(input: {id: \"q\", title: \"t\"}) { _version } \
                 b: updatePost(input: {id: \"p\", title: \"x\", _version: 1}) { id } \
                 c: updatePost(input: {id: \"p\", title: \"y\", _version: 3}) { _version } \
                 d: updatePost(input: {id: \"p\", title: \"z\", _version: 3}) { id } }";
    let body = bench.ask(query, Json::Null);
    assert_eq!(
        body["data"],
        json!({"a": {"_version": 1}, "b": null, "c": {"_version": 4}, "d": null})
    );
    assert_eq!(body["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        changes(&bench),
        5,
        "one for the create and one for the right update"
    );
    let versions: Vec<Json> = handler
        .calls()
        .iter()
        .map(|call| call.existing_item["_version"].clone())
        .collect();
    assert_eq!(versions, [3, 4]);
}

/// Changes the record while it thinks, so often.
struct Meddling {
    backend: OnceLock<Weak<Backend>>,
    times: Mutex<u32>,
    calls: Mutex<u32>,
}

impl ConflictHandler for Arc<Meddling> {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        *self.calls.lock().unwrap() += 1;
        let mut times = self.times.lock().unwrap();
        if *times > 0 {
            *times -= 1;
            let version = &call.existing_item["_version"];
            let query = format!(
                "mutation {{ updatePost(input: {{id: \"p\", rating: 7, _version: {version}}}) {{ id }} }}"
            );
            let request = HttpCall::post(KEY, json!({"query": query}).to_string());
            let backend = self.backend.get().and_then(Weak::upgrade).unwrap();
            assert_eq!(backend.handle_http(START_MS, &request).status, 200);
        }
        Ok(Resolution::Resolve(call.new_item.clone()))
    }
}

fn meddled(times: u32) -> (Json, u32, Json) {
    let handler = Arc::new(Meddling {
        backend: OnceLock::new(),
        times: Mutex::new(times),
        calls: Mutex::new(0),
    });
    let config = BackendConfig {
        conflict: ConflictStrategy::Handler,
        conflict_handlers: ConflictHandlers::for_all(Arc::clone(&handler)),
        ..BackendConfig::with_api_key(KEY)
    };
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(fixtures::blog(), config, kv, SeededEntropy::new(1)).unwrap();
    let backend = Arc::new(backend);
    handler.backend.set(Arc::downgrade(&backend)).unwrap();
    let ask = |query: &str| -> Json {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        serde_json::from_slice(&backend.handle_http(START_MS, &call).body).unwrap()
    };
    ask("mutation { createPost(input: {id: \"p\", title: \"a\"}) { id } }");
    let body = ask(
        "mutation { updatePost(input: {id: \"p\", title: \"mine\", _version: 999}) { title rating _version } }",
    );
    let stored = ask("{ getPost(id: \"p\") { title rating _version } }")["data"]["getPost"].take();
    let calls = *handler.calls.lock().unwrap();
    (body, calls, stored)
}

#[test]
fn a_record_that_changed_while_its_handler_thought_is_asked_about_again() {
    let (body, calls, stored) = meddled(2);
    let expected = json!({"title": "mine", "rating": 7, "_version": 4});
    assert_eq!((&body["data"]["updatePost"], calls), (&expected, 3));
    assert_eq!(stored, expected);
}

#[test]
fn a_record_that_changes_faster_than_its_handler_thinks_is_given_up() {
    let (body, calls, stored) = meddled(u32::MAX);
    assert_eq!((only_error(&body).0.as_str(), calls), ("MaxConflicts", 10));
    assert_eq!((&stored["title"], &stored["_version"]), (&json!("a"), &json!(11)));
}

#[test]
fn models_may_have_handlers_of_their_own_beside_other_strategies() {
    let handler = Scripted::new(Ok(Resolution::Reject));
    let config = BackendConfig {
        model_conflicts: [("Label".into(), ConflictStrategy::Handler)].into(),
        conflict_handlers: ConflictHandlers::default().with_model("Label", handler.clone()),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.create(json!({"id": "p", "title": "a"}));
    assert!(
        bench.update(json!({"id": "p", "rating": 2, "_version": 9}))["errors"].is_null(),
        "merged"
    );
    bench.data(
        "mutation { createLabel(input: {id: \"l\", name: \"a\"}) { id } }",
        Json::Null,
    );
    let stale = "mutation { updateLabel(input: {id: \"l\", name: \"b\"}) { id } }";
    assert_eq!(only_error(&bench.ask(stale, Json::Null)).0, "ConflictUnhandled");
    assert_eq!(handler.calls().len(), 1);
    let shown = format!("{:?}", bench.backend.config().conflict_handlers);
    assert!(shown.contains("Label"), "{shown}");
}

#[test]
fn jobs_that_may_ask_keep_their_place_among_the_others() {
    let (bench, _) = with_answer(Ok(Resolution::Reject));
    let job = |query: &str| {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        bench.backend.prepare(START_MS, &call).unwrap()
    };
    let update = |version: u64| {
        job(&format!(
            "mutation {{ updatePost(input: {{id: \"p\", title: \"t\", _version: {version}}}) {{ _version }} }}"
        ))
    };
    let jobs = [update(3), update(4), update(4)];
    assert!(jobs.iter().all(Job::may_ask_handler));
    let replies = bench.backend.run_mutations(START_MS, &jobs);
    let versions: Vec<Json> = replies
        .iter()
        .map(|reply| {
            let body: Json = serde_json::from_slice(&reply.body).unwrap();
            body["data"]["updatePost"]["_version"].clone()
        })
        .collect();
    assert_eq!(versions, [json!(4), json!(5), Json::Null]);
}

#[test]
fn a_commit_ends_before_a_mutation_that_may_ask() {
    let handler = Scripted::new(Ok(Resolution::Reject));
    let config = BackendConfig {
        model_conflicts: [("Label".into(), ConflictStrategy::Handler)].into(),
        conflict_handlers: ConflictHandlers::default().with_model("Label", handler.clone()),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.data(
        "mutation { createLabel(input: {id: \"l\", name: \"a\"}) { id } }",
        Json::Null,
    );
    let jobs = [
        "mutation { createPost(input: {id: \"p\", title: \"t\"}) { id } }",
        "mutation { createPost(input: {id: \"q\", title: \"t\"}) { id } }",
        "mutation { updateLabel(input: {id: \"l\", name: \"b\"}) { id } }",
        "mutation { createPost(input: {id: \"r\", title: \"t\"}) { id } }",
    ]
    .map(|query| {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        bench.backend.prepare(START_MS, &call).unwrap()
    });
    assert!(matches!(
        &bench.backend.run_commit(START_MS, &jobs)[..],
        [Ran::Replied(_), Ran::Replied(_)]
    ));
    assert!(matches!(
        &bench.backend.run_commit(START_MS, &jobs[2..])[..],
        [Ran::MustAsk(_)]
    ));
    assert_eq!((changes(&bench), handler.calls().len()), (2, 0));
}

/// Goes away while it is asked: nobody waits for the answer any more.
#[derive(Clone, Default)]
struct Leaving {
    gone: Arc<Mutex<Option<CallerGone>>>,
    asked: Arc<Mutex<usize>>,
}

impl ConflictHandler for Leaving {
    fn resolve(&self, _: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        *self.asked.lock().unwrap() += 1;
        self.gone.lock().unwrap().as_ref().unwrap().note();
        Ok(Resolution::Remove)
    }
}

#[test]
fn a_handler_is_not_asked_for_a_caller_who_is_gone() {
    let leaving = Leaving::default();
    let bench = asking(ConflictHandlers::for_all(leaving.clone()));
    for id in ["p", "q", "r"] {
        bench.create(json!({"id": id, "title": "a"}));
    }
    let before = changes(&bench);
    let stale = ["p", "q", "r"]
        .map(|id| format!("{id}: updatePost(input: {{id: \"{id}\", title: \"b\", _version: 0}}) {{ id }}"));
    let query = json!({"query": format!("mutation {{ {} }}", stale.join(" "))});
    let job = bench
        .backend
        .prepare(START_MS, &HttpCall::post(KEY, query.to_string()))
        .unwrap();
    *leaving.gone.lock().unwrap() = Some(job.caller_gone());
    let replies = bench.backend.run_mutations(START_MS, &[job]);
    let body: Json = serde_json::from_slice(&replies[0].body).unwrap();
    assert_eq!(body["errors"][0]["message"], "Execution timed out.", "{body}");
    assert_eq!(
        *leaving.asked.lock().unwrap(),
        1,
        "the others are asked about by nobody"
    );
    assert_eq!(changes(&bench), before, "what was not decided is not written");
}

#[test]
fn whether_there_is_a_question_is_seen_without_asking_it() {
    let (bench, handler) = with_answer(Ok(Resolution::Remove));
    let run = |query: &str| {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        let job = bench.backend.prepare(START_MS, &call).unwrap();
        bench.backend.run_commit(START_MS, &[job]).remove(0)
    };
    let before = changes(&bench);
    let stale = run("mutation { createPost(input: {id: \"n\", title: \"n\"}) { id } \
                     updatePost(input: {id: \"p\", title: \"m\", _version: 1}) { id } }");
    assert!(matches!(stale, Ran::MustAsk(None)));
    assert_eq!(
        (changes(&bench), handler.calls().len()),
        (before, 0),
        "it was rolled back"
    );
    let fresh = run("mutation { updatePost(input: {id: \"p\", title: \"m\", _version: 3}) { _version } }");
    assert!(matches!(fresh, Ran::Replied(reply) if reply.errors == 0));
    assert_eq!(changes(&bench), before + 1);
}

#[test]
fn a_fault_that_was_injected_goes_with_a_mutation_that_has_to_ask_first() {
    let (bench, handler) = with_answer(Ok(Resolution::Remove));
    bench.backend.faults().fail_fields(1, FieldError::DeltaSyncWrite);
    let body = bench.update(json!({"id": "p", "title": "m", "_version": 1}));
    assert_eq!(only_error(&body).0, "DeltaSyncWriteError");
    assert_eq!(handler.calls().len(), 1);
    assert_eq!(bench.get("p")["_deleted"], true, "it took effect");
}

#[test]
fn what_comes_behind_a_question_is_not_begun_before_it_is_answered() {
    let (bench, _) = with_answer(Ok(Resolution::Remove));
    bench.create(json!({"id": "q", "title": "q"}));
    let comment = "mutation { createComment(input: {content: \"c\", postCommentsId: \"q\"}) { id } }";
    bench.data(comment, Json::Null);
    // Whether there is a question, and how many rows were read.
    let run = |query: &str| {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        let job = bench.backend.prepare(START_MS, &call).unwrap();
        let before = bench.backend.store.tally.now().read;
        let ran = bench.backend.run_commit(START_MS, &[job]).remove(0);
        let read = bench.backend.store.tally.now().read - before;
        (matches!(ran, Ran::MustAsk(_)), read)
    };
    let stale = "a: updatePost(input: {id: \"p\", title: \"m\", _version: 1}) { id }";
    let fresh = "b: updatePost(input: {id: \"q\", title: \"m\", _version: 1}) { comments { items { id } } }";
    let (asks, read) = run(&format!("mutation {{ {stale} {fresh} }}"));
    assert_eq!((asks, read), run(&format!("mutation {{ {stale} }}")));
    assert!(asks);
    let (asks, read_by_it) = run(&format!("mutation {{ {fresh} }}"));
    assert!(!asks && read_by_it > read, "{read_by_it} and {read}");
}
