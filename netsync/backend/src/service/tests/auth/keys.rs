//! Rules on fields of the primary key, against the oracle; and how much a page tells of what is hidden.

use super::fields::pairs;
use super::oracle::{Ruled, Subject, directive, may, may_ever};
use super::*;
use crate::config::Limits;

/// A backend whose records have a serial number that not everybody may read, and that is part of their key.
struct Table {
    bench: Bench,
    model: Vec<Ruled>,
    field: Vec<Ruled>,
    subjects: Vec<Subject>,
}

impl Table {
    fn new(model: Vec<Ruled>, field: Vec<Ruled>) -> Self {
        let bench = guarded(&format!(
            "type Note @model {} {{ shelf: ID! @primaryKey(sortKeyFields: [\"serial\"]) serial: String! {} text: String \
             owner: String editors: [String] team: String teams: [String] }}",
            directive(&model),
            directive(&field)
        ));
        let table = Self {
            bench,
            model,
            field,
            subjects: Subject::all(),
        };
        for (number, subject) in table.subjects.iter().enumerate() {
            let mut input = subject.0.clone();
            input["shelf"] = json!("s");
            input["serial"] = json!(format!("SECRET-{number}"));
            let query =
                "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { _version } }";
            table.bench.data_as(Cast::Root, query, json!({"input": input}));
        }
        table
    }

    fn check(&self, who: Cast) {
        let context = format!("{who:?} with {:?} and {:?} on the key", self.model, self.field);
        let on_field = ("Unauthorized".to_owned(), "Unauthorized on [serial]".to_owned());
        for condition in [
            "serial: {beginsWith: \"SECRET-\"}",
            "serial: {ge: \"SECRET-0\"}",
            "sortDirection: DESC",
        ] {
            let query =
                format!("{{ listNotes(shelf: \"s\", {condition}) {{ items {{ _version }} nextToken }} }}");
            let body = self.bench.ask_as(who, &query, json!({}));
            if !may_ever(&self.field, who, "list") {
                assert_eq!(only_error(&body), on_field, "{context} {condition}");
            } else {
                let may_see = |subject: &&Subject| may(&self.field, who, "list", subject);
                let expected = self.subjects.iter().filter(may_see).count();
                let found = body["data"]["listNotes"]["items"].as_array().unwrap().len();
                assert_eq!(found, expected, "{context} {condition}: {body}");
            }
        }
        for (number, subject) in self.subjects.iter().enumerate() {
            let get = |serial: &str| {
                let query = format!("{{ getNote(shelf: \"s\", serial: \"{serial}\") {{ _version }} }}");
                self.bench.ask_as(who, &query, json!({}))
            };
            let (there, not_there) = (get(&format!("SECRET-{number}")), get("SECRET-none"));
            if may_ever(&self.field, who, "get") && may(&self.field, who, "get", subject) {
                assert_eq!(there["data"]["getNote"]["_version"], 1, "{context}: {there}");
            } else {
                // Whoever guesses learns nothing from a guess that is right.
                assert_eq!(there, not_there, "{context} {number}");
                assert_eq!(there["data"]["getNote"], Json::Null, "{context}");
            }
        }
    }
}

#[test]
fn a_key_field_with_rules_of_its_own_is_found_out_by_nobody_who_may_not_read_it() {
    for (model, field) in pairs() {
        let table = Table::new(model, field);
        for who in Cast::BOUND {
            table.check(who);
        }
    }
}

const OWNED: &str = "type Note @model @auth(rules: [{allow: owner}]) \
     { id: ID! text: String shelf: ID @index(name: \"byShelf\", queryField: \"notesByShelf\") }";

fn fill(bench: &Bench, who: Cast, records: usize) {
    let text = "x".repeat(390 * 1024);
    for _ in 0..records {
        let query = "mutation($t: String) { createNote(input: {text: $t, shelf: \"s\"}) { id } }";
        bench.data_as(who, query, json!({"t": text}));
    }
}

