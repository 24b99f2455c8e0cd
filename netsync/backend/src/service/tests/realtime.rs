//! Realtime connections: handshake, subscriptions, what subscribers hear.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::{IdleMerge, LimitErrors, Limits, StartBeforeInit, Switches, UnknownStop};

const ON_CREATE: &str = "subscription { onCreatePost { id } }";

pub(super) fn silent() -> Doorbell {
    Arc::new(|| {})
}

fn key_header() -> [(String, String); 1] {
    [("x-api-key".to_owned(), KEY.to_owned())]
}

fn bench_with_limits(limits: Limits) -> Bench {
    bench_with(
        fixtures::blog(),
        BackendConfig {
            limits,
            ..BackendConfig::with_api_key(KEY)
        },
    )
}

fn bench_with_switches(switches: Switches) -> Bench {
    bench_with(
        fixtures::blog(),
        BackendConfig {
            switches,
            ..BackendConfig::with_api_key(KEY)
        },
    )
}

impl Bench {
    fn connect(&self) -> ConnectionId {
        self.backend
            .open_connection(self.now_ms.get(), &key_header(), None, silent())
    }

    fn send(&self, id: ConnectionId, frame: &Json) -> Vec<Json> {
        self.backend.frame_in(self.now_ms.get(), id, &frame.to_string());
        self.frames(id)
    }

    /// Frames as JSON; a close as `{"close": code}`.
    fn frames(&self, id: ConnectionId) -> Vec<Json> {
        let json = |out| match out {
            Out::Frame(text) => serde_json::from_str(&text).unwrap(),
            Out::Close { code, .. } => json!({"close": code}),
        };
        self.backend.take_outgoing(id).into_iter().map(json).collect()
    }

    /// The records of data messages of one subscription field.
    fn heard(&self, id: ConnectionId, field: &str) -> Vec<Json> {
        self.frames(id)
            .into_iter()
            .map(|mut frame| frame["payload"]["data"][field].take())
            .collect()
    }

    fn start(&self, connection: ConnectionId, id: &str, query: &str, variables: Json) -> Json {
        let mut request = json!({"query": query});
        request["variables"] = variables;
        let data = request.to_string();
        let authorization =
            json!({"host": "localhost", "x-api-key": KEY, "x-amz-user-agent": "aws-amplify/6"});
        let payload = json!({"data": data, "extensions": {"authorization": authorization}});
        let mut frames = self.send(
            connection,
            &json!({"id": id, "type": "start", "payload": payload}),
        );
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.remove(0)
    }

    fn subscribe(&self, query: &str) -> ConnectionId {
        let connection = self.connect();
        assert_eq!(
            self.start(connection, "1", query, Json::Null),
            json!({"id": "1", "type": "start_ack"})
        );
        connection
    }
}

fn error_of(frame: &Json) -> (String, String) {
    assert_eq!(frame["type"], "error", "{frame}");
    let errors = &frame["payload"]["errors"];
    let error = errors.get(0).unwrap_or(errors);
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("message"))
}

#[test]
fn the_transcript_of_the_contract_is_followed() {
    let bench = bench();
    let connection = bench.connect();
    let ack = json!({"type": "connection_ack", "payload": {"connectionTimeoutMs": 300_000}});
    assert_eq!(
        bench.send(connection, &json!({"type": "connection_init"})),
        [ack, json!({"type": "ka"})]
    );
    let query = "subscription operation { onCreatePost { id title _version _lastChangedAt _deleted } }";
    assert_eq!(
        bench.start(connection, "1", query, json!({})),
        json!({"id": "1", "type": "start_ack"})
    );
    bench.create(json!({"id": "p9", "title": "t"}));
    let record =
        json!({"id": "p9", "title": "t", "_version": 1, "_lastChangedAt": START_MS + 1, "_deleted": null});
    let message = json!({"id": "1", "type": "data", "payload": {"data": {"onCreatePost": record}}});
    assert_eq!(bench.frames(connection), [message]);
    let complete = json!({"id": "1", "type": "complete"});
    assert_eq!(
        bench.send(connection, &json!({"type": "stop", "id": "1"})),
        [complete]
    );
    bench.create(json!({"id": "p10", "title": "t"}));
    assert_eq!(bench.frames(connection), [] as [Json; 0]);
}

/// AWS's guide calls `connection_init` optional, and once did not.
#[test]
fn a_start_before_the_init_is_served_or_refused_as_it_is_read() {
    let bench = bench();
    let connection = bench.connect();
    assert_eq!(
        bench.start(connection, "1", ON_CREATE, Json::Null),
        json!({"id": "1", "type": "start_ack"})
    );

    let bench = bench_with_switches(Switches {
        start_before_init: StartBeforeInit::Refused,
        ..Switches::default()
    });
    let hasty = bench.connect();
    let start = json!({"id": "1", "type": "start", "payload": {"data": "{}", "extensions": {}}});
    let frames = bench.send(hasty, &start);
    assert_eq!(
        error_of(&frames[0]),
        (
            "BadRequestException".to_owned(),
            "connection_init must be the first message".to_owned()
        )
    );
    assert_eq!(frames[0]["id"], "1");
    assert_eq!(frames[1..], [json!({"close": 1008})]);
    // It is over, whatever comes next.
    for frame in [json!({"type": "connection_init"}), start] {
        assert_eq!(bench.send(hasty, &frame), [] as [Json; 0]);
    }
    let patient = bench.connect();
    bench.send(patient, &json!({"type": "connection_init"}));
    assert_eq!(
        bench.start(patient, "1", ON_CREATE, Json::Null)["type"],
        "start_ack"
    );
    assert_eq!(bench.backend.realtime_population(), (1, 1));
}

