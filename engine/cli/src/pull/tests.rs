//! What is pulled from an API makes the same API again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_backend::{Backend, BackendConfig, DevIssuer, HttpCall, SeededEntropy, TokenRequest};
use landfall_storage::kv::KvStore;

use super::introspection::{Api, request};
use super::models::{Pulled, pull};
use super::*;
use crate::serve;

const KEY: &str = "da2-test";

/// The API that the backend makes of a schema, as introspection tells it.
fn served(sdl: &str) -> Api {
    let schema =
        landfall_codegen::parse_sdl("schema.graphql", sdl).unwrap_or_else(|errors| panic!("{errors}\n{sdl}"));
    let config = BackendConfig::with_api_key(KEY);
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(Arc::new(schema), config, kv, SeededEntropy::new(1)).unwrap();
    let reply = backend.handle_http(1_700_000_000_000, &HttpCall::post(KEY, request()));
    Api::read(&reply.body).unwrap()
}

/// Every type of an API with its members, sorted.
fn told(api: &Api) -> BTreeMap<String, Vec<String>> {
    api.types()
        .map(|ty| {
            let mut members: Vec<String> = ty
                .fields
                .iter()
                .map(|field| {
                    let mut arguments: Vec<String> = field
                        .args
                        .iter()
                        .map(|arg| format!("{}: {}", arg.name, arg.ty))
                        .collect();
                    arguments.sort();
                    format!("{}({}): {}", field.name, arguments.join(", "), field.ty)
                })
                .chain(
                    ty.input_fields
                        .iter()
                        .map(|input| format!("{}: {}", input.name, input.ty)),
                )
                .chain(ty.enum_values.iter().map(|value| value.name.clone()))
                .collect();
            members.sort();
            (ty.name.clone(), members)
        })
        .collect()
}

#[track_caller]
fn comes_back(sdl: &str) -> Pulled {
    let api = served(sdl);
    let pulled = pull(&api).unwrap();
    let (before, after) = (told(&api), told(&served(&pulled.sdl)));
    for (name, members) in &before {
        assert_eq!(after.get(name), Some(members), "{name}\n{}", pulled.sdl);
    }
    assert_eq!(before.len(), after.len(), "{}", pulled.sdl);
    pulled
}

const EXAMPLE: &str = include_str!("../../../../netsync/backend/tests/golden/example.graphql");
const LEGACY: &str = include_str!("../../../../tests/fixtures/schemas/legacy.graphql");
const INTEROP: &str = include_str!("../../../../tests/interop/schema.graphql");

#[test]
fn the_contracts_example_comes_back() {
    let pulled = comes_back(EXAMPLE);
    assert_eq!((pulled.notes.as_slice(), pulled.models), (&[][..], 4));
    for line in [
        "type Post @model @auth(rules: [{ allow: owner }]) {",
        "  comments: [Comment] @hasMany",
        "  labels: [Label] @manyToMany(relationName: \"PostLabels\")",
        "  blogId: ID @index(sortKeyFields: [\"title\"], queryField: \"postsByBlog\")",
        "  post: Post @belongsTo",
        "type Device @model(timestamps: { createdAt: \"made\", updatedAt: \"touched\" }) {",
        "  org: ID! @primaryKey(sortKeyFields: [\"serial\", \"rev\"])",
    ] {
        assert!(
            pulled.sdl.contains(&format!("{line}\n")),
            "{line}\n{}",
            pulled.sdl
        );
    }
    assert!(!pulled.sdl.contains("postCommentsId") && !pulled.sdl.contains("type PostLabels"));
}

