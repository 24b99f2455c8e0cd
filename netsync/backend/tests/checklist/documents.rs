//! Documents: the styles of the clients, and those that nobody should send.

use landfall_backend::{BackendConfig, Limits};
use serde_json::{Value as Json, json};

use crate::support::{Bench, KEY, only_error};

const SDL: &str = "type Blog @model { name: String  posts: [Post] @hasMany(limit: 2) }
type Post @model { title: String  blog: Blog @belongsTo }";

fn bench() -> Bench {
    let bench = Bench::of(SDL);
    bench.data(
        "mutation { createBlog(input: {id: \"b\", name: \"n\"}) { id } }",
        Json::Null,
    );
    for n in 0..3 {
        let create =
            format!("mutation {{ createPost(input: {{id: \"p{n}\", blogPostsId: \"b\"}}) {{ id }} }}");
        bench.data(&create, Json::Null);
    }
    bench
}

#[test]
fn all_four_styles_of_clients_are_understood() {
    let bench = bench();
    for (query, variables) in [
        (
            "query operation($limit: Int, $nextToken: String, $lastSync: AWSTimestamp, $filter: ModelPostFilterInput) { \
             syncPosts(limit: $limit, nextToken: $nextToken, lastSync: $lastSync, filter: $filter) { items { id title \
             _version _lastChangedAt _deleted blog { id _deleted } } nextToken startedAt } }",
            json!({"limit": 1000, "lastSync": 0, "nextToken": null}),
        ),
        (
            "query SyncPosts($limit: Int) { syncPosts(limit: $limit) { items { __typename _deleted _lastChangedAt _version \
             blog { id posts { items { id } nextToken startedAt } } id } nextToken startedAt } }",
            json!({"limit": 1000}),
        ),
        (
            "query SyncPosts($lastSync: AWSTimestamp, $limit: Int, $nextToken: String) { syncPosts(lastSync: $lastSync, \
             limit: $limit, nextToken: $nextToken) { items { id title __typename _version _deleted _lastChangedAt } nextToken startedAt } }",
            json!({"limit": 1000, "lastSync": 1}),
        ),
        (
            "query SyncPosts($limit: Int) { syncPosts(limit: $limit) { ...Page } } fragment Page on ModelPostConnection { items { key: id } }",
            Json::Null,
        ),
    ] {
        let page = bench.data(query, variables)["syncPosts"].take();
        assert_eq!(page["items"].as_array().unwrap().len(), 3, "{page}");
    }
}

#[test]
fn a_relation_has_the_page_limit_that_its_directive_says() {
    let bench = bench();
    let page = |arguments: &str| {
        let query = format!("{{ getBlog(id: \"b\") {{ posts{arguments} {{ items {{ id }} nextToken }} }} }}");
        let mut data = bench.data(&query, Json::Null);
        let page = data["getBlog"]["posts"].take();
        (
            page["items"].as_array().unwrap().len(),
            page["nextToken"].is_string(),
        )
    };
    assert_eq!(page(""), (2, true));
    assert_eq!(page("(limit: 10)"), (3, false));
    assert_eq!(page("(limit: 1)"), (1, true));
}

/// The message of a request that is refused without being run.
#[track_caller]
fn refusal(query: &str, variables: Json) -> String {
    let bench = bench();
    let mut request = json!({"query": query});
    request["variables"] = variables;
    let (status, body) = bench.post(&request);
    assert!(status == 200 || status == 400, "{status} {body}");
    assert_eq!(body.get("data").unwrap_or(&Json::Null), &Json::Null);
    let message = body["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(
        message.len() < 2_000,
        "an answer is not as long as the question: {}",
        message.len()
    );
    message
}

#[test]
fn a_document_that_nests_without_end_is_refused() {
    let relations = |depth: usize| {
        format!(
            "{{ listPosts {{ items {{ {} id {} }} }} }}",
            "blog { posts { items { ".repeat(depth),
            "} } }".repeat(depth)
        )
    };
    assert!(refusal(&relations(20), Json::Null).starts_with("Query depth limit exceeded"));
    // As deep as a request can be long.
    for depth in [1_000, 30_000] {
        refusal(&relations(depth), Json::Null);
        refusal(&"{".repeat(depth), Json::Null);
        refusal(
            &format!(
                "{{ listPosts(filter: {}{}) {{ nextToken }} }}",
                "{not: ".repeat(depth),
                "}".repeat(depth)
            ),
            Json::Null,
        );
        refusal(
            &format!(
                "query($a: {}Int{}) {{ listPosts {{ nextToken }} }}",
                "[".repeat(depth),
                "]".repeat(depth)
            ),
            Json::Null,
        );
    }
}

