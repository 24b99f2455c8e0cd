//! Every rule by every caller by every operation, against an oracle of its own.

use landfall_core::MutationKind;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::oracle::{Kind, OPERATIONS, Ruled, Subject, created, directive, may, may_always, may_ever};
use super::*;

/// The seed of the sets of several rules; printed with every failure.
const SEED: u64 = 0x0a07;
/// Sets of two or three rules that are drawn.
const DRAWN: usize = 30;

/// What a record's life is told by, in its order.
const FRAMES: [&str; 3] = ["onCreateNote", "onUpdateNote", "onDeleteNote"];

/// Every rule alone, then sets of several.
fn rule_sets() -> Vec<Vec<Ruled>> {
    let mut sets: Vec<Vec<Ruled>> = Vec::new();
    for kind in Kind::ALL {
        sets.extend(OPERATIONS.map(|operations| vec![Ruled { kind, operations }]));
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut draw = |below: usize| random.next_u32() as usize % below;
    for _ in 0..DRAWN {
        let rules = (0..2 + draw(2)).map(|_| Ruled {
            kind: Kind::ALL[draw(Kind::ALL.len())],
            operations: OPERATIONS[draw(OPERATIONS.len())],
        });
        sets.push(rules.collect());
    }
    sets
}

/// A backend with one record for each subject, `n0` and on.
struct Table {
    bench: Bench,
    rules: Vec<Ruled>,
    subjects: Vec<Subject>,
}

impl Table {
    fn new(rules: Vec<Ruled>) -> Self {
        let bench = guarded(&format!(
            "type Note @model {} {{ id: ID! text: String owner: String editors: [String] team: String teams: [String] \
             shelf: ID @index(name: \"byShelf\", queryField: \"notesByShelf\") }}",
            directive(&rules)
        ));
        let table = Self {
            bench,
            rules,
            subjects: Subject::all(),
        };
        for (number, subject) in table.subjects.iter().enumerate() {
            table.seed(&format!("n{number}"), subject);
        }
        table
    }

    fn seed(&self, id: &str, subject: &Subject) {
        let mut input = subject.0.clone();
        input["id"] = json!(id);
        input["shelf"] = json!("s");
        let query = "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { id } }";
        self.bench.data_as(Cast::Root, query, json!({"input": input}));
    }

    fn context(&self, who: Cast, operation: &str) -> String {
        format!("{who:?} {operation} under {:?} (seed {SEED:#x})", self.rules)
    }

    /// The identifiers of the records that somebody may see.
    fn visible(&self, who: Cast, operation: &str) -> Vec<String> {
        self.subjects
            .iter()
            .enumerate()
            .filter(|(_, subject)| may(&self.rules, who, operation, subject))
            .map(|(number, _)| format!("n{number}"))
            .collect()
    }

    fn check_get(&self, who: Cast) {
        let query = "query operation($id: ID!) { getNote(id: $id) { id _version } }";
        for (number, subject) in self.subjects.iter().enumerate() {
            let body = self.bench.ask_as(who, query, json!({"id": format!("n{number}")}));
            if may(&self.rules, who, "get", subject) {
                assert_eq!(
                    body["data"]["getNote"]["id"],
                    json!(format!("n{number}")),
                    "{body}"
                );
            } else {
                self.check_refused(&body, who, "getNote", "Query");
            }
        }
        let body = self.bench.ask_as(who, query, json!({"id": "none"}));
        if may_ever(&self.rules, who, "get") {
            assert_eq!(body, json!({"data": {"getNote": null}}));
        } else {
            self.check_refused(&body, who, "getNote", "Query");
        }
    }

    /// Pages of two: neither their rows nor their number nor their tokens may depend on what is hidden.
    fn check_pages(&self, who: Cast, operation: &str, field: &str, arguments: &str) {
        let context = self.context(who, field);
        let query = format!(
            "query operation($token: String) {{ {field}({arguments} limit: 2, nextToken: $token) \
             {{ items {{ id }} nextToken }} }}"
        );
        let (mut seen, mut pages, mut token) = (Vec::new(), 0, Json::Null);
        loop {
            let body = self.bench.ask_as(who, &query, json!({"token": token}));
            if !may_ever(&self.rules, who, operation) {
                return self.check_refused(&body, who, field, "Query");
            }
            assert!(body.get("errors").is_none(), "{context}: {body}");
            let page = &body["data"][field];
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            pages += 1;
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        let expected = self.visible(who, operation);
        seen.sort();
        assert_eq!(seen, expected, "{context}");
        assert_eq!(pages, expected.len().div_ceil(2).max(1), "{context}");
    }

    fn check_create(&self, who: Cast) {
        let mut given = self.subjects.clone();
        given.push(Subject(json!({"owner": null})));
        given.push(Subject(json!({"editors": null})));
        for (number, subject) in given.iter().enumerate() {
            let context = self.context(who, "createNote");
            let id = format!("c{who:?}{number}");
            let mut input = subject.0.clone();
            input["id"] = json!(id);
            let query = "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { id } }";
            let body = self.bench.ask_as(who, query, json!({"input": input}));
            let stored = self.stored(&id);
            match created(&self.rules, who, subject) {
                None => {
                    self.check_refused(&body, who, "createNote", "Mutation");
                    assert_eq!(stored, None, "{context}");
                }
                Some(expected) => {
                    assert!(body.get("errors").is_none(), "{context} {input}: {body}");
                    let stored = stored.unwrap_or_else(|| panic!("{context}: nothing is stored"));
                    for field in ["owner", "editors"] {
                        assert_eq!(stored[field], expected.0[field], "{context} {field} of {input}");
                    }
                }
            }
        }
    }

    fn stored(&self, id: &str) -> Option<Json> {
        let store = &self.bench.backend.store;
        let snapshot = store.snapshot().unwrap();
        let reading = Reading {
            store,
            rows: &snapshot,
            now_ms: i64::MIN,
        };
        let plan = self.bench.backend.compiled.model("Note");
        let key = crate::item::Attributes::from([("id".to_owned(), landfall_core::Value::from(id))]);
        let item = reading.get(plan, &key).unwrap()?;
        let fields = item.attributes.iter();
        Some(
            fields
                .map(|(name, value)| (name.clone(), Json::from(value)))
                .collect(),
        )
    }

    fn check_change(&self, who: Cast, kind: MutationKind) {
        let (field, operation) = match kind {
            MutationKind::Update => ("updateNote", "update"),
            _ => ("deleteNote", "delete"),
        };
        let ty = if kind == MutationKind::Update {
            "UpdateNoteInput"
        } else {
            "DeleteNoteInput"
        };
        let query = format!("mutation operation($input: {ty}!) {{ {field}(input: $input) {{ id }} }}");
        for (number, subject) in self.subjects.iter().enumerate() {
            let id = format!("x{who:?}{operation}{number}");
            self.seed(&id, subject);
            let before = self.stored(&id);
            let mut input = json!({"id": id, "_version": 1});
            if kind == MutationKind::Update {
                input["text"] = json!("changed");
            }
            let body = self.bench.ask_as(who, &query, json!({"input": input}));
            if may(&self.rules, who, operation, subject) {
                assert_eq!(body["data"][field]["id"], json!(id), "{body}");
            } else {
                self.check_refused(&body, who, field, "Mutation");
                assert_eq!(self.stored(&id), before, "{}", self.context(who, operation));
            }
        }
        let body = self
            .bench
            .ask_as(who, &query, json!({"input": {"id": "none", "_version": 1}}));
        if may_always(&self.rules, who, operation) {
            assert_eq!(only_error(&body).0, "ConditionalCheckFailedException", "{body}");
        } else {
            // Whoever must be named by the record is not named by one that is not there.
            self.check_refused(&body, who, field, "Mutation");
        }
    }

    /// Records are made, changed and deleted; each of it is heard by those who may, and by nobody else.
    fn check_frames(&self) {
        let bench = &self.bench;
        let listening = Cast::BOUND.map(|who| (who, self.listen(who)));
        for (number, subject) in self.subjects.iter().enumerate() {
            let id = format!("f{number}");
            self.seed(&id, subject);
            for (kind, version) in [("update", 1), ("delete", 2)] {
                let ty = if kind == "update" {
                    "UpdateNoteInput"
                } else {
                    "DeleteNoteInput"
                };
                let query =
                    format!("mutation operation($input: {ty}!) {{ {kind}Note(input: $input) {{ id }} }}");
                let input = json!({"id": id, "_version": version});
                bench.data_as(Cast::Root, &query, json!({"input": input}));
            }
        }
        for (who, connection) in listening {
            let Some(connection) = connection else { continue };
            let heard: Vec<(String, String)> = bench
                .messages(connection)
                .iter()
                .map(|frame| {
                    let field = frame["id"].as_str().unwrap().to_owned();
                    let id = frame["payload"]["data"][&field]["id"].as_str().unwrap();
                    (field.clone(), id.to_owned())
                })
                .collect();
            let expected: Vec<(String, String)> = self
                .visible(who, "listen")
                .iter()
                .flat_map(|seeded| {
                    let id = seeded.replace('n', "f");
                    FRAMES.map(|field| (field.to_owned(), id.clone()))
                })
                .collect();
            assert_eq!(heard, expected, "{}", self.context(who, "listen"));
        }
    }

    /// A connection with all three subscriptions, if the caller may have them.
    fn listen(&self, who: Cast) -> Option<ConnectionId> {
        let connection = self.bench.connect_as(who);
        let may = may_ever(&self.rules, who, "listen");
        for field in FRAMES {
            let query = format!("subscription {{ {field} {{ id }} }}");
            let answer = self.bench.start_with(who, connection, field, &query);
            let context = self.context(who, field);
            if may {
                assert_eq!(answer["type"], "start_ack", "{context}: {answer}");
                continue;
            }
            let error = &answer["payload"]["errors"][0];
            let (error_type, message) = refusal(field, "Subscription");
            assert_eq!(
                (&error["errorType"], &error["message"]),
                (&json!(error_type), &json!(message)),
                "{context}"
            );
        }
        may.then_some(connection)
    }

    fn check_refused(&self, body: &Json, who: Cast, field: &str, parent: &str) {
        let context = self.context(who, field);
        assert_eq!(body["data"], json!({ field: null }), "{context}: {body}");
        assert_eq!(only_error(body), refusal(field, parent), "{context}");
        assert_eq!(body["errors"][0]["data"], Json::Null, "{context}");
    }
}

fn check_all(sets: impl Iterator<Item = Vec<Ruled>>) {
    for rules in sets {
        let table = Table::new(rules);
        for who in Cast::BOUND {
            table.check_get(who);
            table.check_pages(who, "list", "listNotes", "");
            table.check_pages(who, "sync", "syncNotes", "");
            table.check_pages(who, "list", "notesByShelf", "shelf: \"s\",");
            let delta = format!("lastSync: {START_MS},");
            table.check_pages(who, "sync", "syncNotes", &delta);
        }
        table.check_frames();
        for who in Cast::BOUND {
            table.check_create(who);
            table.check_change(who, MutationKind::Update);
            table.check_change(who, MutationKind::Delete);
        }
    }
}

/// The tests below run beside each other; together they see every set.
fn some_of(part: usize) -> impl Iterator<Item = Vec<Ruled>> {
    let sets = rule_sets();
    assert_eq!(sets.len(), 13 * 9 + DRAWN);
    sets.into_iter()
        .enumerate()
        .filter(move |(number, _)| number % 2 == part)
        .map(|(_, rules)| rules)
}

#[test]
fn every_rule_lets_exactly_those_at_it_whom_it_speaks_of() {
    check_all(some_of(0));
}

#[test]
fn every_other_rule_does_as_well() {
    check_all(some_of(1));
}