#[test]
fn unauthorized_connections_are_told_so_and_closed() {
    let bench = bench();
    for headers in [vec![], vec![("x-api-key".to_owned(), "wrong".to_owned())]] {
        let id = bench.backend.open_connection(START_MS, &headers, None, silent());
        let frames = bench.frames(id);
        assert_eq!(frames[0]["type"], "connection_error");
        let error = &frames[0]["payload"]["errors"][0];
        assert_eq!(
            (&error["errorType"], &error["errorCode"]),
            (&json!("UnauthorizedException"), &json!(401))
        );
        assert_eq!(frames[1], json!({"close": 1008}));
        assert_eq!(
            bench.send(id, &json!({"type": "connection_init"})),
            [] as [Json; 0]
        );
    }
}

#[test]
fn starts_that_cannot_be_served_are_answered_with_an_error() {
    let bench = bench();
    let connection = bench.connect();
    let error = |query: &str, variables: Json| error_of(&bench.start(connection, "1", query, variables));
    let unsupported = (
        "UnsupportedOperation".to_owned(),
        "query not supported through the realtime channel".to_owned(),
    );
    assert_eq!(error("{ listPosts { nextToken } }", Json::Null), unsupported);
    for (selection, text) in [
        ("onCreatePost { nope }", "Validation error of type FieldUndefined"),
        (
            "onCreatePost { id } onUpdatePost { id }",
            "Validation error of type",
        ),
        (
            "onCreatePost(owner: \"a\") { id }",
            "UnknownArgument: Unknown field argument owner",
        ),
    ] {
        let (_, message) = error(&format!("subscription {{ {selection} }}"), Json::Null);
        assert!(message.contains(text), "{message}");
    }
    assert_eq!(
        error("subscription {", Json::Null).0,
        "MalformedHttpRequestException"
    );
    // None of them took the id.
    assert_eq!(
        bench.start(connection, "1", ON_CREATE, Json::Null)["type"],
        "start_ack"
    );
    assert_eq!(error(ON_CREATE, Json::Null).0, "DuplicatedOperationError");
}