#[test]
fn pages_tell_nothing_of_how_much_is_hidden() {
    let bench = guarded(OWNED);
    let pages = || {
        [
            "listNotes",
            "syncNotes",
            "syncNotes(lastSync: 1699999999000)",
            "notesByShelf(shelf: \"s\")",
        ]
        .map(|field| {
            let query = format!("{{ {field} {{ items {{ id }} nextToken }} }}");
            bench.data_as(Cast::Bob, &query, json!({}))
        })
    };
    let before = pages();
    // Several times what a page reads.
    fill(&bench, Cast::Alice, 10);
    assert_eq!(pages(), before);
    fill(&bench, Cast::Bob, 2);
    for page in pages() {
        let page = page.as_object().unwrap().values().next().unwrap();
        assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
        assert_eq!(page["nextToken"], Json::Null);
    }
}

#[test]
fn a_page_passes_over_only_so_much_and_the_next_goes_on_behind_it() {
    let bench = guarded(OWNED);
    // More than 16 MiB.
    fill(&bench, Cast::Alice, 46);
    fill(&bench, Cast::Bob, 1);
    let query =
        "query($t: String) { syncNotes(lastSync: 1699999999000, nextToken: $t) { items { id } nextToken } }";
    let first = bench.data_as(Cast::Bob, query, json!({}));
    assert_eq!(first["syncNotes"]["items"], json!([]));
    let token = &first["syncNotes"]["nextToken"];
    assert!(token.is_string());
    let second = bench.data_as(Cast::Bob, query, json!({"t": token}));
    assert_eq!(second["syncNotes"]["items"].as_array().unwrap().len(), 1);
    assert_eq!(second["syncNotes"]["nextToken"], Json::Null);
}

fn reading_at_most(read_bytes_max: usize) -> Bench {
    let config = BackendConfig {
        auth: settings(AuthorizerAnswer::default()),
        limits: Limits {
            read_bytes_max,
            ..Limits::default()
        },
        ..BackendConfig::with_api_key(KEY)
    };
    bench_with(schema(OWNED), config)
}

#[test]
fn what_is_hidden_is_no_part_of_what_a_request_may_read() {
    let bench = reading_at_most(100_000);
    let fields = ["listNotes", "syncNotes", "notesByShelf(shelf: \"s\")"];
    let roots = (0..30).map(|n| format!("a{n}: {} {{ items {{ id }} nextToken }}", fields[n % 3]));
    let query = format!("{{ {} }}", roots.collect::<Vec<_>>().join(" "));
    let before = bench.data_as(Cast::Bob, &query, json!({}));
    // Each page passes over more than may be read.
    fill(&bench, Cast::Alice, 2);
    assert_eq!(bench.data_as(Cast::Bob, &query, json!({})), before);
    // What is there for a caller counts.
    let body = bench.ask_as(Cast::Alice, &query, json!({}));
    assert_eq!(body["errors"][0]["errorType"], "ResponseSizeExceeded", "{body}");
}

/// Each time it is looked at, six seconds are over.
fn fast() -> u64 {
    static NOW_MS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NOW_MS.fetch_add(6_000, std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn passing_over_what_is_hidden_takes_only_so_long() {
    let bench = guarded(OWNED);
    bench.backend.set_stopwatch(fast);
    let query = "{ listNotes { items { id } } }";
    let empty = bench.data_as(Cast::Bob, query, json!({}));
    assert_eq!(empty["listNotes"]["items"], json!([]));
    fill(&bench, Cast::Alice, 2);
    let body = bench.ask_as(Cast::Bob, query, json!({}));
    assert_eq!(body["data"], Json::Null, "{body}");
    assert_eq!(body["errors"][0]["message"], "Execution timed out.");
    // Whoever sees them is not timed.
    let seen = bench.data_as(Cast::Alice, query, json!({}));
    assert_eq!(seen["listNotes"]["items"].as_array().unwrap().len(), 2);
}
