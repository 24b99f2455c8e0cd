//! The generated schema of the contract's example equals the one that AppSync generates, and introspection tells all
//! of it.
#![allow(missing_docs, reason = "a test is named after what it shows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use apollo_compiler::Schema;
use apollo_compiler::schema::ExtendedType;
use landfall_backend::{Backend, BackendConfig, CompiledSchema, HttpCall, SeededEntropy};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};

const EXAMPLE: &str = include_str!("golden/example.graphql");
const LISTING: &str = include_str!("golden/schema.graphql");

fn compile(sdl: &str) -> CompiledSchema {
    let schema = landfall_codegen::parse_sdl("schema.graphql", sdl).unwrap();
    CompiledSchema::compile(Arc::new(schema)).unwrap()
}

fn parse(text: &str) -> Schema {
    Schema::parse_and_validate(text, "schema.graphql")
        .unwrap()
        .into_inner()
}

/// Each type of a schema as kind, and members with their types and arguments, sorted. Directives that introspection
/// does not tell are told only where `with_directives` asks for them.
fn normal(schema: &Schema, with_directives: bool) -> BTreeMap<String, Vec<String>> {
    let types = schema.types.iter().filter(|(_, ty)| !ty.is_built_in());
    types
        .map(|(name, ty)| {
            let kind = match ty {
                ExtendedType::Object(_) => "type",
                ExtendedType::InputObject(_) => "input",
                ExtendedType::Enum(_) => "enum",
                _ => "scalar",
            };
            let mut members: Vec<String> = match ty {
                ExtendedType::Object(def) => def
                    .fields
                    .values()
                    .map(|field| {
                        let mut arguments: Vec<String> = field
                            .arguments
                            .iter()
                            .map(|argument| format!("{}: {}", argument.name, argument.ty))
                            .collect();
                        arguments.sort();
                        let directives = if with_directives {
                            field.directives.to_string()
                        } else {
                            String::new()
                        };
                        format!(
                            "{}({}): {}{directives}",
                            field.name,
                            arguments.join(", "),
                            field.ty
                        )
                    })
                    .collect(),
                ExtendedType::InputObject(def) => def
                    .fields
                    .values()
                    .map(|field| format!("{}: {}", field.name, field.ty))
                    .collect(),
                ExtendedType::Enum(def) => def.values.keys().map(ToString::to_string).collect(),
                ExtendedType::Scalar(_) => Vec::new(),
                other => panic!("{name} is {other:?}"),
            };
            members.sort();
            members.insert(0, kind.to_owned());
            (name.to_string(), members)
        })
        .collect()
}

#[test]
fn the_example_gives_the_listed_schema() {
    let ours = normal(&parse(compile(EXAMPLE).graphql_text()), true);
    let listed = normal(&parse(LISTING), true);
    let names = |types: &BTreeMap<String, Vec<String>>| types.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&listed));
    for (name, members) in &listed {
        assert_eq!(&ours[name], members, "{name}");
    }
}

#[test]
fn detection_adds_its_metadata_and_nothing_else() {
    // A post before and after: what conflict detection brings is in the listing under these names alone.
    let text = compile(EXAMPLE).graphql_text().to_owned();
    let metadata = ["_version", "_deleted", "_lastChangedAt", "startedAt", "lastSync"];
    for name in metadata {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains("_ttl"), "a time to live is the server's own");
}