#[test]
fn filters_that_the_service_refuses_are_refused_with_its_texts() {
    let bench = bench();
    let connection = bench.connect();
    let query = "subscription($f: ModelSubscriptionPostFilterInput) { onCreatePost(filter: $f) { id } }";
    let many: Vec<Json> = (0..11).map(|n| json!({"rating": {"eq": n}})).collect();
    let wide = json!({
        "title": {"eq": "a"}, "rating": {"eq": 1}, "score": {"eq": 1.0}, "live": {"eq": true}, "at": {"eq": "x"},
        "blogId": {"eq": "b"}
    });
    for (filter, expected) in [
        (
            json!({"not": {"id": {"eq": "a"}}}),
            "The variables input contains a field name 'not'",
        ),
        (
            json!({"and": [{"rating": {"gt": 1}}, {"rating": {"lt": 5}}]}),
            "filter uses same fieldName multiple time",
        ),
        (json!({"or": many}), "Filters combination exceed maximum limit"),
        (wide, "Filters exceed maximum attributes limit"),
    ] {
        let (_, message) = error_of(&bench.start(connection, "1", query, json!({"f": filter})));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn each_start_has_credentials_of_its_own() {
    let bench = bench();
    let connection = bench.connect();
    for authorization in [json!({}), json!({"x-api-key": "wrong"})] {
        let data = json!({"query": ON_CREATE}).to_string();
        let payload = json!({"data": data, "extensions": {"authorization": authorization}});
        let frames = bench.send(
            connection,
            &json!({"id": "1", "type": "start", "payload": payload}),
        );
        assert_eq!(error_of(&frames[0]).0, "UnauthorizedException");
    }
}

#[test]
fn junk_is_answered_and_the_connection_lives_on() {
    let bench = bench();
    let connection = bench.connect();
    for junk in ["", "{", "[1]", "{\"type\":\"nope\"}"] {
        bench.backend.frame_in(START_MS, connection, junk);
        let frames = bench.frames(connection);
        assert_eq!(
            error_of(&frames[0]).1,
            "unknown not supported through the realtime channel",
            "{junk}"
        );
        assert!(frames[0].get("id").is_none());
    }
    assert_eq!(
        bench.send(connection, &json!({"type": "connection_init"})).len(),
        2
    );
}

#[test]
fn the_two_hundred_and_first_subscription_is_refused() {
    let full = bench();
    let connection = full.connect();
    for n in 0..200 {
        assert_eq!(
            full.start(connection, &n.to_string(), ON_CREATE, Json::Null)["type"],
            "start_ack"
        );
    }
    let refused = full.start(connection, "200", ON_CREATE, Json::Null);
    let text = "Max number of 200 subscriptions reached".to_owned();
    assert_eq!(
        error_of(&refused),
        ("MaxSubscriptionsReachedError".to_owned(), text)
    );
    assert!(refused["payload"]["errors"].is_array());
    // A stop makes room.
    full.send(connection, &json!({"type": "stop", "id": "7"}));
    assert_eq!(
        full.start(connection, "200", ON_CREATE, Json::Null)["type"],
        "start_ack"
    );
    let config = BackendConfig {
        limits: Limits {
            subscriptions_max: 0,
            ..Limits::default()
        },
        switches: Switches {
            limit_errors: LimitErrors::Object,
            ..Switches::default()
        },
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    let refused = bench.start(bench.connect(), "1", ON_CREATE, Json::Null);
    assert_eq!(
        refused["payload"]["errors"]["errorType"], "MaxSubscriptionsReachedError",
        "as seen on the service"
    );
}

#[test]
fn stopping_what_is_not_there_is_passed_over_unless_switched() {
    let stop = json!({"type": "stop", "id": "none"});
    let ignoring = bench();
    assert_eq!(ignoring.send(ignoring.connect(), &stop), [] as [Json; 0]);
    let completing = bench_with_switches(Switches {
        unknown_stop: UnknownStop::Completed,
        ..Switches::default()
    });
    assert_eq!(
        completing.send(completing.connect(), &stop),
        [json!({"id": "none", "type": "complete"})]
    );
}

#[test]
fn subscribers_hear_the_mutations_own_selection_and_null_for_the_rest() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a"}));
    let full = bench.subscribe("subscription { onUpdatePost { id rating _version } }");
    let strict = bench.subscribe("subscription { onUpdatePost { id title } }");
    let payload = |connection| bench.frames(connection)[0]["payload"].clone();
    let update = |version: u64, selection: &str| {
        let input = format!("{{id: \"p\", rating: {version}, _version: {version}}}");
        let query = format!(
            "mutation {{ updatePost(input: {input}) {{ {selection} ...R }} }} fragment R on Post {{ stars: rating }}"
        );
        bench.data(&query, Json::Null);
    };
    // The mutation selects under other names, through a fragment, and leaves title and version out.
    update(1, "key: id");
    let missing = payload(full);
    assert_eq!(
        missing["data"],
        json!({"onUpdatePost": null}),
        "a field that must not be null is missing"
    );
    assert_eq!(
        missing["errors"][0]["message"],
        "Cannot return null for non-nullable type: 'Int' within parent 'Post' (/onUpdatePost/_version)"
    );
    assert_eq!(payload(strict)["data"], json!({"onUpdatePost": null}));
    update(2, "key: id _version");
    assert_eq!(
        payload(full),
        json!({"data": {"onUpdatePost": {"id": "p", "rating": 2, "_version": 3}}})
    );
}

#[test]
fn relations_reach_subscribers_as_far_as_the_mutation_selected_them() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a"}));
    let connection = bench.subscribe("subscription { onCreateComment { id post { id _deleted } } }");
    let create = |id: &str, selection: &str| {
        let input = format!("{{id: \"{id}\", content: \"c\", postCommentsId: \"p\"}}");
        bench.data(
            &format!("mutation {{ createComment(input: {input}) {{ {selection} }} }}"),
            Json::Null,
        );
        bench.heard(connection, "onCreateComment")
    };
    assert_eq!(
        create("c1", "id post { id _deleted }"),
        [json!({"id": "c1", "post": {"id": "p", "_deleted": null}})]
    );
    assert_eq!(create("c2", "id"), [json!({"id": "c2", "post": null})]);
}

#[test]
fn subscribers_hear_merges_and_deletes_but_no_refusals() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "a", "rating": 1}));
    let all = bench.subscribe("subscription { onUpdatePost { id title _version } }");
    let narrow = bench.subscribe("subscription { onUpdatePost { id } }");
    let low = bench.subscribe("subscription { onUpdatePost(filter: {rating: {lt: 5}}) { id } }");
    let deletes = bench.subscribe("subscription { onDeletePost { id _deleted } }");
    // The old record matches the filter and the new one does not: nothing is told.
    bench.update(json!({"id": "p", "rating": 9, "_version": 1}));
    assert_eq!(
        (
            bench.frames(all).len(),
            bench.frames(narrow).len(),
            bench.frames(low).len()
        ),
        (1, 1, 0)
    );
    bench.update(json!({"id": "p", "title": "mine", "_version": 1}));
    assert_eq!(
        bench.heard(all, "onUpdatePost"),
        [json!({"id": "p", "title": "a", "_version": 3})]
    );
    assert_eq!(bench.frames(narrow).len(), 1);
    bench.delete(json!({"id": "p", "_version": 1}));
    bench.update(json!({"id": "none", "_version": 1}));
    assert_eq!((bench.frames(all).len(), bench.frames(deletes).len()), (0, 0));
    bench.delete(json!({"id": "p", "_version": 3}));
    assert_eq!(
        bench.heard(deletes, "onDeletePost"),
        [json!({"id": "p", "_deleted": true})]
    );
    assert_eq!(bench.frames(all).len(), 0);
}

