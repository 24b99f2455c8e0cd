//! What one small request may cost: its answer, its arguments, what it writes, and how long it runs for nobody.

use landfall_backend::{BackendConfig, HttpCall, Limits};
use serde_json::{Value as Json, json};

use crate::support::{Bench, KEY, START_MS, only_error};

const SDL: &str = "type Post @model { title: String  tags: [String]  parts: [Part]  blog: Blog @belongsTo }
type Part { text: String }
type Blog @model { name: String  posts: [Post] @hasMany }";

/// As long as a record may be, nearly.
const LONG: usize = 390 * 1024;

/// Some of them, and the most that their answers may have.
const ROWS: usize = 50;

fn bench(limits: Limits) -> Bench {
    Bench::new(
        SDL,
        BackendConfig {
            limits,
            ..BackendConfig::with_api_key(KEY)
        },
    )
}

fn with_rows(limits: Limits) -> Bench {
    let bench = bench(limits);
    bench.data("mutation { createBlog(input: {id: \"b\"}) { id } }", Json::Null);
    for n in 0..ROWS {
        let create = format!(
            "mutation {{ createPost(input: {{id: \"p{n}\", blogPostsId: \"b\", parts: [{{text: \"x\"}}, {{text: \"y\"}}]}}) {{ id }} }}"
        );
        bench.data(&create, Json::Null);
    }
    bench
}

fn aliases(count: usize, field: &str) -> String {
    (0..count).map(|n| format!("a{n}: {field} ")).collect()
}

/// The reply to a request as it is sent, whatever it is.
fn body_of(bench: &Bench, query: &str, variables: Json) -> Vec<u8> {
    let mut request = json!({"query": query});
    request["variables"] = variables;
    let call = HttpCall::post(KEY, request.to_string());
    bench.backend.handle_http(START_MS, &call).body.to_vec()
}

/// Asserts that a query is answered with one error and nothing else.
#[track_caller]
fn refused_whole(bench: &Bench, query: &str, variables: Json, error_type: &str) {
    let body = body_of(bench, query, variables);
    assert!(body.len() < 1_000, "the refusal has {} bytes", body.len());
    let body: Json = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["data"], Json::Null, "{body}");
    assert_eq!(only_error(&body).0, error_type, "{body}");
}

#[test]
fn one_long_field_under_many_names_is_not_answered_many_times() {
    let bench = bench(Limits::default());
    let create = "mutation($t: String) { createPost(input: {id: \"p\", title: $t}) { id } }";
    bench.data(create, json!({"t": "x".repeat(LONG)}));
    let query = |count| format!("{{ getPost(id: \"p\") {{ {} }} }}", aliases(count, "title"));
    refused_whole(&bench, &query(900), Json::Null, "ResponseSizeExceeded");
    let answer = bench.data(&query(10), Json::Null);
    assert_eq!(answer["getPost"].as_object().unwrap().len(), 10);
}

#[test]
fn rows_by_names_by_roots_are_bounded_together() {
    let limits = Limits {
        answer_bytes_max: 1_000_000,
        ..Limits::default()
    };
    let bench = with_rows(limits);
    let list = |roots: usize, inner: &str| {
        let fields: String = (0..roots)
            .map(|n| format!("r{n}: listPosts {{ items {{ {inner} }} }} "))
            .collect();
        format!("{{ {fields} }}")
    };
    for inner in [
        aliases(9, "title"),
        // Nobody is asked for the name of a type, and it is paid for all the same.
        aliases(9, "__typename"),
        aliases(4, "parts { text }"),
        aliases(4, "blog { id }"),
        "blog { posts { items { id } } }".to_owned(),
    ] {
        refused_whole(&bench, &list(90, &inner), Json::Null, "ResponseSizeExceeded");
        bench.data(&list(1, &inner), Json::Null);
    }
}

#[test]
fn errors_are_part_of_the_answer() {
    let limits = Limits {
        answer_bytes_max: 20_000,
        resolvers_max: 1,
        ..Limits::default()
    };
    // The list is the one read that is allowed, so every row has an error.
    let bench = with_rows(limits);
    let query = format!("{{ listPosts {{ items {{ {} }} }} }}", aliases(8, "blog { id }"));
    refused_whole(&bench, &query, Json::Null, "ResponseSizeExceeded");
}

#[test]
fn a_variable_is_put_in_only_so_often() {
    let bench = bench(Limits::default());
    let long = "x".repeat(900 * 1024);
    let uses = |count: usize, text: &str| text.repeat(count);
    let tags = format!(
        "mutation($v: String) {{ createPost(input: {{tags: [{}]}}) {{ id }} }}",
        uses(10_000, "$v ")
    );
    let filter = format!(
        "query($v: String) {{ listPosts(filter: {{or: [{}]}}) {{ nextToken }} }}",
        uses(2_500, "{title: {eq: $v}} ")
    );
    let gets = format!(
        "query($v: ID!) {{ {} }}",
        (0..90)
            .map(|n| format!("a{n}: getPost(id: $v) {{ id }} "))
            .collect::<String>()
    );
    for query in [&tags, &filter, &gets] {
        let body: Json = serde_json::from_slice(&body_of(&bench, query, json!({"v": long}))).unwrap();
        let message = only_error(&body).1;
        assert!(message.starts_with("The arguments are longer than"), "{message}");
    }
    let twice = "query($v: ID!) { a: getPost(id: $v) { id } b: getPost(id: $v) { id } }";
    bench.data(twice, json!({"v": "none"}));
}