#[test]
fn fragments_that_contain_themselves_or_multiply_are_refused() {
    let own = "{ listPosts { ...A } } fragment A on ModelPostConnection { ...B } fragment B on ModelPostConnection { ...A }";
    assert!(
        refusal(own, Json::Null).starts_with("Validation error"),
        "{}",
        refusal(own, Json::Null)
    );
    let mut bomb = "{ listPosts { items { ...F0 } } }".to_owned();
    for n in 0..30 {
        let next = n + 1;
        bomb += &format!(
            " fragment F{n} on Post {{ a{n}: blog {{ posts {{ items {{ ...F{next} }} }} }} b{n}: blog {{ posts {{ items {{ ...F{next} }} }} }} }}"
        );
    }
    bomb += " fragment F30 on Post { id }";
    let message = refusal(&bomb, Json::Null);
    assert!(
        message.starts_with("Query depth limit") || message.starts_with("Query selects too many"),
        "{message}"
    );
}

#[test]
fn thousands_of_aliases_are_refused() {
    let aliases =
        |count: usize, field: &str| -> String { (0..count).map(|n| format!("a{n}: {field} ")).collect() };
    let roots = format!("{{ {} }}", aliases(150, "listPosts { nextToken }"));
    let message = refusal(&roots, Json::Null);
    assert!(message.starts_with("Query has too many root fields"), "{message}");
    for fields in [
        format!("{{ listPosts {{ items {{ {} }} }} }}", aliases(8_000, "id")),
        // Spread over fragments they are as many.
        format!(
            "{{ a: listPosts {{ items {{ ...F }} }} b: listPosts {{ items {{ ...F }} }} }} fragment F on Post {{ {} }}",
            aliases(600, "id")
        ),
        // Each within introspection asks for all types again.
        format!("{{ __schema {{ {} }} }}", aliases(60, "types { name }")),
    ] {
        let message = refusal(&fields, Json::Null);
        assert!(message.starts_with("Query uses too many aliases"), "{message}");
    }
    let some = format!("{{ listPosts {{ items {{ {} }} }} }}", aliases(900, "id"));
    bench().data(&some, Json::Null);
    assert_eq!(
        refusal(
            &format!("{{ listPosts {{ items {{ {} }} }} }}", aliases(50_000, "id")),
            Json::Null
        ),
        "Unable to parse GraphQL query."
    );
}

#[test]
fn a_request_that_is_too_long_is_refused_before_it_is_read() {
    let bench = bench();
    let (status, body) = bench.post(&json!({"query": "x".repeat(1024 * 1024)}));
    assert_eq!(
        (status, only_error(&body).0.as_str()),
        (413, "RequestEntityTooLargeException")
    );
}

#[test]
fn a_filter_with_more_operators_than_dynamodb_takes_is_refused() {
    let bench = bench();
    let filter = |count: usize| json!({"or": (0..count).map(|n| json!({"title": {"eq": n.to_string()}})).collect::<Vec<_>>()});
    let list = "query($f: ModelPostFilterInput) { listPosts(filter: $f) { items { id } } }";
    bench.data(list, json!({"f": filter(300)}));
    let (kind, message) = only_error(&bench.ask(list, json!({"f": filter(301)})));
    assert_eq!(kind, "DynamoDbException");
    assert!(
        message.starts_with(
            "Invalid FilterExpression: The expression contains too many operators; operator count: 301"
        ),
        "{message}"
    );
    let sync = "query($f: ModelPostFilterInput) { syncPosts(filter: $f) { items { id } } }";
    assert_eq!(
        only_error(&bench.ask(sync, json!({"f": filter(301)}))).0,
        "DynamoDbException"
    );
    let update = "mutation($c: ModelPostConditionInput) { updatePost(input: {id: \"p0\", _version: 1}, condition: $c) { id } }";
    let (_, message) = only_error(&bench.ask(update, json!({"c": filter(301)})));
    assert!(message.starts_with("Invalid ConditionExpression"), "{message}");
    assert_eq!(bench.backend.changes("Post").unwrap().len(), 3);
}