#[test]
fn a_merge_that_writes_nothing_tells_nothing() {
    let bench = bench_with_switches(Switches {
        idle_merge: IdleMerge::Skipped,
        ..Switches::default()
    });
    bench.create(json!({"id": "p", "title": "a"}));
    let connection = bench.subscribe("subscription { onUpdatePost { id } }");
    bench.update(json!({"id": "p", "title": "b"}));
    assert_eq!(bench.frames(connection).len(), 0);
}

#[test]
fn filters_see_what_the_mutation_selected() {
    let bench = bench();
    let connection = bench.subscribe("subscription { onCreatePost(filter: {rating: {ge: 3}}) { id } }");
    let create = |id: &str, selection: &str| {
        let input = format!("{{id: \"{id}\", title: \"t\", rating: 5}}");
        bench.data(
            &format!("mutation {{ createPost(input: {input}) {{ {selection} }} }}"),
            Json::Null,
        );
        bench.heard(connection, "onCreatePost")
    };
    assert_eq!(create("p1", "id"), [] as [Json; 0], "the rating was not selected");
    assert_eq!(create("p2", "id rating"), [json!({"id": "p2"})]);
}

#[test]
fn keep_alives_come_every_minute_and_the_connection_ends_after_a_day() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    let bench = bench();
    let connection = bench.connect();
    assert_eq!(bench.backend.next_deadline_ms(), Some(START_MS + 30_000));
    bench.send(connection, &json!({"type": "connection_init"}));
    assert_eq!(bench.backend.next_deadline_ms(), Some(START_MS + 60_000));
    bench.backend.tick(START_MS + 59_999);
    assert_eq!(bench.frames(connection), [] as [Json; 0]);
    let mut beats = 0;
    while let Some(at_ms) = bench.backend.next_deadline_ms() {
        bench.backend.tick(at_ms);
        let frames = bench.frames(connection);
        if frames == [json!({"close": 1001})] {
            assert_eq!(at_ms, START_MS + DAY_MS);
            break;
        }
        assert_eq!(frames, [json!({"type": "ka"})]);
        beats += 1;
    }
    assert_eq!(beats, 24 * 60 - 1);
    assert_eq!(bench.backend.next_deadline_ms(), None);
    bench.create(json!({"title": "t"}));
    assert_eq!(
        bench.frames(connection),
        [] as [Json; 0],
        "a closed connection gets nothing more"
    );
}

#[test]
fn a_connection_that_does_not_keep_up_is_cut_and_the_others_are_not() {
    let bench = bench_with_limits(Limits {
        outgoing_frames_max: 3,
        ..Limits::default()
    });
    let slow = bench.subscribe(ON_CREATE);
    let quick = bench.subscribe(ON_CREATE);
    for n in 0..10 {
        bench.create(json!({"id": format!("p{n}"), "title": "t"}));
        assert_eq!(bench.frames(quick).len(), 1);
    }
    assert_eq!(bench.frames(slow), [json!({"close": 1013})]);
}

#[test]
fn messages_that_are_too_long_are_not_sent_and_counted() {
    let bench = bench();
    let connection = bench.subscribe("subscription { onCreatePost { title } }");
    bench.create(json!({"title": "x".repeat(241 * 1024)}));
    assert_eq!(
        (bench.frames(connection).len(), bench.backend.oversize_messages()),
        (0, 1)
    );
    bench
        .backend
        .frame_in(START_MS, connection, &"x".repeat(241 * 1024));
    assert_eq!(bench.frames(connection), [json!({"close": 1009})]);
}

#[test]
fn a_connection_that_says_nothing_is_closed_and_one_that_starts_is_not() {
    let bench = bench();
    let (mute, junk, started) = (bench.connect(), bench.connect(), bench.subscribe(ON_CREATE));
    bench.backend.frame_in(START_MS, junk, "hello?");
    assert_eq!(bench.frames(junk).len(), 1);
    bench.backend.tick(START_MS + 29_999);
    assert_eq!(bench.frames(mute), [] as [Json; 0]);
    bench.backend.tick(START_MS + 30_000);
    for silent in [mute, junk] {
        assert_eq!(bench.frames(silent), [json!({"close": 1008})]);
    }
    assert_eq!(bench.frames(started), [] as [Json; 0]);
    assert_eq!(bench.backend.realtime_population(), (1, 1));
}

#[test]
fn a_flood_of_messages_is_answered_with_the_rate_limit_and_passes() {
    let bench = bench_with_limits(Limits {
        frames_per_second_max: 2,
        ..Limits::default()
    });
    let connection = bench.connect();
    let init = json!({"type": "connection_init"});
    let sent = |at_ms: i64| {
        bench.backend.frame_in(at_ms, connection, &init.to_string());
        bench.frames(connection)
    };
    assert_eq!((sent(START_MS).len(), sent(START_MS).len()), (2, 2));
    assert_eq!(
        error_of(&sent(START_MS + 499)[0]),
        ("LimitExceededError".to_owned(), "Rate limit exceeded".to_owned())
    );
    assert_eq!((sent(START_MS + 500).len(), sent(START_MS + 501).len()), (2, 1));
    // A clock that goes back gives nothing, and takes nothing.
    assert_eq!((sent(0).len(), sent(500).len()), (1, 2));
}

/// What one subscription takes in memory.
fn held_by_one() -> usize {
    let bench = bench();
    bench.subscribe(ON_CREATE);
    bench.backend.hub().subscriptions_bytes()
}

