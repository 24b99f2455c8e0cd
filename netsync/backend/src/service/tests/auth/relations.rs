//! Rules across relations, the modes of models without rules, and what clients see of owners.

use super::*;

const BLOG: &str = "
type Blog @model @auth(rules: [{ allow: public, operations: [read] }, { allow: private }]) {
  id: ID! name: String posts: [Post] @hasMany
}
type Post @model @auth(rules: [{ allow: owner }]) {
  id: ID! title: String blog: Blog @belongsTo notes: [Note] @hasMany
}
type Note @model @auth(rules: [{ allow: groups, groups: [\"Admin\"] }]) { id: ID! text: String post: Post @belongsTo }
";

fn blog() -> Bench {
    let bench = guarded(BLOG);
    bench.data_as(
        Cast::Bob,
        "mutation { createBlog(input: {id: \"b\", name: \"n\"}) { id } }",
        json!({}),
    );
    for (who, id) in [(Cast::Alice, "pa"), (Cast::Bob, "pb")] {
        let create = format!(
            "mutation {{ createPost(input: {{id: \"{id}\", title: \"t\", blogPostsId: \"b\"}}) {{ id }} }}"
        );
        bench.data_as(who, &create, json!({}));
        let create =
            format!("mutation {{ createNote(input: {{id: \"n{id}\", postNotesId: \"{id}\"}}) {{ id }} }}");
        bench.data_as(Cast::Bob, &create, json!({}));
    }
    bench
}

#[test]
fn a_relation_shows_what_the_other_models_rules_allow() {
    let bench = blog();
    let query = "{ getBlog(id: \"b\") { id posts { items { id } nextToken } } }";
    for (who, expected) in [(Cast::Alice, "pa"), (Cast::Bob, "pb")] {
        let blog = bench.data_as(who, query, json!({}));
        assert_eq!(ids(&blog["getBlog"]["posts"]), expected, "{who:?}");
        assert_eq!(blog["getBlog"]["posts"]["nextToken"], Json::Null);
    }
    let body = bench.ask_as(Cast::Key, query, json!({}));
    assert_eq!(body["data"], json!({"getBlog": {"id": "b", "posts": null}}));
    assert_eq!(only_error(&body), refusal("posts", "Blog"));

    let body = bench.ask_as(
        Cast::Alice,
        "{ getPost(id: \"pa\") { id notes { items { id } } blog { id } } }",
        json!({}),
    );
    assert_eq!(
        body["data"]["getPost"],
        json!({"id": "pa", "notes": null, "blog": {"id": "b"}})
    );
    assert_eq!(only_error(&body), refusal("notes", "Post"));

    let notes = "{ listNotes { items { id post { id } } } }";
    let body = bench.ask_as(Cast::Bob, notes, json!({}));
    let items = json!([{"id": "npa", "post": null}, {"id": "npb", "post": {"id": "pb"}}]);
    assert_eq!(body["data"]["listNotes"]["items"], items);
    assert_eq!(only_error(&body), refusal("post", "Note"));
}

#[test]
fn answers_of_mutations_leave_out_what_subscribers_may_not_see() {
    let bench = blog();
    let connection = bench.connect_as(Cast::Alice);
    let query = "subscription { onUpdatePost { id blog { id } blogPostsId notes { items { id } } } }";
    assert_eq!(
        bench.start_as(Cast::Alice, connection, query)["type"],
        "start_ack"
    );
    let update = "mutation { updatePost(input: {id: \"pa\", title: \"x\", _version: 1}) \
                  { id blog { id } blogPostsId notes { items { id } } } }";
    let answer = bench.data_as(Cast::Alice, update, json!({}));
    let expected = json!({"id": "pa", "blog": null, "blogPostsId": "b", "notes": null});
    assert_eq!(answer["updatePost"], expected);
    let heard = bench.messages(connection).pop().unwrap();
    assert_eq!(heard["payload"]["data"]["onUpdatePost"], expected);
}

#[test]
fn a_relation_between_models_of_one_rule_stays_in_answers() {
    let bench = guarded(
        "type Blog @model @auth(rules: [{ allow: private }]) { id: ID! posts: [Post] @hasMany }
         type Post @model @auth(rules: [{ allow: private }]) { id: ID! blog: Blog @belongsTo }",
    );
    bench.data_as(
        Cast::Alice,
        "mutation { createBlog(input: {id: \"b\"}) { id } }",
        json!({}),
    );
    let connection = bench.connect_as(Cast::Bob);
    let query = "subscription { onCreatePost { id blog { id } } }";
    assert_eq!(bench.start_as(Cast::Bob, connection, query)["type"], "start_ack");
    let create = "mutation { createPost(input: {id: \"p\", blogPostsId: \"b\"}) { id blog { id } } }";
    let expected = json!({"id": "p", "blog": {"id": "b"}});
    assert_eq!(
        bench.data_as(Cast::Alice, create, json!({}))["createPost"],
        expected
    );
    let heard = bench.messages(connection).pop().unwrap();
    assert_eq!(heard["payload"]["data"]["onCreatePost"], expected);
}

#[test]
fn models_without_rules_are_open_to_the_default_mode_alone() {
    let sdl = "type Note @model { id: ID! text: String }";
    for mode in [
        AuthMode::ApiKey,
        AuthMode::UserPool,
        AuthMode::Oidc,
        AuthMode::Iam,
        AuthMode::Lambda,
    ] {
        let mut auth = settings(AuthorizerAnswer::default());
        auth.default_mode = mode;
        let config = BackendConfig {
            auth,
            ..BackendConfig::with_api_key(KEY)
        };
        let bench = bench_with(schema(sdl), config);
        for who in Cast::BOUND {
            let own = match who {
                Cast::Key => AuthMode::ApiKey,
                Cast::Alice | Cast::Bob => AuthMode::UserPool,
                Cast::Carol => AuthMode::Oidc,
                Cast::Signed | Cast::Guest | Cast::Root => AuthMode::Iam,
                Cast::Lambda => AuthMode::Lambda,
            };
            let body = bench.ask_as(who, "{ listNotes { items { id } } }", json!({}));
            assert_eq!(body.get("errors").is_none(), own == mode, "{who:?} {mode:?}");
        }
    }
}

#[test]
fn clients_see_the_last_part_of_an_owners_name_and_cannot_write_what_is_not_declared() {
    let bench = guarded("type Note @model @auth(rules: [{ allow: owner }]) { text: String }");
    let create = "mutation { createNote(input: {id: \"n\"}) { id owner } }";
    assert_eq!(
        bench.data_as(Cast::Alice, create, json!({}))["createNote"]["owner"],
        "alice"
    );
    let stored = &bench.backend.records("Note").unwrap()[0];
    assert_eq!(stored.fields["owner"], landfall_core::Value::from("a-1::alice"));
    let list = "{ listNotes(filter: {owner: {eq: \"a-1::alice\"}}) { items { owner } } }";
    let items = bench.data_as(Cast::Alice, list, json!({}))["listNotes"]["items"].take();
    assert_eq!(items, json!([{"owner": "alice"}]));
    let body = bench.ask_as(
        Cast::Alice,
        "mutation { createNote(input: {owner: \"alice\"}) { id } }",
        json!({}),
    );
    assert_eq!(body["data"], Json::Null, "{body}");
    let text = bench.backend.compiled().graphql_text();
    assert!(
        text.contains("onCreateNote(filter: ModelSubscriptionNoteFilterInput, owner: String): Note"),
        "{text}"
    );
}

#[test]
fn a_token_of_a_page_says_nothing_and_gives_nobody_anothers_rows() {
    let bench = guarded("type Note @model @auth(rules: [{ allow: owner }]) { text: String }");
    for (who, prefix) in [(Cast::Alice, "mine"), (Cast::Bob, "theirs")] {
        for number in 0..3 {
            let create = format!("mutation {{ createNote(input: {{id: \"{prefix}-{number}\"}}) {{ id }} }}");
            bench.data_as(who, &create, json!({}));
        }
    }
    let query = "query operation($token: String) { listNotes(limit: 1, nextToken: $token) { items { id } nextToken } }";
    let first = bench.data_as(Cast::Alice, query, json!({}));
    let token = first["listNotes"]["nextToken"].as_str().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains("mine") && !text.contains("theirs"), "{text}");
    let page = bench.data_as(Cast::Bob, query, json!({"token": token}));
    assert_eq!(ids(&page["listNotes"]), "theirs-0");
}

#[test]
fn a_page_goes_on_over_many_hidden_rows() {
    let bench = guarded("type Note @model @auth(rules: [{ allow: owner }]) { text: String }");
    let long = "x".repeat(300 * 1024);
    for number in 0..8 {
        let create =
            "mutation operation($id: ID, $text: String) { createNote(input: {id: $id, text: $text}) { id } }";
        bench.data_as(
            Cast::Bob,
            create,
            json!({"id": format!("h{number}"), "text": long}),
        );
    }
    for id in ["a", "z"] {
        bench.data_as(
            Cast::Alice,
            &format!("mutation {{ createNote(input: {{id: \"{id}\"}}) {{ id }} }}"),
            json!({}),
        );
    }
    let query = "query operation($token: String) { listNotes(nextToken: $token) { items { id } nextToken } }";
    let (mut token, mut seen, mut pages) = (Json::Null, String::new(), 0);
    loop {
        let page = bench.data_as(Cast::Alice, query, json!({"token": token}))["listNotes"].take();
        seen.push_str(&ids(&page));
        pages += 1;
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, "a z");
    assert_eq!(pages, 1, "2.4 MB of others are passed over without a word");
}

#[test]
fn rules_that_cannot_be_applied_are_refused_when_the_backend_is_made() {
    for (sdl, fault) in [
        (
            "type Note @model @auth(rules: [{ allow: groups, groupsField: \"team\" }]) { text: String }",
            "declare it as a String",
        ),
        (
            "type Note @model @auth(rules: [{ allow: owner, ownerField: \"rank\" }]) { rank: Int }",
            "must be a String",
        ),
        (
            "type Note @model @auth(rules: [{ allow: groups, groups: [] }]) { text: String }",
            "must be a list of texts",
        ),
    ] {
        let config = BackendConfig::with_api_key(KEY);
        let kv = KvStore::in_memory().unwrap();
        let made = Backend::new(schema(sdl), config, kv, SeededEntropy::new(1));
        let error = made.err().unwrap_or_else(|| panic!("{sdl}")).to_string();
        assert!(error.contains("`Note`") && error.contains(fault), "{error}");
    }
}
