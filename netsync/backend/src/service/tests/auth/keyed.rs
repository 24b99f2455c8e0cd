//! The matrix of rules once more where a field of the key has rules of its own: every rule on it, beside rules on the model,
//! by every caller by every operation, against the oracle.
//!
//! What holds beside the rules of the matrix: an operation on the model is allowed if either rules allow it; a field of the
//! key may be guessed, written and deleted by those alone whom its own rules speak of.

use landfall_core::MutationKind;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::oracle::{Kind, OPERATIONS, Ruled, Subject, directive, filled, may, may_always, may_ever};
use super::*;

/// The seed of the sets of several rules; printed with every failure.
const SEED: u64 = 0x0a08;
/// Sets of two rules on each that are drawn.
const DRAWN: usize = 20;

/// Rules on the model, beside each rule on the key.
const ON_MODEL: [Kind; 5] = [
    Kind::PublicKey,
    Kind::PrivatePool,
    Kind::Owner,
    Kind::GroupsFieldTeams,
    Kind::PrivateOidc,
];

/// What a record's life is told by, in its order.
const FRAMES: [&str; 3] = ["onCreateNote", "onUpdateNote", "onDeleteNote"];

/// Rules on the model, and on a field of the key: every rule on the key with a third of the ways to write its operations, so
/// that each way is tried with several rules, then sets of several on both.
fn rule_sets() -> Vec<(Vec<Ruled>, Vec<Ruled>)> {
    let mut sets = Vec::new();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let third = |(more, _): &(usize, _)| more % 3 == number % 3;
        for (more, operations) in OPERATIONS.into_iter().enumerate().filter(third) {
            let model = Ruled {
                kind: ON_MODEL[(number + more) % ON_MODEL.len()],
                operations: &[],
            };
            sets.push((vec![model], vec![Ruled { kind, operations }]));
        }
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut draw = |below: usize| random.next_u32() as usize % below;
    let mut two = || -> Vec<Ruled> {
        (0..2)
            .map(|_| Ruled {
                kind: Kind::ALL[draw(Kind::ALL.len())],
                operations: OPERATIONS[draw(OPERATIONS.len())],
            })
            .collect()
    };
    sets.extend((0..DRAWN).map(|_| (two(), two())));
    sets
}

/// What somebody is answered.
#[derive(Debug, PartialEq)]
enum Answer {
    /// What was asked for.
    Done,
    /// Null, and nothing that says why.
    Nothing,
    /// The refusal of the whole field.
    Refused,
    /// The refusal of fields of the record.
    On(Vec<String>),
    /// There is no such record.
    NotThere,
}

/// A backend with one record for each subject, `n0` and on; its serial number is a part of the key.
struct Table {
    bench: Bench,
    model: Vec<Ruled>,
    key: Vec<Ruled>,
    both: Vec<Ruled>,
    subjects: Vec<Subject>,
    /// When each record was changed last, by which pages tell them apart.
    stamps: Vec<Json>,
}

impl Table {
    fn new((model, key): (Vec<Ruled>, Vec<Ruled>)) -> Self {
        let bench = guarded(&format!(
            "type Note @model {} {{ shelf: ID! @primaryKey(sortKeyFields: [\"serial\"]) serial: String! {} text: String \
             owner: String editors: [String] team: String teams: [String] }}",
            directive(&model),
            directive(&key)
        ));
        let mut table = Self {
            bench,
            both: [model.as_slice(), &key].concat(),
            model,
            key,
            subjects: Subject::all(),
            stamps: Vec::new(),
        };
        table.stamps = (0..table.subjects.len())
            .map(|number| table.seed(&format!("n{number}"), number))
            .collect();
        table
    }

    /// Makes a record; returns when it was changed last.
    fn seed(&self, serial: &str, number: usize) -> Json {
        let input = self.input(serial, &self.subjects[number]);
        let query = "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { _lastChangedAt _version } }";
        let data = self.bench.data_as(Cast::Root, query, json!({"input": input}));
        data["createNote"]["_lastChangedAt"].clone()
    }

    fn input(&self, serial: &str, subject: &Subject) -> Json {
        let mut input = subject.0.clone();
        input["shelf"] = json!("s");
        input["serial"] = json!(serial);
        input
    }

    fn context(&self, who: Cast, operation: &str) -> String {
        let (model, key) = (&self.model, &self.key);
        format!("{who:?} {operation} under {model:?}, on the key {key:?} (seed {SEED:#x})")
    }