#[test]
fn what_subscriptions_keep_is_counted_as_it_is_held_and_not_as_it_was_sent() {
    let bench = bench();
    let held = || bench.backend.hub().subscriptions_bytes();
    let wide = format!("subscription {{ onCreatePost {{ {} }} }}", "id ".repeat(400));
    let first = bench.subscribe(&wide);
    let of_document = held();
    assert!(of_document > 400 * 200, "{of_document} bytes for 400 fields");
    // Others with the same document add what is theirs.
    let second = bench.subscribe(&wide);
    let of_second = held() - of_document;
    assert!(of_second < 4_000, "{of_second}");
    bench.backend.close_connection(first);
    assert!(held() > 400 * 200, "it is still held");
    bench.backend.close_connection(second);
    assert_eq!(held(), 0);
    // Values of variables are held one by one, however short they are.
    let filtered = "subscription($f: ModelSubscriptionPostFilterInput) { onCreatePost(filter: $f) { id } }";
    let connection = bench.connect();
    let nothing: Vec<Json> = vec![json!({}); 1_000];
    let started = bench.start(connection, "1", filtered, json!({"f": {"or": nothing}}));
    assert_eq!(started["type"], "start_ack");
    assert!(held() > 1_000 * 2 * 100, "{}", held());
    bench.send(connection, &json!({"type": "stop", "id": "1"}));
    assert_eq!(held(), 0);
}

#[test]
fn subscriptions_that_differ_in_their_filter_share_what_is_written_for_them() {
    let bench = bench();
    let held = || bench.backend.hub().subscriptions_bytes();
    let wide = format!(
        "subscription($f: ModelSubscriptionPostFilterInput) {{ onCreatePost(filter: $f) {{ title {} }} }}",
        "id ".repeat(300)
    );
    let connection = bench.connect();
    let start = |title: &str| {
        let variables = json!({"f": {"title": {"eq": title}}});
        assert_eq!(
            bench.start(connection, title, &wide, variables)["type"],
            "start_ack"
        );
    };
    start("a");
    let one = held();
    start("b");
    assert!(held() - one < 8_000, "{} after {one}", held());
    bench.create(json!({"id": "p", "title": "b"}));
    let heard = bench.frames(connection);
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0]["id"], "b");
    // What the selection itself depends on is written for each.
    let shown = "subscription($s: Boolean!) { onDeletePost { id title @include(if: $s) } }";
    for (id, shows) in [("t", true), ("f", false)] {
        assert_eq!(
            bench.start(connection, id, shown, json!({"s": shows}))["type"],
            "start_ack"
        );
    }
    bench.data(
        "mutation { deletePost(input: {id: \"p\", _version: 1}) { id title } }",
        Json::Null,
    );
    let mut heard = bench.frames(connection);
    heard.sort_by_key(|frame| frame["id"].to_string());
    let records: Vec<&Json> = heard
        .iter()
        .map(|frame| &frame["payload"]["data"]["onDeletePost"])
        .collect();
    assert_eq!(records, [&json!({"id": "p"}), &json!({"id": "p", "title": "b"})]);
}

#[test]
fn a_subscription_selects_only_so_many_fields() {
    let bench = bench();
    let connection = bench.connect();
    let of = |fields: usize| {
        format!(
            "subscription {{ onCreatePost {{ {} }} }}",
            "id ".repeat(fields - 1)
        )
    };
    assert_eq!(
        bench.start(connection, "1", &of(500), Json::Null)["type"],
        "start_ack"
    );
    let refused = bench.start(connection, "2", &of(501), Json::Null);
    assert_eq!(
        error_of(&refused),
        (
            "LimitExceededError".to_owned(),
            "Subscription selects too many fields; the most is 500.".to_owned()
        )
    );
    // Fragments count as often as they are spread.
    let spread = format!(
        "subscription {{ onCreatePost {{ {} }} }} fragment F on Post {{ id id id id id }}",
        "...F ".repeat(100)
    );
    assert_eq!(
        error_of(&bench.start(connection, "3", &spread, Json::Null)).0,
        "LimitExceededError"
    );
}

#[test]
fn the_fields_of_a_subscription_are_those_of_the_largest_operation_that_is_kept_with_it() {
    let bench = bench();
    let connection = bench.connect();
    let wide = format!("subscription Wide {{ onCreatePost {{ {} }} }}", "id ".repeat(500));
    let narrow = "subscription Narrow { onCreatePost { id } }";
    for query in [format!("{wide} {narrow}"), format!("{narrow} {wide}")] {
        let data = json!({"query": query, "operationName": "Narrow"}).to_string();
        let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
        let start = json!({"id": "1", "type": "start", "payload": payload});
        let answers = bench.send(connection, &start);
        assert_eq!(error_of(&answers[0]).0, "LimitExceededError");
    }
}