#[test]
fn the_arguments_of_relations_are_counted_for_each_record() {
    let limits = Limits {
        arguments_bytes_max: 20_000,
        ..Limits::default()
    };
    let bench = with_rows(limits);
    let query = "query($v: String) { listPosts { items { blog { posts(filter: {title: {eq: $v}}) { nextToken } } } } }";
    bench.data(query, json!({"v": "x".repeat(100)}));
    refused_whole(
        &bench,
        query,
        json!({"v": "x".repeat(1_000)}),
        "RequestSizeExceeded",
    );
}

#[test]
fn a_mutation_whose_answer_is_too_long_took_effect_and_is_told_to_nobody_in_part() {
    let bench = bench(Limits::default());
    let listening = bench.listen(&["onCreatePost { id title }"]);
    let query = format!(
        "mutation($t: String) {{ one: createPost(input: {{id: \"a\", title: $t}}) {{ id title }} \
         two: createPost(input: {{id: \"b\", title: $t}}) {{ id {} }} three: createPost(input: {{id: \"c\"}}) {{ id }} }}",
        aliases(900, "title")
    );
    let body: Json =
        serde_json::from_slice(&body_of(&bench, &query, json!({"t": "x".repeat(100_000)}))).unwrap();
    assert_eq!(body["data"]["one"]["id"], "a");
    assert_eq!(
        (&body["data"]["two"], &body["data"]["three"]),
        (&Json::Null, &Json::Null)
    );
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    for (error, path) in errors.iter().zip(["three", "two"]) {
        assert_eq!(error["path"], json!([path]));
        assert_eq!(error["errorType"], "ResponseSizeExceeded");
    }
    let heard = bench.heard(listening);
    assert_eq!(heard.len(), 1, "half a record is no record");
    // What was begun is there, what was not is not.
    let there = bench.data(
        "{ a: getPost(id: \"a\") { id } b: getPost(id: \"b\") { id } c: getPost(id: \"c\") { id } }",
        Json::Null,
    );
    assert_eq!(there, json!({"a": {"id": "a"}, "b": {"id": "b"}, "c": null}));
}

#[test]
fn a_subscription_under_many_names_makes_no_long_message() {
    let limits = Limits {
        // The tests' subscriptions are called by their documents.
        subscription_id_bytes_max: 100_000,
        ..Limits::default()
    };
    let bench = bench(limits);
    let listening = bench.listen(&[&format!("onCreatePost {{ {} }}", aliases(450, "title"))]);
    let create = "mutation($t: String) { createPost(input: {id: \"p\", title: $t}) { title } }";
    bench.data(create, json!({"t": "x".repeat(LONG)}));
    assert_eq!(bench.heard(listening).len(), 0);
    assert_eq!(bench.backend.oversize_messages(), 1);
    bench.data(
        "mutation { createPost(input: {id: \"q\", title: \"t\"}) { title } }",
        Json::Null,
    );
    assert_eq!(bench.heard(listening).len(), 1);
}

#[test]
fn a_request_ends_when_nobody_waits_for_it() {
    let bench = with_rows(Limits::default());
    let job_of = |query: &str| {
        let call = HttpCall::post(KEY, json!({"query": query}).to_string());
        bench.backend.prepare(START_MS, &call).unwrap()
    };
    let query = job_of("{ listPosts { items { id } } }");
    query.caller_gone().note();
    let body: Json = serde_json::from_slice(&bench.backend.run_query(START_MS, &query).body).unwrap();
    assert_eq!(only_error(&body).1, "Execution timed out.");
    let mutation = job_of("mutation { createPost(input: {id: \"late\"}) { id } }");
    mutation.caller_gone().note();
    let replies = bench.backend.run_mutations(START_MS, &[mutation]);
    let body: Json = serde_json::from_slice(&replies[0].body).unwrap();
    assert_eq!(only_error(&body).1, "Execution timed out.");
    let late = bench.data("{ getPost(id: \"late\") { id } }", Json::Null);
    assert_eq!(late["getPost"], Json::Null);
}

#[test]
fn one_request_writes_only_so_much() {
    let limits = Limits {
        written_bytes_max: 250_000,
        ..Limits::default()
    };
    let bench = bench(limits);
    let query = format!(
        "mutation($t: String) {{ {} }}",
        (0..5)
            .map(|n| format!("m{n}: createPost(input: {{id: \"p{n}\", title: $t}}) {{ id }} "))
            .collect::<String>()
    );
    let body = bench.ask(&query, json!({"t": "x".repeat(100_000)}));
    // Each is written twice: the record and its change. The second begins within the bound.
    let made: Vec<bool> = (0..5)
        .map(|n| body["data"][format!("m{n}")].is_object())
        .collect();
    assert_eq!(made, [true, true, false, false, false], "{body}");
    assert_eq!(body["errors"][0]["errorType"], "WriteSizeExceeded");
    assert_eq!(bench.backend.changes("Post").unwrap().len(), 2);
    // The next request has an account of its own.
    bench.data(
        "mutation($t: String) { createPost(input: {id: \"p9\", title: $t}) { id } }",
        json!({"t": "x"}),
    );
}
