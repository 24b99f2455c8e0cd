//! Documents that are refused, in AppSync's words, and those that clients of every kind send.

use super::*;
use crate::config::Limits;

/// Message of the only error of a document that is refused.
fn refusal(bench: &Bench, query: &str, variables: Json) -> String {
    let body = bench.ask(query, variables);
    assert_eq!(body["data"], Json::Null, "{body}");
    assert_eq!(body["errors"][0]["path"], Json::Null, "{body}");
    assert!(body["errors"][0].get("errorType").is_none(), "{body}");
    only_error(&body).1
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

/// Documents and the faults found in them.
const INVALID: [(&str, &str); 15] = [
    (
        "{ badfield }",
        "FieldUndefined: Field 'badfield' in type 'Query' is undefined @ 'badfield'",
    ),
    (
        "{ getPost(id: 1) { nope } }",
        "FieldUndefined: Field 'nope' in type 'Post' is undefined @ 'getPost/nope'",
    ),
    (
        "{ getPost(id: 1, x: 2) { id } }",
        "UnknownArgument: Unknown field argument x @ 'getPost'",
    ),
    (
        "{ getPost { id } }",
        "MissingFieldArgument: Missing field argument id @ 'getPost'",
    ),
    (
        "{ getPost(id: 1) { id { x } } }",
        "SubSelectionNotAllowed: Sub selection not allowed on leaf type ID of field id @ 'getPost/id'",
    ),
    (
        "{ getPost(id: 1) { comments } }",
        "SubSelectionRequired: Sub selection required for type ModelCommentConnection of field comments @ 'getPost/comments'",
    ),
    (
        "query($x: ID!) { getPost(id: 1) { id } }",
        "UnusedVariable: Unused variable x",
    ),
    (
        "{ getPost(id: $x) { id } }",
        "UndefinedVariable: Undefined variable x @ 'getPost'",
    ),
    (
        "{ getPost(id: 1) { ...F } }",
        "UndefinedFragment: Undefined fragment F @ 'getPost'",
    ),
    (
        "{ getPost(id: 1) { id } } fragment F on Post { id }",
        "UnusedFragment: Unused fragment F",
    ),
    (
        "{ getPost(id: 1) @nope { id } }",
        "UnknownDirective: Unknown directive nope @ 'getPost'",
    ),
    (
        "query @skip(if: true) { getPost(id: 1) { id } }",
        "MisplacedDirective: Directive skip not allowed here",
    ),
    (
        "{ getPost(id: 1) { ... on Comment { id } } }",
        "InvalidFragmentType: Fragment cannot be spread here as objects of type Post can never be of type Comment @ 'getPost'",
    ),
    (
        "{ getPost(id: 1) { ...F } } fragment F on Comment { id }",
        "InvalidFragmentType: Fragment cannot be spread here as objects of type Post can never be of type Comment @ 'getPost'",
    ),
    (
        "{ ...F } fragment F on Query { ...F }",
        "FragmentCycle: Fragment cycles not allowed",
    ),
];

/// Inputs of `createPost` and what is wrong with them.
const WRONG_LITERALS: [(&str, &str); 7] = [
    (
        "",
        "argument 'input' with value 'ObjectValue{objectFields=[]}' is missing required fields '[title]'",
    ),
    (
        "title: 1",
        "argument 'input.title' with value 'IntValue{value=1}' is not a valid 'String'",
    ),
    (
        "title: \"a\", nope: 1",
        "argument 'input.nope' with value 'IntValue{value=1}' contains a field not in 'CreatePostInput': 'nope'",
    ),
    (
        "title: \"a\", status: GONE",
        "argument 'input.status' with value 'EnumValue{name='GONE'}' is not a valid 'Status'",
    ),
    (
        "title: \"a\", rating: 3000000000",
        "argument 'input.rating' with value 'IntValue{value=3000000000}' is not a valid 'Int'",
    ),
    (
        "title: \"a\", at: \"2019\"",
        "argument 'input.at' with value 'StringValue{value='2019'}' is not a valid 'AWSDateTime'",
    ),
    (
        "title: \"a\", meta: \"{\"",
        "argument 'input.meta' with value 'StringValue{value='{'}' is not a valid 'AWSJSON'",
    ),
];

#[test]
fn invalid_documents_are_refused_in_appsyncs_words() {
    let bench = bench();
    for (query, expected) in INVALID {
        assert_eq!(
            refusal(&bench, query, Json::Null),
            format!("Validation error of type {expected}"),
            "{query}"
        );
    }
    for (input, expected) in WRONG_LITERALS {
        let query = format!("mutation {{ createPost(input: {{{input}}}) {{ id }} }}");
        let expected = format!("Validation error of type WrongType: {expected} @ 'createPost'");
        assert_eq!(refusal(&bench, &query, Json::Null), expected, "{input}");
    }
    let mismatch = refusal(&bench, "query($x: Int) { getPost(id: $x) { id } }", Json::Null);
    assert!(
        mismatch.starts_with("Validation error of type VariableTypeMismatch"),
        "{mismatch}"
    );
    let unknown = bench.ask("query($x: Nope) { getPost(id: $x) { id } }", Json::Null);
    assert_eq!(
        unknown["errors"][0]["message"],
        "Validation error of type UnknownType: Unknown type Nope"
    );
}

#[test]
fn refusals_name_their_place_with_a_source_name_of_null() {
    let body = bench().ask("query {\n  badfield\n}", Json::Null);
    assert_eq!(
        body["errors"][0]["locations"],
        json!([{"line": 2, "column": 3, "sourceName": null}])
    );
}

/// Members of an input of `createPost` beside its title, and what is wrong with them.
const WRONG_VARIABLES: [(&str, &str); 8] = [
    (
        r#"{"title": null}"#,
        "Variable 'input' has coerced Null value for NonNull type 'String!'",
    ),
    (
        r#"{"x": 1}"#,
        "The variables input contains a field name 'x' that is not defined for input object type 'CreatePostInput'",
    ),
    (
        r#"{"rating": 1.5}"#,
        "Variable 'input' has an invalid value. Expected type 'Int' but was 'Double'.",
    ),
    (
        r#"{"rating": 3000000000}"#,
        "Variable 'input' has an invalid value. Expected type 'Int' but was 'Integer'.",
    ),
    (
        r#"{"status": "GONE"}"#,
        "Variable 'input' has an invalid value. Invalid input for Enum 'Status'. No value found for name 'GONE'",
    ),
    (
        r#"{"at": "2019"}"#,
        "Variable 'input' has an invalid value. Unable to parse `2019` as a valid DateTime Object.",
    ),
    (
        r#"{"meta": {"a": 1}}"#,
        r#"Variable 'input' has an invalid value. Unable to parse `{"a":1}` as a valid JSON."#,
    ),
    (
        r#"{"where": {}}"#,
        "Variable 'input' has coerced Null value for NonNull type 'Float!'",
    ),
];

#[test]
fn variables_that_do_not_fit_are_refused_in_appsyncs_words() {
    let bench = bench();
    let create = "mutation($input: CreatePostInput!) { createPost(input: $input) { id } }";
    for (more, expected) in WRONG_VARIABLES {
        let mut input = json!({"title": "a"});
        let more: Json = serde_json::from_str(more).unwrap();
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(
            refusal(&bench, create, json!({"input": input})),
            expected,
            "{more}"
        );
    }
    let list = refusal(&bench, create, json!({"input": [1]}));
    assert_eq!(
        list,
        "Variable 'input' has an invalid value. Expected type 'Map' but was 'List'."
    );
    let get = "query($id: ID!) { getPost(id: $id) { id } }";
    for missing in [json!({}), json!({"id": null})] {
        let expected = "Variable 'id' has coerced Null value for NonNull type 'ID!'";
        assert_eq!(refusal(&bench, get, missing), expected);
    }
    let truth = refusal(&bench, get, json!({"id": true}));
    assert_eq!(
        truth,
        "Variable 'id' has an invalid value. Expected type 'ID' but was 'Boolean'."
    );
}

#[test]
fn unknown_input_fields_are_reported_without_a_place() {
    let create = "mutation($input: CreatePostInput!) { createPost(input: $input) { id } }";
    let body = bench().ask(create, json!({"input": {"title": "a", "x": 1}}));
    assert_eq!(body["errors"][0]["locations"], Json::Null);
}

#[test]
fn what_is_no_request_has_status_400() {
    let bench = bench();
    let two = "query a { listPosts { nextToken } } query b { getPost(id: 1) { id } }";
    for (request, error_type) in [
        (json!({}), "MalformedHttpRequestException"),
        (json!({"query": "{"}), "MalformedHttpRequestException"),
        (json!({"query": two}), "BadRequestException"),
        (json!({"query": two, "operationName": "c"}), "BadRequestException"),
    ] {
        let (status, body) = bench.post(&request);
        assert_eq!(
            (status, only_error(&body).0.as_str()),
            (400, error_type),
            "{request}"
        );
    }
    let chosen = json!({"query": two, "operationName": "b"});
    assert_eq!(bench.post(&chosen), (200, json!({"data": {"getPost": null}})));
}

#[test]
fn documents_out_of_bounds_are_refused() {
    let limits = Limits {
        query_depth_max: 4,
        query_fields_max: 40,
        root_fields_max: 3,
        ..Limits::default()
    };
    let bench = bench_with_limits(limits);
    let deep = "{ getPost(id: 1) { comments { items { post { id } } } } }";
    assert!(refusal(&bench, deep, Json::Null).starts_with("Query depth limit exceeded"));
    let roots: Vec<String> = (0..4).map(|n| format!("a{n}: getPost(id: 1) {{ id }}")).collect();
    assert!(
        refusal(&bench, &format!("{{ {} }}", roots.join(" ")), Json::Null).contains("too many root fields")
    );
    // Fragments that double with each level: short, but a thousand fields once unfolded.
    let doubling: Vec<String> = (0..10)
        .map(|n| {
            format!(
                "fragment F{n} on Post {{ a{n}: id ...F{next} ...F{next} }}",
                next = n + 1
            )
        })
        .collect();
    let bomb = format!(
        "{{ getPost(id: 1) {{ ...F0 }} }} {} fragment F10 on Post {{ id }}",
        doubling.join(" ")
    );
    assert!(refusal(&bench, &bomb, Json::Null).contains("too many fields"));
}

#[test]
fn a_request_runs_only_so_many_resolvers() {
    let bench = bench_with_limits(Limits {
        resolvers_max: 3,
        ..Limits::default()
    });
    for id in ["p1", "p2", "p3"] {
        bench.create(json!({"id": id, "title": "t"}));
    }
    let body = bench.ask(
        "{ listPosts { items { id comments { nextToken } } } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "ResolverLimitExceeded");
    let items = &body["data"]["listPosts"]["items"];
    assert_eq!(items[1], json!({"id": "p2", "comments": {"nextToken": null}}));
    assert_eq!(items[2], json!({"id": "p3", "comments": null}));
}

#[test]
fn a_request_reads_only_so_much() {
    let bench = bench_with_limits(Limits {
        read_bytes_max: 30_000,
        ..Limits::default()
    });
    bench.create(json!({"id": "p", "title": "x".repeat(20_000)}));
    let body = bench.ask(
        "{ a: listPosts { items { id } } b: listPosts { items { id } } }",
        Json::Null,
    );
    assert_eq!(only_error(&body).0, "ResponseSizeExceeded");
    assert_eq!(body["data"], json!({"a": {"items": [{"id": "p"}]}, "b": null}));
}

#[test]
fn introspection_is_answered() {
    let query = "{ __schema { queryType { name } } __type(name: \"Post\") { fields { name } } }";
    let data = bench().data(query, Json::Null);
    assert_eq!(data["__schema"]["queryType"]["name"], "Query");
    let fields = data["__type"]["fields"].as_array().unwrap();
    assert!(
        fields.iter().any(|field| field["name"] == "_lastChangedAt"),
        "{fields:?}"
    );
}

#[test]
fn the_document_styles_of_all_clients_are_understood() {
    let bench = bench();
    // JavaScript: operation name `operation`, variables for everything.
    let post = bench.create(json!({"id": "p1", "title": "a"}));
    assert_eq!(post["_deleted"], Json::Null);
    // Android: only the variables in use, nested has-many, variables null.
    let create = "mutation CreateComment($input: CreateCommentInput!) { createComment(input: $input) \
                  { __typename _deleted _lastChangedAt _version content id post { id _deleted } } }";
    let comment = bench.data(create, json!({"input": {"content": "c", "postCommentsId": "p1"}}));
    assert_eq!(
        comment["createComment"]["post"],
        json!({"id": "p1", "_deleted": null})
    );
    let sync = "query SyncPosts { syncPosts { items { __typename id \
                comments { items { content } nextToken startedAt } } nextToken startedAt } }";
    let sync = bench.data(sync, Json::Null);
    assert_eq!(
        sync["syncPosts"]["items"][0]["comments"],
        json!({"items": [{"content": "c"}], "nextToken": null, "startedAt": null})
    );
    // Swift: fragments and `__typename`.
    let swift = "query GetPost($id: ID!) { getPost(id: $id) { ...Post } } \
                 fragment Post on Post { id title __typename _version _deleted _lastChangedAt }";
    assert_eq!(
        bench.data(swift, json!({"id": "p1"}))["getPost"]["__typename"],
        "Post"
    );
    // Aliases, directives, inline fragments.
    let odd = "query($no: Boolean!) { one: getPost(id: \"p1\") { key: id \
               ... on Post { title @skip(if: $no) rating @include(if: true) } } }";
    assert_eq!(
        bench.data(odd, json!({"no": true})),
        json!({"one": {"key": "p1", "rating": 0}})
    );
}

#[test]
fn subscriptions_do_not_run_over_http_and_mutations_not_with_get() {
    let bench = bench();
    let body = bench.ask("subscription { onCreatePost { id } }", Json::Null);
    assert!(only_error(&body).1.contains("realtime channel"), "{body}");
    let get = |query: &str| HttpCall {
        get: true,
        query: Some(format!("query={query}")),
        ..HttpCall::post(KEY, "")
    };
    assert_eq!(
        bench
            .backend
            .handle_http(START_MS, &get("{listPosts{nextToken}}"))
            .status,
        200
    );
    assert_eq!(
        bench
            .backend
            .handle_http(START_MS, &get("mutation{deletePost(input:{id:1}){id}}"))
            .status,
        400
    );
}

#[test]
fn the_document_cache_is_bounded() {
    let bench = bench_with_limits(Limits {
        documents_cached_max: 2,
        ..Limits::default()
    });
    for n in 0..5 {
        bench.data(&format!("{{ a{n}: listPosts {{ nextToken }} }}"), Json::Null);
    }
    assert_eq!(bench.backend.documents.len(), 2);
}

#[test]
fn the_document_cache_is_bounded_by_what_documents_take_and_not_by_their_number_alone() {
    let bench = bench_with_limits(Limits {
        documents_cached_bytes_max: 450_000,
        ..Limits::default()
    });
    let query =
        |n: usize, fields: usize| format!("{{ a{n}: listPosts {{ items {{ {} }} }} }}", "id ".repeat(fields));
    // A field of three letters takes some 250 bytes, and some 200 more once it is worked out what is asked for.
    for n in 0..5 {
        bench.data(&query(n, 400), Json::Null);
    }
    assert_eq!(bench.backend.documents.len(), 2);
    // What alone is more than may be kept does not drive out the others.
    bench.data(&query(5, 2_000), Json::Null);
    assert_eq!(bench.backend.documents.len(), 2);
    for n in 0..5 {
        bench.data(&query(n, 1), Json::Null);
    }
    assert_eq!(bench.backend.documents.len(), 2 + 5);
}

#[test]
fn what_a_call_takes_is_its_document_its_text_and_its_variables() {
    let bench = bench();
    let held = |query: &str, variables: Json| {
        let request = json!({"query": query, "variables": variables}).to_string();
        let job = bench.backend.prepare(START_MS, &HttpCall::post(KEY, request));
        job.unwrap().held_bytes()
    };
    let (short, long) = ("p", "p".repeat(10_001));
    let literal = |id: &str| held(&format!("{{ getPost(id: \"{id}\") {{ id }} }}"), Json::Null);
    // A text is one token, however long it is, and is kept twice.
    assert_eq!(literal(&long) - literal(short), 2 * 10_000);
    let query = "query($id: ID!) { getPost(id: $id) { id } }";
    let variable = |id: &str| held(query, json!({"id": id}));
    assert_eq!(variable(&long) - variable(short), 10_000);
    let filtered = "query($f: ModelPostFilterInput) { listPosts(filter: $f) { nextToken } }";
    let by = |field: &str| held(filtered, json!({"f": {field: {"eq": "x"}}}));
    assert_eq!(by("title") - by("id"), "title".len() - "id".len());
    let wide = |fields: usize| {
        held(
            &format!("{{ listPosts {{ items {{ {} }} }} }}", "id ".repeat(fields)),
            Json::Null,
        )
    };
    assert!(wide(101) - wide(1) > 100 * 200);
}