#[test]
fn whatever_a_selection_depends_on_keeps_messages_apart() {
    for (selection, fragment) in [
        ("title @include(if: $s)", ""),
        ("... @include(if: $s) { title }", ""),
        ("...F @include(if: $s)", "fragment F on Post { title }"),
        ("...F", "fragment F on Post { title @include(if: $s) }"),
    ] {
        let bench = bench();
        let connection = bench.connect();
        let query = format!("subscription($s: Boolean!) {{ onCreatePost {{ id {selection} }} }} {fragment}");
        for (id, shows) in [("f", false), ("t", true)] {
            let started = bench.start(connection, id, &query, json!({"s": shows}));
            assert_eq!(started["type"], "start_ack", "{started}");
        }
        bench.create(json!({"id": "p", "title": "b"}));
        let heard = bench.heard(connection, "onCreatePost");
        assert_eq!(
            heard,
            [json!({"id": "p"}), json!({"id": "p", "title": "b"})],
            "{query}"
        );
    }
}

#[test]
fn a_document_that_is_there_already_needs_no_room_among_all_connections() {
    let wide = format!("subscription {{ onCreatePost {{ {} }} }}", "id ".repeat(400));
    let held = |subscriptions: usize| {
        let bench = bench();
        for _ in 0..subscriptions {
            bench.subscribe(&wide);
        }
        bench.backend.hub().subscriptions_bytes()
    };
    let types = |subscriptions_bytes_max: usize| {
        let bench = bench_with_limits(Limits {
            subscriptions_bytes_max,
            ..Limits::default()
        });
        [(); 3].map(|()| bench.start(bench.connect(), "1", &wide, Json::Null)["type"].take())
    };
    assert_eq!(types(held(1) - 1), ["error", "error", "error"]);
    assert_eq!(types(held(1)), ["start_ack", "error", "error"]);
    assert_eq!(types(held(2)), ["start_ack", "start_ack", "error"]);
}

#[test]
fn a_connection_is_charged_for_each_of_its_documents_whoever_else_has_them() {
    let wide = format!("subscription {{ onCreatePost {{ {} }} }}", "id ".repeat(400));
    let one = {
        let bench = bench();
        bench.subscribe(&wide);
        bench.backend.hub().subscriptions_bytes()
    };
    let types = |subscription_bytes_max: usize| {
        let bench = bench_with_limits(Limits {
            subscription_bytes_max,
            ..Limits::default()
        });
        let connection = bench.connect();
        ["1", "2", "3"].map(|id| bench.start(connection, id, &wide, Json::Null)["type"].take())
    };
    assert_eq!(types(one - 1), ["error", "error", "error"]);
    assert_eq!(types(2 * one - 1), ["start_ack", "error", "error"]);
    assert_eq!(types(2 * one), ["start_ack", "start_ack", "error"]);
}

#[test]
fn what_a_subscription_keeps_beside_its_document_is_counted_part_by_part() {
    const LONGER: usize = 1_000;
    let held = |id: &str, query: &str, variables: Json| {
        let bench = bench();
        let started = bench.start(bench.connect(), id, query, variables);
        assert_eq!(started["type"], "start_ack", "{started}");
        bench.backend.hub().subscriptions_bytes()
    };
    let more = |of: &dyn Fn(&str) -> usize| of(&"x".repeat(1 + LONGER)) - of("x");
    // The entries of the hub.
    let (bench, query) = (bench(), ON_CREATE);
    bench.subscribe(query);
    let first = bench.backend.hub().subscriptions_bytes();
    bench.subscribe(query);
    let of_second = bench.backend.hub().subscriptions_bytes() - first;
    assert!(of_second >= 1_024, "{of_second}");
    // Its name is the key of two of them.
    let named = |id: &str| held(&id[..id.len().min(201)], query, Json::Null);
    assert_eq!(more(&named), 2 * 200);
    // A filter is among the variables, the arguments, and what its one alternative compares with.
    let filtered = "subscription($f: ModelSubscriptionPostFilterInput) { onCreatePost(filter: $f) { id } }";
    let by_title = |title: &str| held("1", filtered, json!({"f": {"title": {"eq": title}}}));
    assert_eq!(more(&by_title), 3 * LONGER);
    // What the selection depends on is among the variables and in what tells documents apart.
    let nested =
        "subscription($c: String) { onCreatePost { comments(filter: {content: {eq: $c}}) { nextToken } } }";
    let by_content = |content: &str| held("1", nested, json!({"c": content}));
    assert_eq!(more(&by_content), 2 * LONGER);
}

#[test]
fn a_start_that_is_longer_than_there_is_room_for_is_not_looked_at() {
    let most = held_by_one();
    let bench = bench_with_limits(Limits {
        subscription_bytes_max: most,
        ..Limits::default()
    });
    let connection = bench.connect();
    let junk = |length: usize| error_of(&bench.start(connection, "1", &"x".repeat(length), Json::Null)).0;
    assert_ne!(junk(1), "LimitExceededError");
    assert_eq!(junk(most), "LimitExceededError");
}

#[test]
fn what_subscriptions_keep_is_bounded() {
    let bench = bench_with_limits(Limits {
        subscription_bytes_max: held_by_one() * 7 / 2,
        ..Limits::default()
    });
    let connection = bench.connect();
    let long = "i".repeat(257);
    let refused = bench.start(connection, &long, ON_CREATE, Json::Null);
    assert_eq!(error_of(&refused).0, "BadRequestException");
    assert!(refused.get("id").is_none(), "what is too long is not sent back");
    let kinds: Vec<Json> = (0..4)
        .map(|n| bench.start(connection, &n.to_string(), ON_CREATE, Json::Null)["type"].take())
        .collect();
    assert_eq!(kinds, ["start_ack", "start_ack", "start_ack", "error"]);
    bench.send(connection, &json!({"type": "stop", "id": "1"}));
    assert_eq!(
        bench.start(connection, "4", ON_CREATE, Json::Null)["type"],
        "start_ack"
    );
}