#[test]
fn relations_of_every_kind_come_back() {
    comes_back(
        "type Project @model { name: String  team: Team @hasOne  badge: Badge @hasOne(references: [\"projectId\"]) }
        type Team @model { name: String  project: Project @belongsTo }
        type Badge @model { color: String  projectId: ID  project: Project @belongsTo(references: [\"projectId\"]) }
        type Item @model { order: ID! @primaryKey(sortKeyFields: [\"line\"])  line: Int!  parts: [Part] @hasMany }
        type Part @model { name: String  item: Item @belongsTo }
        type Author @model { name: String  books: [Book] @hasMany(indexName: \"byAuthor\", fields: [\"id\"]) }
        type Book @model {
            authorId: ID! @index(name: \"byAuthor\", sortKeyFields: [\"title\"], queryField: null)
            title: String!
            author: Author @belongsTo(fields: [\"authorId\"])
        }
        type Category @model { name: String!  children: [Category] @hasMany  parent: Category @belongsTo }
        type Leaf @model { category: Category! @hasOne }",
    );
}

#[test]
fn names_of_operations_composite_indexes_and_owners_come_back() {
    comes_back(
        "type Note @model(queries: { get: \"note\", list: null }, mutations: { delete: null },
            subscriptions: { onCreate: [\"onCreateNote\", \"onCreateNoted\"] })
            @auth(rules: [{ allow: owner, ownerField: \"author\" }]) {
            id: ID! @primaryKey
            kind: Kind
            text: String! @index(name: \"byText\", sortKeyFields: [\"kind\", \"size\"], queryField: \"notesByText\")
            size: Int
            spot: Spot
            createdAt: AWSDateTime
        }
        type Bare @model(timestamps: null, subscriptions: null) { name: String! @primaryKey  author: String }
        type Spot { lat: Float!  inner: Spot  kinds: [Kind!]! }
        enum Kind { A B }",
    );
}

#[test]
fn the_schemas_of_other_tests_come_back() {
    comes_back(LEGACY);
    comes_back(INTEROP);
}

#[test]
fn what_cannot_be_told_is_noted_and_left_out() {
    let api = served(
        "type Blog @model { posts: [Post] @hasMany(indexName: \"x\", fields: [\"id\"]) }
        type Post @model { strange: ID @index(name: \"x\", queryField: null) }",
    );
    let pulled = pull(&api).unwrap();
    assert_eq!(pulled.notes.len(), 1, "{:?}", pulled.notes);
    assert!(
        pulled.notes[0].contains("`Blog.posts` was left out"),
        "{:?}",
        pulled.notes
    );
    assert!(
        !pulled.sdl.contains("posts") && pulled.sdl.contains("strange: ID"),
        "{}",
        pulled.sdl
    );
}

#[test]
fn answers_that_tell_no_models_are_refused() {
    let refused = |body: &str| match Api::read(body.as_bytes()) {
        Ok(api) => pull(&api).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refused("<html>").contains("no introspection"));
    assert!(refused(r#"{"data": null}"#).contains("introspection switched on"));
    assert!(
        refused(r#"{"data": null, "errors": [{"message": "not here"}]}"#)
            .contains("refuses introspection: not here")
    );
    let evil = r#"{"data": {"__schema": {"queryType": {"name": "Query"}, "types": [{"kind": "ENUM", "name": "A { B } type C"}]}}}"#;
    assert!(refused(evil).contains("none of GraphQL"));
    let loud = r#"{"data": null, "errors": [{"message": "\u001b[2Jgone"}]}"#;
    assert!(
        refused(loud).ends_with("introspection: [2Jgone"),
        "{}",
        refused(loud)
    );
    let plain = r#"{"data": {"__schema": {"queryType": {"name": "Query"}, "mutationType": null, "subscriptionType": null,
        "types": [{"kind": "OBJECT", "name": "Query", "fields": [{"name": "a", "args": [], "type": {"kind": "SCALAR", "name": "Int", "ofType": null}}]}]}}}"#;
    assert!(refused(plain).contains("no model"));
}

#[tokio::test]
async fn a_schema_is_pulled_over_http_into_a_file() {
    let schema = Arc::new(landfall_codegen::parse_sdl("schema.graphql", EXAMPLE).unwrap());
    let running = serve::start(schema, KEY, serve::Conflict::Automerge, None, 0)
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pulled.graphql");
    let args = |key: &str| Args {
        endpoint: running.url().to_owned(),
        credentials: CredentialArgs::with(key, None),
        out: Some(file.clone()),
    };
    run(args(KEY)).await.unwrap();
    let sdl = std::fs::read_to_string(&file).unwrap();
    assert_eq!(told(&served(&sdl)), told(&served(EXAMPLE)));
    let refused = run(args("da2-wrong")).await.unwrap_err().to_string();
    assert!(
        refused.contains("status 401") && !refused.contains("da2-wrong"),
        "{refused}"
    );
    running.shutdown().await;
}

#[tokio::test]
async fn a_token_is_presented_where_there_is_no_key() {
    let issuer = DevIssuer::new(&[7; 32]).unwrap();
    let mut config = BackendConfig::default();
    config.auth.issuers.push(issuer.settings());
    let schema = Arc::new(landfall_codegen::parse_sdl("schema.graphql", EXAMPLE).unwrap());
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(schema, config, kv, SeededEntropy::new(1)).unwrap();
    let server = landfall_backend::serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .unwrap();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let token = issuer.issue(&TokenRequest {
        user: "alice".to_owned(),
        sub: None,
        groups: Vec::new(),
        now_ms: i64::try_from(since_epoch.as_millis()).unwrap(),
        lifetime_s: 60,
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pulled.graphql");
    let args = |token: Option<&str>| Args {
        endpoint: server.endpoint(),
        credentials: CredentialArgs::with(KEY, token),
        out: Some(file.clone()),
    };
    for other in [None, Some("forged")] {
        let refused = run(args(other)).await.unwrap_err().to_string();
        assert!(
            refused.contains("status 401") && refused.contains("--token"),
            "{refused}"
        );
    }
    run(args(Some(&token))).await.unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains("@model"));
    server.shutdown().await;
}
