//! Sends requests to a backend in this process, for tools that count instructions and allocations.
//!
//! `per_request create 2000`, `per_request update 2000` or `per_request sync 5000`; mutations are committed 16 at a time.

use std::sync::Arc;

use landfall_backend::{Backend, BackendConfig, HttpCall, Job, SeededEntropy};
use landfall_storage::kv::KvStore;
use serde_json::{Value as Json, json};

const SDL: &str = r#"type Item @model {
  id: ID!
  name: String!
  category: String! @index(name: "byCategory")
  rating: Int!
  score: Float!
  active: Boolean!
  note: String
}"#;
const KEY: &str = "da2-bench";
const SELECTION: &str =
    "id name category rating score active note createdAt updatedAt _version _lastChangedAt _deleted";
const NOW_MS: i64 = 1_795_256_130_123;
const COMMIT: usize = 16;

fn id(number: usize) -> String {
    let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}-0000-4000-8000-{number:012x}", mixed >> 32)
}

fn create(number: usize) -> String {
    let query = format!(
        "mutation operation($input: CreateItemInput!, $condition: ModelItemConditionInput) {{ \
         createItem(input: $input, condition: $condition) {{ {SELECTION} }} }}"
    );
    let spread = number.wrapping_mul(7_919) % 1_000_003;
    let input = json!({
        "id": id(number), "name": format!("item {number} of the benchmark"),
        "category": format!("category {}", spread % 1_000), "rating": spread % 1_000,
        "score": spread as f64 / 1_000_003.0, "active": number.is_multiple_of(2),
        "note": "a note of a sentence or so, as records have them",
    });
    json!({"query": query, "variables": {"input": input, "condition": null}}).to_string()
}

fn update(number: usize) -> String {
    let query = format!(
        "mutation operation($input: UpdateItemInput!, $condition: ModelItemConditionInput) {{ \
         updateItem(input: $input, condition: $condition) {{ {SELECTION} }} }}"
    );
    let input = json!({"id": id(number), "note": "another note of a sentence or so", "_version": 1});
    json!({"query": query, "variables": {"input": input, "condition": null}}).to_string()
}

fn sync(token: &Json) -> String {
    let query = format!(
        "query operation($limit: Int, $nextToken: String, $lastSync: AWSTimestamp) {{ \
         syncItems(limit: $limit, nextToken: $nextToken, lastSync: $lastSync) {{ \
         items {{ {SELECTION} }} nextToken startedAt }} }}"
    );
    let variables = json!({"limit": 1_000, "nextToken": token, "lastSync": null});
    json!({"query": query, "variables": variables}).to_string()
}

fn mutate(backend: &Backend, bodies: &[HttpCall]) -> usize {
    let mut bytes = 0;
    for chunk in bodies.chunks(COMMIT) {
        let jobs: Vec<Job> = chunk
            .iter()
            .map(|call| backend.prepare(NOW_MS, call).expect("it is let in"))
            .collect();
        for reply in backend.run_mutations(NOW_MS, &jobs) {
            assert_eq!((reply.status, reply.errors), (200, 0));
            bytes += reply.body.len();
        }
    }
    bytes
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().expect("create, update or sync");
    let count: usize = arguments.next().and_then(|n| n.parse().ok()).expect("a number");
    let schema = landfall_codegen::parse_sdl("schema.graphql", SDL).expect("the schema is valid");
    let kv = KvStore::in_memory().expect("memory is there");
    let backend = Backend::new(
        Arc::new(schema),
        BackendConfig::with_api_key(KEY),
        kv,
        SeededEntropy::new(1),
    )
    .expect("the schema can be served");
    let calls = |body: fn(usize) -> String| -> Vec<HttpCall> {
        (0..count)
            .map(|number| HttpCall::post(KEY, body(number)))
            .collect()
    };
    let bytes = match what.as_str() {
        "create" => mutate(&backend, &calls(create)),
        "update" => mutate(&backend, &calls(create)) + mutate(&backend, &calls(update)),
        _ => {
            let mut bytes = mutate(&backend, &calls(create));
            for _ in 0..4 {
                let mut token = Json::Null;
                loop {
                    let reply = backend.handle_http(NOW_MS, &HttpCall::post(KEY, sync(&token)));
                    bytes += reply.body.len();
                    let tail: Json = {
                        let text = std::str::from_utf8(&reply.body).expect("JSON is UTF-8");
                        let at = text.rfind("\"nextToken\":").expect("pages have tokens");
                        let mut values =
                            serde_json::Deserializer::from_str(&text[at + 12..]).into_iter::<Json>();
                        values.next().expect("it has a value").expect("it is JSON")
                    };
                    token = tail;
                    if token.is_null() {
                        break;
                    }
                }
            }
            bytes
        }
    };
    println!("{bytes}");
}