#[test]
fn messages_can_be_taken_a_few_at_a_time() {
    let bench = bench();
    let connection = bench.subscribe(ON_CREATE);
    for n in 0..3 {
        bench.create(json!({"id": n.to_string(), "title": "t"}));
    }
    let taken = |bytes| bench.backend.take_some_outgoing(connection, bytes).len();
    assert_eq!((taken(0), taken(1), taken(1_000), taken(1_000)), (0, 1, 2, 0));
}

#[test]
fn connections_that_are_cut_break_off_without_what_waited() {
    let bench = bench();
    let connection = bench.subscribe(ON_CREATE);
    bench.create(json!({"title": "t"}));
    bench.backend.cut_connections();
    bench.backend.cut_connections();
    assert_eq!(bench.frames(connection), [json!({"close": 1006})]);
    assert_eq!(bench.backend.realtime_population(), (0, 0));
}

#[test]
fn messages_can_be_sent_twice() {
    let bench = bench();
    let connection = bench.subscribe(ON_CREATE);
    bench.backend.faults().duplicate_messages(1);
    bench.create(json!({"id": "p1", "title": "t"}));
    bench.create(json!({"id": "p2", "title": "t"}));
    let heard = bench.heard(connection, "onCreatePost");
    assert_eq!(heard, ["p1", "p1", "p2"].map(|id| json!({"id": id})));
}

#[test]
fn the_doorbell_rings_when_there_is_something_to_send() {
    let bench = bench();
    let rings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rings);
    let doorbell = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let connection = bench
        .backend
        .open_connection(START_MS, &key_header(), None, doorbell);
    assert_eq!(
        bench.start(connection, "1", ON_CREATE, Json::Null)["type"],
        "start_ack"
    );
    let before = rings.load(Ordering::SeqCst);
    assert_eq!(bench.backend.waiting_connections(), []);
    bench.create(json!({"title": "t"}));
    assert_eq!(rings.load(Ordering::SeqCst), before + 1);
    assert_eq!(bench.backend.waiting_connections(), [connection]);
    bench.backend.close_connection(connection);
    bench.create(json!({"title": "t"}));
    assert_eq!(
        (rings.load(Ordering::SeqCst), bench.frames(connection).len()),
        (before + 1, 0)
    );
}

#[test]
fn paused_messages_are_held_back_and_dropped_ones_lost() {
    let bench = bench();
    let connection = bench.subscribe(ON_CREATE);
    let create = |id: &str| bench.create(json!({"id": id, "title": "t"}));
    bench.backend.faults().pause_fan_out();
    create("p1");
    create("p2");
    assert_eq!(bench.frames(connection).len(), 0);
    bench.backend.resume_fan_out();
    assert_eq!(
        bench.heard(connection, "onCreatePost"),
        [json!({"id": "p1"}), json!({"id": "p2"})]
    );
    bench.backend.faults().drop_messages(1);
    create("p3");
    create("p4");
    assert_eq!(bench.heard(connection, "onCreatePost"), [json!({"id": "p4"})]);
}

#[test]
fn too_many_connections_are_turned_away() {
    let bench = bench_with_limits(Limits {
        connections_max: 1,
        ..Limits::default()
    });
    let first = bench.connect();
    let second = bench.connect();
    assert_eq!(
        bench.frames(second)[0]["payload"]["errors"][0]["errorType"],
        "LimitExceededError"
    );
    assert_eq!(bench.frames(first), [] as [Json; 0]);
}

#[test]
fn subscribers_hear_versions_in_order_however_many_write() {
    let bench = bench();
    bench.create(json!({"id": "p", "title": "t"}));
    let connection = bench.subscribe("subscription { onUpdatePost { _version } }");
    let backend = &bench.backend;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let query = "mutation { updatePost(input: {id: \"p\", rating: 1}) { _version } }";
                    backend.handle_http(
                        START_MS,
                        &HttpCall::post(KEY, json!({"query": query}).to_string()),
                    );
                }
            });
        }
    });
    let heard: Vec<u64> = bench
        .heard(connection, "onUpdatePost")
        .iter()
        .map(|record| record["_version"].as_u64().unwrap())
        .collect();
    assert_eq!(heard, (2..=161).collect::<Vec<u64>>());
}

/// A subscription under so many names that its message is long.
fn many_names(field: &str, names: usize) -> String {
    let fields: String = (0..names).map(|n| format!("a{n}: title ")).collect();
    format!("subscription {{ {field} {{ {fields} }} }}")
}