/// The query of GraphiQL, with all its options.
const INTROSPECTION: &str = "
query IntrospectionQuery {
  __schema {
    description
    queryType { name kind } mutationType { name kind } subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL
  fields(includeDeprecated: true) {
    name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType {
    kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}";

fn type_text(json: &Json) -> String {
    match json["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", type_text(&json["ofType"])),
        "LIST" => format!("[{}]", type_text(&json["ofType"])),
        _ => json["name"].as_str().unwrap().to_owned(),
    }
}

fn values_text(json: &Json) -> Vec<String> {
    let values = json.as_array().unwrap().iter();
    values
        .map(|value| {
            format!(
                "{}: {}",
                value["name"].as_str().unwrap(),
                type_text(&value["type"])
            )
        })
        .collect()
}

/// A schema built from nothing but the answer to the introspection query.
fn rebuilt(schema: &Json) -> String {
    let mut text = String::new();
    for ty in schema["types"].as_array().unwrap() {
        let name = ty["name"].as_str().unwrap();
        if name.starts_with("__") {
            continue;
        }
        text += &match ty["kind"].as_str().unwrap() {
            "SCALAR" if ["ID", "Int", "Float", "String", "Boolean"].contains(&name) => String::new(),
            "SCALAR" => format!("scalar {name}\n"),
            "ENUM" => {
                let values = ty["enumValues"].as_array().unwrap().iter();
                let values: Vec<&str> = values.map(|value| value["name"].as_str().unwrap()).collect();
                format!("enum {name} {{ {} }}\n", values.join(" "))
            }
            "INPUT_OBJECT" => format!(
                "input {name} {{ {} }}\n",
                values_text(&ty["inputFields"]).join(" ")
            ),
            "OBJECT" => {
                let fields = ty["fields"].as_array().unwrap().iter().map(|field| {
                    let arguments = values_text(&field["args"]).join(", ");
                    let arguments = if arguments.is_empty() {
                        String::new()
                    } else {
                        format!("({arguments})")
                    };
                    format!(
                        "{}{arguments}: {}",
                        field["name"].as_str().unwrap(),
                        type_text(&field["type"])
                    )
                });
                format!("type {name} {{ {} }}\n", fields.collect::<Vec<_>>().join(" "))
            }
            other => panic!("{name} is of kind {other}"),
        };
    }
    text
}

#[test]
fn the_introspection_query_of_graphiql_tells_the_whole_schema() {
    let schema = Arc::new(landfall_codegen::parse_sdl("schema.graphql", EXAMPLE).unwrap());
    let config = BackendConfig::with_api_key("da2-test");
    let kv = KvStore::in_memory().unwrap();
    let backend = Backend::new(schema, config, kv, SeededEntropy::new(1)).unwrap();
    let request = json!({"query": INTROSPECTION, "operationName": "IntrospectionQuery"}).to_string();
    let reply = backend.handle_http(1_700_000_000_000, &HttpCall::post("da2-test", request));
    let body: Json = serde_json::from_slice(&reply.body).unwrap();
    assert!(body.get("errors").is_none(), "{}", body["errors"]);
    let told = &body["data"]["__schema"];
    assert_eq!(told["queryType"]["name"], "Query");
    assert_eq!(told["mutationType"]["name"], "Mutation");
    assert_eq!(told["subscriptionType"]["name"], "Subscription");
    let again = normal(&parse(&rebuilt(told)), false);
    let served = normal(&parse(backend.compiled().graphql_text()), false);
    assert_eq!(again, served);
    let directives: Vec<&str> = told["directives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|directive| directive["name"].as_str().unwrap())
        .collect();
    assert!(
        directives.contains(&"include") && directives.contains(&"aws_subscribe"),
        "{directives:?}"
    );
}

/// The names of the fields of a root type.
fn roots(compiled: &CompiledSchema, ty: &str) -> String {
    let schema = parse(compiled.graphql_text());
    match schema.types.get(ty) {
        Some(ExtendedType::Object(def)) => {
            let names: Vec<&str> = def.fields.keys().map(apollo_compiler::Name::as_str).collect();
            names.join(" ")
        }
        None => String::new(),
        Some(other) => panic!("{ty} is {other:?}"),
    }
}

#[test]
fn operations_are_named_and_switched_off_as_the_model_says() {
    let compiled = compile(
        "type Post @model(queries: {get: \"post\", list: null}, mutations: {create: \"write\", delete: null},
            subscriptions: {onCreate: [\"written\", \"posted\"]}) { title: String }
        type Quiet @model(subscriptions: null) { title: String }
        type Still @model(mutations: null) { title: String }
        type Hidden @model(queries: null, subscriptions: {level: off}) { title: String }",
    );
    assert_eq!(
        roots(&compiled, "Query"),
        "post syncPosts getQuiet listQuiets syncQuiets getStill listStills syncStills"
    );
    assert_eq!(
        roots(&compiled, "Mutation"),
        "write updatePost createQuiet updateQuiet deleteQuiet createHidden updateHidden deleteHidden"
    );
    // Without its mutation a subscription has nothing to tell of.
    assert_eq!(roots(&compiled, "Subscription"), "written posted onUpdatePost");
    let text = compiled.graphql_text();
    assert!(text.contains(
        "posted(filter: ModelSubscriptionPostFilterInput): Post @aws_subscribe(mutations: [\"write\"])"
    ));
    for absent in [
        "DeletePostInput",
        "CreateStillInput",
        "ModelStillConditionInput",
        "ModelSubscriptionQuietFilterInput",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn a_schema_may_do_without_mutations_but_not_without_queries() {
    let quiet = compile("type Post @model(mutations: null) { title: String }");
    assert_eq!(
        (roots(&quiet, "Mutation"), roots(&quiet, "Subscription")),
        (String::new(), String::new())
    );
    let schema =
        landfall_codegen::parse_sdl("s", "type Post @model(queries: null) { title: String }").unwrap();
    let refused = CompiledSchema::compile(Arc::new(schema)).unwrap_err().to_string();
    assert!(refused.contains("no model has a query"), "{refused}");
}

#[test]
fn owner_rules_bring_their_fields_and_arguments() {
    let compiled = compile(
        "type Note @model @auth(rules: [{ allow: owner, ownerField: \"author\" }, { allow: owner, ownerField: \"editors\" }]) {
            text: String  editors: [String]
        }",
    );
    let types = normal(&parse(compiled.graphql_text()), false);
    assert!(
        types["Note"].contains(&"author(): String".to_owned()),
        "{:?}",
        types["Note"]
    );
    assert!(types["CreateNoteInput"].contains(&"editors: [String]".to_owned()));
    assert!(
        !types["CreateNoteInput"]
            .iter()
            .any(|member| member.starts_with("author"))
    );
    // A list of owners is no argument.
    assert!(
        types["Subscription"].contains(
            &"onCreateNote(author: String, filter: ModelSubscriptionNoteFilterInput): Note".to_owned()
        ),
        "{:?}",
        types["Subscription"]
    );
}

#[test]
fn the_first_generation_reads_as_the_second() {
    let legacy = compile(
        "type Blog @model @versioned { name: String  posts: [Post] @connection(keyName: \"byBlog\", fields: [\"id\"]) }
        type Post @model @key(name: \"byBlog\", fields: [\"blogID\", \"title\"], queryField: \"postsByBlog\") {
            id: ID!  title: String!  blogID: ID!  blog: Blog @connection(fields: [\"blogID\"])
        }",
    );
    let today = compile(
        "type Blog @model { name: String  posts: [Post] @hasMany(indexName: \"byBlog\", fields: [\"id\"]) }
        type Post @model {
            id: ID!  title: String!
            blogID: ID! @index(name: \"byBlog\", sortKeyFields: [\"title\"], queryField: \"postsByBlog\")
            blog: Blog @belongsTo(fields: [\"blogID\"])
        }",
    );
    assert_eq!(
        normal(&parse(legacy.graphql_text()), true),
        normal(&parse(today.graphql_text()), true)
    );
}
