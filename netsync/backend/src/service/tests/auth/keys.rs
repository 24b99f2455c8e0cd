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

fn reading_at_most(sdl: &str, read_bytes_max: usize) -> Bench {
    let config = BackendConfig {
        auth: settings(AuthorizerAnswer::default()),
        limits: Limits {
            read_bytes_max,
            ..Limits::default()
        },
        ..BackendConfig::with_api_key(KEY)
    };
    bench_with(schema(sdl), config)
}

#[test]
fn what_is_hidden_is_no_part_of_what_a_request_may_read() {
    let bench = reading_at_most(OWNED, 100_000);
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

/// The same, and counts how often that is.
fn hasty() -> u64 {
    6_000 * HASTE.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
}

static HASTE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[test]
fn passing_over_what_is_hidden_takes_only_so_long() {
    let bench = guarded(OWNED);
    bench.backend.set_stopwatch(hasty);
    let query = "{ listNotes { items { id } } }";
    let empty = bench.data_as(Cast::Bob, query, json!({}));
    assert_eq!(empty["listNotes"]["items"], json!([]));
    fill(&bench, Cast::Alice, 4);
    let body = bench.ask_as(Cast::Bob, query, json!({}));
    assert_eq!(body["data"], Json::Null, "{body}");
    assert_eq!(body["errors"][0]["message"], "Execution timed out.");
    // When it begins and when it is over; nothing is passed over after that.
    assert_eq!(HASTE.load(std::sync::atomic::Ordering::SeqCst), 2);
    // Whoever sees them is not timed.
    let seen = bench.data_as(Cast::Alice, query, json!({}));
    assert!(!seen["listNotes"]["items"].as_array().unwrap().is_empty());
}

/// Boxes that everybody who signed in may see, and notes in them that are their owners' alone.
const BOXES: &str = "
type Box @model @auth(rules: [{ allow: private }]) {
  id: ID! notes: [Note] @hasMany label: Label @hasOne(references: [\"boxId\"])
}
type Case @model @auth(rules: [{ allow: private }]) { id: ID! sheets: [Sheet]! @hasMany }
type Sheet @model @auth(rules: [{ allow: owner }]) { id: ID! text: String }
type Note @model @auth(rules: [{ allow: owner }]) { id: ID! text: String }
type Label @model @auth(rules: [{ allow: owner }]) {
  id: ID! text: String boxId: ID box: Box @belongsTo(references: [\"boxId\"])
}
";

/// Boxes with a note of Alice's in each.
fn boxes(bench: &Bench, boxes: std::ops::Range<usize>, length: usize) {
    for n in boxes {
        let create = format!(
            "mutation($t: String) {{ createBox(input: {{id: \"{n}\"}}) {{ id }} \
             createNote(input: {{boxNotesId: \"{n}\", text: $t}}) {{ id }} }}"
        );
        bench.data_as(Cast::Alice, &create, json!({"t": "x".repeat(length)}));
    }
}

#[test]
fn what_many_pages_pass_over_is_timed_together() {
    let bench = guarded(BOXES);
    bench.backend.set_stopwatch(fast);
    let query = "{ listBoxes(limit: 1000) { items { notes { items { id } } } } }";
    // It is asked at the first quarter of a megabyte and at the second.
    boxes(&bench, 0..20, 20 * 1024);
    let some = bench.data_as(Cast::Bob, query, json!({}));
    assert_eq!(some["listBoxes"]["items"].as_array().unwrap().len(), 20);
    boxes(&bench, 20..30, 20 * 1024);
    let body = bench.ask_as(Cast::Bob, query, json!({}));
    assert_eq!(body["data"], Json::Null, "{body}");
    assert_eq!(body["errors"][0]["message"], "Execution timed out.");
}

/// Each time it is looked at, a second is over.
fn steady() -> u64 {
    static NOW_MS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NOW_MS.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn a_mutation_passes_over_what_is_hidden_for_a_shorter_time_than_a_query() {
    let bench = guarded(BOXES);
    bench.backend.set_stopwatch(steady);
    // What is required cannot be left out of the answer, though subscribers may not see it.
    let create = "mutation { createCase(input: {id: \"c\"}) { id } }";
    bench.data_as(Cast::Bob, create, json!({}));
    for _ in 0..2 {
        let create = "mutation($t: String) { createSheet(input: {caseSheetsId: \"c\", text: $t}) { id } }";
        bench.data_as(Cast::Alice, create, json!({"t": "x".repeat(390 * 1024)}));
    }
    let query = "{ getCase(id: \"c\") { sheets { items { id } } } }";
    let seen = bench.data_as(Cast::Bob, query, json!({}));
    assert_eq!(seen["getCase"]["sheets"]["items"], json!([]));
    let update = "mutation { a: updateCase(input: {id: \"c\", _version: 1}) { _version sheets { items { id } } } \
                  b: updateCase(input: {id: \"c\", _version: 1}) { id } }";
    let body = bench.ask_as(Cast::Bob, update, json!({}));
    assert_eq!(body["data"], json!({"a": null, "b": null}), "{body}");
    for error in body["errors"].as_array().unwrap() {
        assert_eq!(error["errorType"], "ExecutionTimeout", "{body}");
    }
}

/// Notes the caller as gone when it is looked at, and counts how often that is.
fn leaving() -> u64 {
    LOOKS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    LEAVER.get().unwrap().note();
    0
}

static LOOKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
static LEAVER: OnceLock<CallerGone> = OnceLock::new();

#[test]
fn nothing_more_is_passed_over_for_a_caller_who_is_gone() {
    let bench = guarded(OWNED);
    fill(&bench, Cast::Alice, 4);
    let body = json!({"query": "{ listNotes { items { id } } }"}).to_string();
    let call = HttpCall {
        headers: Cast::Bob.headers(START_MS, "/graphql", &body),
        body: body.into(),
        ..HttpCall::default()
    };
    let job = bench.backend.prepare(START_MS, &call).unwrap();
    LEAVER.set(job.caller_gone()).unwrap();
    bench.backend.set_stopwatch(leaving);
    let reply = bench.backend.run_query(START_MS, &job);
    assert_eq!(reply.errors, 1);
    assert_eq!(
        LOOKS.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "once for each row"
    );
}

#[test]
fn one_record_that_is_hidden_is_no_part_of_what_a_request_may_read() {
    let answer = |length: usize| {
        let bench = reading_at_most(BOXES, 1_000);
        let create = "mutation($t: String) { createBox(input: {id: \"b\"}) { id } \
                      createLabel(input: {id: \"l\", boxId: \"b\", text: $t}) { id } }";
        bench.data_as(Cast::Alice, create, json!({"t": "x".repeat(length)}));
        let query = "{ getBox(id: \"b\") { id label { id } } }";
        let seen = bench.data_as(Cast::Alice, query, json!({}));
        assert_eq!(seen["getBox"]["label"]["id"], "l");
        bench.ask_as(Cast::Bob, query, json!({}))
    };
    let (short, long) = (answer(1), answer(2_000));
    assert_eq!(only_error(&short), refusal("label", "Box"));
    assert_eq!(long, short);
}