#[test]
fn what_waits_for_all_connections_is_bounded_and_the_fullest_is_cut_first() {
    const BOUND: usize = 1_000_000;
    let bench = bench_with_limits(Limits {
        outgoing_total_bytes_max: BOUND,
        ..Limits::default()
    });
    // Each with a message of its own of some 100 KB, and none of them reads.
    let full: Vec<ConnectionId> = (0..30)
        .map(|n| bench.subscribe(&many_names("onCreatePost", 50 + n)))
        .collect();
    let quick = bench.subscribe(ON_CREATE);
    for n in 0..3 {
        bench.create(json!({"id": format!("p{n}"), "title": "x".repeat(2_000)}));
        assert!(bench.backend.hub().outgoing_bytes() <= BOUND);
        // Whoever reads hears all of it.
        assert_eq!(
            bench.heard(quick, "onCreatePost"),
            [json!({"id": format!("p{n}")})]
        );
    }
    let cut = full
        .iter()
        .filter(|id| bench.frames(**id).contains(&json!({"close": 1013})))
        .count();
    assert!((1..30).contains(&cut), "{cut} were cut");
    assert_eq!(bench.backend.hub().tally().slow, cut as u64);
    full.into_iter().for_each(|id| bench.backend.close_connection(id));
    assert_eq!(bench.backend.hub().outgoing_bytes(), 0);
}

#[test]
fn one_message_for_many_is_held_once() {
    let bench = bench();
    let subscription = "subscription { onCreatePost { id title } }";
    let listening: Vec<ConnectionId> = (0..50).map(|_| bench.subscribe(subscription)).collect();
    let before = bench.backend.hub().outgoing_bytes();
    bench.create(json!({"id": "p", "title": "x".repeat(100_000)}));
    let waits = bench.backend.hub().outgoing_bytes() - before;
    assert!((100_000..130_000).contains(&waits), "{waits} bytes wait");
    for id in listening {
        let title = bench.heard(id, "onCreatePost").remove(0)["title"].take();
        assert_eq!(title.as_str().unwrap().len(), 100_000);
    }
    assert_eq!(bench.backend.hub().outgoing_bytes(), 0);
}

#[test]
fn what_is_being_written_counts_until_the_next_is_taken() {
    let bench = bench();
    let connection = bench.subscribe(ON_CREATE);
    bench.create(json!({"id": "p", "title": "t"}));
    let taken = bench.backend.take_some_outgoing(connection, 1);
    assert_eq!(taken.len(), 1);
    assert!(bench.backend.hub().outgoing_bytes() > 0);
    assert!(bench.backend.take_some_outgoing(connection, 1).is_empty());
    assert_eq!(bench.backend.hub().outgoing_bytes(), 0);
}

#[test]
fn the_subscriptions_of_all_connections_are_bounded_together() {
    let bench = bench_with_limits(Limits {
        subscriptions_bytes_max: held_by_one() * 3,
        ..Limits::default()
    });
    let first = bench.subscribe(ON_CREATE);
    let (second, third) = (bench.connect(), bench.connect());
    // Documents of their own, so that nothing is shared.
    let start = |id: ConnectionId| {
        let query = format!("subscription {{ a{}: onCreatePost {{ id }} }}", id.number());
        bench.start(id, "1", &query, Json::Null)
    };
    assert_eq!(start(second)["type"], "start_ack");
    assert_eq!(error_of(&start(third)).0, "LimitExceededError");
    bench.backend.close_connection(first);
    bench.backend.close_connection(second);
    assert_eq!(start(third)["type"], "start_ack");
}

#[test]
fn a_start_is_judged_while_others_use_the_hub() {
    /// Says whether the hub is free while it is asked.
    struct Looking(std::sync::OnceLock<std::sync::Weak<Backend>>, AtomicUsize);
    impl crate::auth::Authorizer for Looking {
        fn authorize(
            &self,
            _: &crate::auth::AuthorizerRequest,
        ) -> Result<crate::auth::AuthorizerAnswer, crate::auth::AuthorizerFault> {
            let backend = self.0.get().unwrap().upgrade().unwrap();
            assert!(backend.hub.try_lock().is_ok(), "the hub is held");
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(crate::auth::AuthorizerAnswer {
                is_authorized: true,
                ..Default::default()
            })
        }
    }
    let looking = Arc::new(Looking(std::sync::OnceLock::new(), AtomicUsize::new(0)));
    let mut config = BackendConfig::with_api_key(KEY);
    config.auth.authorizer = Some(crate::auth::AuthorizerSettings {
        authorizer: looking.clone(),
        ttl_s: 0,
        token_pattern: None,
    });
    let kv = KvStore::in_memory().unwrap();
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, SeededEntropy::new(1)).unwrap());
    assert!(looking.0.set(Arc::downgrade(&backend)).is_ok());
    let connection = backend.open_connection(START_MS, &key_header(), None, silent());
    let data = json!({"query": ON_CREATE}).to_string();
    let payload = json!({"data": data, "extensions": {"authorization": {"authorization": "t"}}});
    let start = json!({"id": "1", "type": "start", "payload": payload});
    backend.frame_in(START_MS, connection, &start.to_string());
    assert_eq!(looking.1.load(Ordering::Relaxed), 1);
}

#[test]
fn what_comes_too_fast_is_not_read() {
    let bench = bench_with_limits(Limits {
        frames_per_second_max: 1,
        ..Limits::default()
    });
    let connection = bench.connect();
    let junk = "[".repeat(100);
    assert!(bench.backend.receive(START_MS, connection, &junk).is_some());
    assert!(bench.backend.receive(START_MS, connection, &junk).is_none());
}