    /// The answer as one of those that there can be.
    fn answer(&self, body: &Json, who: Cast, field: &str, parent: &str) -> Answer {
        let answer = &body["data"][field];
        if !answer.is_null() {
            assert!(
                body.get("errors").is_none(),
                "{}: {body}",
                self.context(who, field)
            );
            return Answer::Done;
        }
        if body.get("errors").is_none() {
            return Answer::Nothing;
        }
        let (error_type, message) = only_error(body);
        assert_eq!(
            body["errors"][0]["data"],
            Json::Null,
            "{}",
            self.context(who, field)
        );
        if error_type == "ConditionalCheckFailedException" {
            return Answer::NotThere;
        }
        assert_eq!(error_type, "Unauthorized", "{}: {body}", self.context(who, field));
        match message
            .strip_prefix("Unauthorized on [")
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(fields) => {
                let mut fields: Vec<String> = fields.split(", ").map(str::to_owned).collect();
                fields.sort();
                Answer::On(fields)
            }
            None => {
                assert_eq!((error_type, message), refusal(field, parent));
                Answer::Refused
            }
        }
    }

    fn check_get(&self, who: Cast) {
        let get = |serial: &str| {
            let query = format!("{{ getNote(shelf: \"s\", serial: \"{serial}\") {{ _version }} }}");
            let body = self.bench.ask_as(who, &query, json!({}));
            self.answer(&body, who, "getNote", "Query")
        };
        let expected = |is_shown: bool| {
            if !may_ever(&self.both, who, "get") {
                Answer::Refused
            } else if !may_ever(&self.key, who, "get") {
                Answer::On(vec!["serial".to_owned()])
            } else if is_shown {
                Answer::Done
            } else {
                Answer::Nothing
            }
        };
        let context = self.context(who, "getNote");
        for (number, subject) in self.subjects.iter().enumerate() {
            let is_shown = may(&self.key, who, "get", subject);
            assert_eq!(
                get(&format!("n{number}")),
                expected(is_shown),
                "{context} n{number}"
            );
        }
        // Whoever guesses learns nothing from a guess that is right.
        assert_eq!(get("none"), expected(false), "{context}");
    }

    /// Pages of two: neither their rows nor their number nor their tokens may depend on what is hidden.
    fn check_pages(&self, who: Cast, operation: &str, field: &str, arguments: &str) {
        let context = self.context(who, field);
        let query = format!(
            "query operation($token: String) {{ {field}({arguments} limit: 2, nextToken: $token) \
             {{ items {{ _lastChangedAt }} nextToken }} }}"
        );
        let (mut seen, mut pages, mut token) = (Vec::new(), 0, Json::Null);
        loop {
            let body = self.bench.ask_as(who, &query, json!({"token": token}));
            let answer = self.answer(&body, who, field, "Query");
            if !may_ever(&self.both, who, operation) {
                return assert_eq!(answer, Answer::Refused, "{context}");
            }
            assert_eq!(answer, Answer::Done, "{context}: {body}");
            let page = &body["data"][field];
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["_lastChangedAt"].to_string()));
            pages += 1;
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        let mut expected = self.stamps_of(who, operation);
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "{context}");
        assert_eq!(pages, expected.len().div_ceil(2).max(1), "{context}");
    }

    /// The records that somebody may see.
    fn stamps_of(&self, who: Cast, operation: &str) -> Vec<String> {
        let records = self.subjects.iter().zip(&self.stamps);
        records
            .filter(|(subject, _)| may(&self.both, who, operation, subject))
            .map(|(_, stamp)| stamp.to_string())
            .collect()
    }

    /// What is said of a write of these fields: those of the key that have no rules of their own are free.
    fn written(&self, who: Cast, operation: &str, record: &Subject, fields: &[String]) -> Answer {
        if !may(&self.both, who, operation, record) {
            return Answer::Refused;
        }
        let rules = |field: &str| if field == "serial" { &self.key } else { &self.model };
        let mut denied: Vec<String> = fields
            .iter()
            .filter(|field| !["shelf", "_version"].contains(&field.as_str()))
            .filter(|field| !may(rules(field), who, operation, record))
            .cloned()
            .collect();
        denied.sort();
        if denied.is_empty() {
            Answer::Done
        } else {
            Answer::On(denied)
        }
    }

    fn check_create(&self, who: Cast) {
        let query = "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { _version } }";
        for (number, subject) in self.subjects.iter().enumerate() {
            let serial = format!("c{who:?}{number}");
            let input = self.input(&serial, subject);
            let body = self.bench.ask_as(who, query, json!({"input": input}));
            let record = filled(&self.model, who, subject);
            let expected = self.written(who, "create", &record, &names(&input));
            let context = self.context(who, "createNote");
            let is_there = expected == Answer::Done;
            let answer = self.answer(&body, who, "createNote", "Mutation");
            assert_eq!(answer, expected, "{context} {input}");
            assert_eq!(self.is_there(&serial), is_there, "{context} {input}");
        }
    }

    fn check_change(&self, who: Cast, kind: MutationKind) {
        let is_update = kind == MutationKind::Update;
        let (field, operation, ty) = if is_update {
            ("updateNote", "update", "UpdateNoteInput")
        } else {
            ("deleteNote", "delete", "DeleteNoteInput")
        };
        let query = format!("mutation operation($input: {ty}!) {{ {field}(input: $input) {{ _version }} }}");
        let context = self.context(who, operation);
        let change = |serial: &str| {
            let mut input = json!({"shelf": "s", "serial": serial, "_version": 1});
            if is_update {
                input["text"] = json!("changed");
            }
            let body = self.bench.ask_as(who, &query, json!({"input": input}));
            (self.answer(&body, who, field, "Mutation"), names(&input))
        };
        for (number, subject) in self.subjects.iter().enumerate() {
            let serial = format!("x{who:?}{operation}{number}");
            self.seed(&serial, number);
            let (answer, fields) = change(&serial);
            let expected = if is_update {
                self.written(who, operation, subject, &fields)
            } else if may(&self.key, who, operation, subject) {
                Answer::Done
            } else {
                // A record is deleted by those who may delete it and all of its fields that have rules.
                Answer::Refused
            };
            assert_eq!(answer, expected, "{context} {number}");
        }
        // Whoever must be named by the record is not named by one that is not there.
        let nobody = Subject(json!({}));
        let expected = match self.written(who, operation, &nobody, &change("none").1) {
            _ if !is_update && may_always(&self.key, who, operation) => Answer::NotThere,
            _ if !is_update => Answer::Refused,
            Answer::Done => Answer::NotThere,
            other => other,
        };
        assert_eq!(change("none").0, expected, "{context}");
    }

    fn is_there(&self, serial: &str) -> bool {
        let query = format!("{{ getNote(shelf: \"s\", serial: \"{serial}\") {{ _version }} }}");
        !self.bench.data_as(Cast::Root, &query, json!({}))["getNote"].is_null()
    }

    /// Records are made, changed and deleted; each of it is heard by those who may, and by nobody else.
    fn check_frames(&self) {
        let listening = Cast::BOUND.map(|who| (who, self.listen(who)));
        let mut told: Vec<Vec<String>> = Vec::new();
        for number in 0..self.subjects.len() {
            let serial = format!("f{number}");
            let mut stamps = vec![self.seed(&serial, number).to_string()];
            for (kind, version) in [("update", 1), ("delete", 2)] {
                let (field, ty) = match kind {
                    "update" => ("updateNote", "UpdateNoteInput"),
                    _ => ("deleteNote", "DeleteNoteInput"),
                };
                let query = format!(
                    "mutation operation($input: {ty}!) {{ {field}(input: $input) {{ _lastChangedAt _version }} }}"
                );
                let input = json!({"shelf": "s", "serial": serial, "_version": version});
                let data = self.bench.data_as(Cast::Root, &query, json!({"input": input}));
                stamps.push(data[field]["_lastChangedAt"].to_string());
            }
            told.push(stamps);
        }
        for (who, connection) in listening {
            let Some(connection) = connection else { continue };
            let heard: Vec<(String, String)> = self
                .bench
                .messages(connection)
                .iter()
                .map(|frame| {
                    let field = frame["id"].as_str().unwrap().to_owned();
                    let stamp = frame["payload"]["data"][&field]["_lastChangedAt"].to_string();
                    (field, stamp)
                })
                .collect();
            let records = self.subjects.iter().zip(&told);
            let expected: Vec<(String, String)> = records
                .filter(|(subject, _)| may(&self.both, who, "listen", subject))
                .flat_map(|(_, stamps)| FRAMES.map(str::to_owned).into_iter().zip(stamps.clone()))
                .collect();
            assert_eq!(heard, expected, "{}", self.context(who, "listen"));
        }
    }

    /// A connection with all three subscriptions, if the caller may have them.
    fn listen(&self, who: Cast) -> Option<ConnectionId> {
        let connection = self.bench.connect_as(who);
        let may = may_ever(&self.both, who, "listen");
        for field in FRAMES {
            let query = format!("subscription {{ {field} {{ _lastChangedAt }} }}");
            let answer = self.bench.start_with(who, connection, field, &query);
            let expected = if may { "start_ack" } else { "error" };
            assert_eq!(answer["type"], expected, "{}: {answer}", self.context(who, field));
        }
        may.then_some(connection)
    }
}

/// The names of what is given, as an input has them.
fn names(input: &Json) -> Vec<String> {
    input.as_object().unwrap().keys().cloned().collect()
}

/// The tests below run beside each other; together they see every set.
fn check_some(part: usize) {
    let sets = rule_sets();
    assert_eq!(sets.len(), 13 * 3 + DRAWN);
    for rules in sets.into_iter().skip(part).step_by(2) {
        let table = Table::new(rules);
        for who in Cast::BOUND {
            table.check_get(who);
            table.check_pages(who, "list", "listNotes", "");
            table.check_pages(who, "sync", "syncNotes", "");
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

#[test]
fn every_rule_on_a_key_field_lets_exactly_those_at_it_whom_it_speaks_of() {
    check_some(0);
}

#[test]
fn every_other_rule_on_a_key_field_does_as_well() {
    check_some(1);
}