#[test]
fn a_request_runs_only_so_many_resolvers() {
    let limits = Limits {
        resolvers_max: 3,
        ..Limits::default()
    };
    let bench = Bench::new(
        SDL,
        BackendConfig {
            limits,
            ..BackendConfig::with_api_key(KEY)
        },
    );
    bench.data("mutation { createBlog(input: {id: \"b\"}) { id } }", Json::Null);
    for n in 0..5 {
        let create =
            format!("mutation {{ createPost(input: {{id: \"p{n}\", blogPostsId: \"b\"}}) {{ id }} }}");
        bench.data(&create, Json::Null);
    }
    let body = bench.ask("{ listPosts { items { blog { id } } } }", Json::Null);
    let refused = body["errors"].as_array().unwrap();
    assert!(
        refused
            .iter()
            .all(|error| error["errorType"] == "ResolverLimitExceeded"),
        "{body}"
    );
    assert_eq!(refused.len(), 3, "the list and two of five relations were read");
}

#[test]
fn validation_speaks_with_appsyncs_words() {
    for (query, message) in [
        (
            "{ badfield }",
            "Validation error of type FieldUndefined: Field 'badfield' in type 'Query' is undefined @ 'badfield'",
        ),
        (
            "{ getPost(id: \"a\", x: 1) { id } }",
            "Validation error of type UnknownArgument: Unknown field argument x @ 'getPost'",
        ),
        (
            "{ getPost { id } }",
            "Validation error of type MissingFieldArgument: Missing field argument id @ 'getPost'",
        ),
        (
            "{ getPost(id: \"a\") }",
            "Validation error of type SubSelectionRequired: Sub selection required for type Post of field getPost @ 'getPost'",
        ),
        (
            "{ getPost(id: \"a\") { id { x } } }",
            "Validation error of type SubSelectionNotAllowed: Sub selection not allowed on leaf type ID of field id @ 'getPost/id'",
        ),
        (
            "query($a: Nope) { listPosts { nextToken } }",
            "Validation error of type UnknownType: Unknown type Nope",
        ),
    ] {
        let found = refusal(query, Json::Null);
        assert_eq!(found, message);
    }
}

#[test]
fn a_key_condition_that_cannot_be_used_selects_nothing_instead_of_everything() {
    let bench = Bench::of(
        "type Note @model { shelf: ID! @primaryKey(sortKeyFields: [\"at\"]) at: Int! \
         x: String @index(name: \"byX\", sortKeyFields: [\"f\"], queryField: \"byX\") f: Int }",
    );
    for at in 0..3 {
        let create = format!(
            "mutation {{ createNote(input: {{shelf: \"s\", at: {at}, x: \"a\", f: {at}}}) {{ at }} }}"
        );
        bench.data(&create, Json::Null);
    }
    for list in ["listNotes(shelf: \"s\", at: ", "byX(x: \"a\", f: "] {
        for condition in [
            "{between: [1]}",
            "{between: [1, 2, 3]}",
            "{between: [null, null]}",
            "{eq: 1, gt: 0}",
        ] {
            let body = bench.ask(
                &format!("{{ {list}{condition}) {{ items {{ at }} }} }}"),
                Json::Null,
            );
            let (error_type, message) = only_error(&body);
            assert_eq!(error_type, "DynamoDbException", "{condition}: {body}");
            assert!(message.starts_with("Invalid KeyConditionExpression"), "{message}");
        }
        for (condition, count) in [("{eq: 1, gt: null}", 1), ("{}", 3), ("{between: [1, 2]}", 2)] {
            let data = bench.data(
                &format!("{{ {list}{condition}) {{ items {{ at }} }} }}"),
                Json::Null,
            );
            let page = data.as_object().unwrap().values().next().unwrap();
            assert_eq!(page["items"].as_array().unwrap().len(), count, "{condition}");
        }
    }
}

#[test]
fn keys_are_no_longer_than_those_of_dynamodb() {
    let bench = Bench::of(
        "type Note @model { shelf: ID! @primaryKey(sortKeyFields: [\"place\"]) place: String! \
         x: String @index(name: \"byX\", queryField: \"byX\") }",
    );
    let create = "mutation($i: CreateNoteInput!) { createNote(input: $i) { place } }";
    let long = |length: usize| "k".repeat(length);
    for (shelf, place, x, is_taken) in [
        (2_048, 1_024, 5_000, true),
        (2_049, 10, 10, false),
        (10, 1_025, 10, false),
    ] {
        let input = json!({"shelf": long(shelf), "place": long(place), "x": long(x)});
        let body = bench.ask(create, json!({"i": input}));
        assert_eq!(body.get("errors").is_none(), is_taken, "{shelf} {place} {x}");
        if !is_taken {
            let (error_type, message) = only_error(&body);
            assert_eq!(error_type, "DynamoDbException");
            assert!(message.contains("exceeded the maximum size limit"), "{message}");
        }
    }
}
