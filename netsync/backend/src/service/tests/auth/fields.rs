//! Rules on single fields, against the oracle: what is shown, compared, written and told.

use super::oracle::{Kind, Ruled, Subject, directive, may, may_ever};
use super::*;

/// Pairs of a rule on the model and rules on its field `secret`: all of the one kind with all of the other.
pub(super) fn pairs() -> Vec<(Vec<Ruled>, Vec<Ruled>)> {
    const MODEL: [Kind; 5] = [
        Kind::PublicKey,
        Kind::PrivatePool,
        Kind::Owner,
        Kind::GroupsFieldTeams,
        Kind::PrivateOidc,
    ];
    const FIELD: [(Kind, &[&str]); 6] = [
        (Kind::Owner, &[]),
        (Kind::PrivatePool, &["read"]),
        (Kind::Groups, &["create", "update", "read"]),
        (Kind::PublicKey, &["read", "update", "delete"]),
        (Kind::GroupsFieldTeam, &["read"]),
        (Kind::Custom, &["create"]),
    ];
    let one = |kind, operations| vec![Ruled { kind, operations }];
    MODEL
        .into_iter()
        .flat_map(|kind| FIELD.map(|(field, operations)| (one(kind, &[]), one(field, operations))))
        .collect()
}

struct Table {
    bench: Bench,
    model: Vec<Ruled>,
    field: Vec<Ruled>,
    subjects: Vec<Subject>,
}

impl Table {
    fn new(model: Vec<Ruled>, field: Vec<Ruled>) -> Self {
        let bench = guarded(&format!(
            "type Note @model {} {{ id: ID! text: String secret: String {} owner: String editors: [String] \
             team: String teams: [String] }}",
            directive(&model),
            directive(&field)
        ));
        let table = Self {
            bench,
            model,
            field,
            subjects: Subject::all(),
        };
        for number in 0..table.subjects.len() {
            table.seed(&format!("n{number}"), number);
        }
        table
    }

    fn seed(&self, id: &str, number: usize) {
        let mut input = self.subjects[number].0.clone();
        input["id"] = json!(id);
        input["text"] = json!(format!("t{number}"));
        input["secret"] = json!(format!("s{number}"));
        let query = "mutation operation($input: CreateNoteInput!) { createNote(input: $input) { id } }";
        self.bench.data_as(Cast::Root, query, json!({"input": input}));
    }

    fn both(&self) -> Vec<Ruled> {
        [self.model.as_slice(), &self.field].concat()
    }

    fn context(&self, who: Cast) -> String {
        format!("{who:?} with {:?} and {:?} on the field", self.model, self.field)
    }

    /// Numbers of the records that somebody may see, and may see the secret of.
    fn rows(&self, who: Cast, operation: &str, with_secret: bool) -> Vec<usize> {
        let numbered = self.subjects.iter().enumerate();
        numbered
            .filter(|(_, subject)| may(&self.both(), who, operation, subject))
            .filter(|(_, subject)| !with_secret || may(&self.field, who, operation, subject))
            .map(|(number, _)| number)
            .collect()
    }

    fn check_reads(&self, who: Cast, operation: &str, field: &str) {
        let context = self.context(who);
        if !may_ever(&self.both(), who, operation) {
            return;
        }
        let body = self.bench.ask_as(
            who,
            &format!("{{ {field} {{ items {{ id text secret _version }} }} }}"),
            json!({}),
        );
        let items = body["data"][field]["items"].as_array().unwrap();
        let expected: Vec<Json> = self
            .rows(who, operation, false)
            .into_iter()
            .map(|number| {
                let subject = &self.subjects[number];
                let shown = |rules: &[Ruled], text: String| {
                    if may(rules, who, operation, subject) {
                        json!(text)
                    } else {
                        Json::Null
                    }
                };
                json!({
                    "id": format!("n{number}"),
                    "text": shown(&self.model, format!("t{number}")),
                    "secret": shown(&self.field, format!("s{number}")),
                    "_version": 1,
                })
            })
            .collect();
        assert_eq!(items, &expected, "{context}: {body}");
        let hidden = items
            .iter()
            .flat_map(|item| [&item["text"], &item["secret"]])
            .filter(|value| value.is_null())
            .count();
        let errors = body["errors"].as_array().map_or(0, Vec::len);
        assert_eq!(errors, hidden, "{context}: one error for each: {body}");
        for error in body["errors"].as_array().into_iter().flatten() {
            let message = error["message"].as_str().unwrap();
            assert!(
                message.ends_with("on type Note") && !message.contains('s'.to_string().repeat(3).as_str())
            );
            assert_eq!(
                (&error["errorType"], &error["data"]),
                (&json!("Unauthorized"), &Json::Null)
            );
        }
    }

    /// Whoever may not see a field may not ask for the records that have a certain value in it.
    fn check_comparison(&self, who: Cast) {
        if !may_ever(&self.both(), who, "list") {
            return;
        }
        let query = "{ listNotes(filter: {or: [{secret: {beginsWith: \"s\"}}, {text: {eq: \"none\"}}]}) { items { id } } }";
        let body = self.bench.ask_as(who, query, json!({}));
        if !may_ever(&self.field, who, "list") || !may_ever(&self.model, who, "list") {
            let (error_type, message) = only_error(&body);
            assert_eq!(error_type, "Unauthorized", "{}", self.context(who));
            assert!(message.starts_with("Unauthorized on ["), "{message}");
            return;
        }
        let found = ids(&body["data"]["listNotes"]);
        let expected: Vec<String> = self
            .rows(who, "list", true)
            .into_iter()
            .filter(|number| may(&self.model, who, "list", &self.subjects[*number]))
            .map(|number| format!("n{number}"))
            .collect();
        assert_eq!(found, expected.join(" "), "{}: {body}", self.context(who));
    }

    fn check_update(&self, who: Cast) {
        for number in 0..self.subjects.len() {
            let subject = &self.subjects[number];
            for (input, rules) in [("secret", &self.field), ("text", &self.model)] {
                let id = format!("u{who:?}{input}{number}");
                self.seed(&id, number);
                let query = format!(
                    "mutation {{ updateNote(input: {{id: \"{id}\", {input}: \"new\", _version: 1}}) {{ id secret }} }}"
                );
                let body = self.bench.ask_as(who, &query, json!({}));
                let context = format!("{} {input} of {number}: {body}", self.context(who));
                if !may(&self.both(), who, "update", subject) {
                    assert_eq!(only_error(&body), refusal("updateNote", "Mutation"), "{context}");
                } else if !may(rules, who, "update", subject) {
                    let expected = ("Unauthorized".to_owned(), format!("Unauthorized on [{input}]"));
                    assert_eq!(only_error(&body), expected, "{context}");
                } else {
                    // What the mutation answers is what subscribers hear, so the field is never in it.
                    assert_eq!(
                        body,
                        json!({"data": {"updateNote": {"id": id, "secret": null}}}),
                        "{context}"
                    );
                }
            }
        }
    }

    /// Deleting a record deletes its fields as well.
    fn check_delete(&self, who: Cast) {
        for number in 0..self.subjects.len() {
            let id = format!("d{who:?}{number}");
            self.seed(&id, number);
            let query = format!("mutation {{ deleteNote(input: {{id: \"{id}\", _version: 1}}) {{ id }} }}");
            let body = self.bench.ask_as(who, &query, json!({}));
            let subject = &self.subjects[number];
            let allowed =
                may(&self.both(), who, "delete", subject) && may(&self.field, who, "delete", subject);
            assert_eq!(
                body["data"]["deleteNote"]["id"] == json!(id),
                allowed,
                "{}: {body}",
                self.context(who)
            );
        }
    }

    fn check_create(&self, who: Cast) {
        for with_secret in [false, true] {
            let id = format!("c{who:?}{with_secret}");
            let secret = if with_secret { ", secret: \"s\"" } else { "" };
            let owner = ", owner: \"nobody\", teams: [\"none\"]";
            let query =
                format!("mutation {{ createNote(input: {{id: \"{id}\"{secret}{owner}}}) {{ id secret }} }}");
            let body = self.bench.ask_as(who, &query, json!({}));
            let record = Subject(json!({"owner": "nobody", "teams": ["none"]}));
            let by = |rules: &[Ruled]| may(rules, who, "create", &record);
            let mut denied = Vec::new();
            if with_secret && !by(&self.field) {
                denied.push("secret");
            }
            if !by(&self.model) {
                denied.extend(["owner", "teams"]);
            }
            let context = format!("{}: {body}", self.context(who));
            if !by(&self.both()) {
                assert_eq!(only_error(&body), refusal("createNote", "Mutation"), "{context}");
            } else if !denied.is_empty() {
                let expected = format!("Unauthorized on [{}]", denied.join(", "));
                assert_eq!(only_error(&body).1, expected, "{context}");
            } else {
                assert_eq!(
                    body,
                    json!({"data": {"createNote": {"id": id, "secret": null}}}),
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn rules_on_a_field_stand_in_place_of_those_on_the_model() {
    for (model, field) in pairs() {
        let table = Table::new(model, field);
        for who in Cast::BOUND {
            table.check_reads(who, "list", "listNotes");
            table.check_reads(who, "sync", "syncNotes");
            table.check_comparison(who);
        }
        for who in Cast::BOUND {
            table.check_update(who);
            table.check_delete(who);
            table.check_create(who);
        }
    }
}

const DIARY: &str = "type Note @model @auth(rules: [{ allow: private }, { allow: public, operations: [read] }]) {
  id: ID! text: String
  secret: String @auth(rules: [{ allow: groups, groups: [\"Admin\"] }]) @index(name: \"bySecret\", queryField: \"notesBySecret\")
  code: String! @auth(rules: [{ allow: groups, groups: [\"Admin\"] }])
}";

fn diary() -> Bench {
    let bench = guarded(DIARY);
    let create =
        "mutation { createNote(input: {id: \"n\", text: \"t\", secret: \"hidden\", code: \"c\"}) { id } }";
    bench.data_as(Cast::Bob, create, json!({}));
    bench
}

#[test]
fn a_hidden_field_cannot_be_found_out_by_asking_around() {
    let bench = diary();
    for query in [
        "{ listNotes(filter: {secret: {eq: \"hidden\"}}) { items { id } } }",
        "{ listNotes(filter: {not: {and: [{text: {eq: \"t\"}}, {secret: {ne: \"hidden\"}}]}}) { items { id } } }",
        "{ syncNotes(filter: {and: [{secret: {eq: \"hidden\"}}]}) { items { id } } }",
        "{ notesBySecret(secret: \"hidden\") { items { id } } }",
        "mutation { updateNote(input: {id: \"n\", text: \"x\", _version: 1}, condition: {secret: {eq: \"hidden\"}}) { id } }",
    ] {
        let body = bench.ask_as(Cast::Alice, query, json!({}));
        let expected = ("Unauthorized".to_owned(), "Unauthorized on [secret]".to_owned());
        assert_eq!(only_error(&body), expected, "{query}");
        let body = bench.ask_as(Cast::Bob, query, json!({}));
        assert!(body.get("errors").is_none(), "{query}: {body}");
    }
}

#[test]
fn a_conflict_shows_no_more_of_the_record_than_an_answer() {
    let schema = schema(DIARY);
    let config = BackendConfig {
        conflict: crate::ConflictStrategy::OptimisticConcurrency,
        auth: settings(AuthorizerAnswer::default()),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(schema, config);
    let create =
        "mutation { createNote(input: {id: \"n\", text: \"t\", secret: \"hidden\", code: \"c\"}) { id } }";
    bench.data_as(Cast::Bob, create, json!({}));
    let update = "mutation { updateNote(input: {id: \"n\", text: \"x\", _version: 9}) \
                  { id text s: secret code _version __typename } }";
    let body = bench.ask_as(Cast::Alice, update, json!({}));
    assert_eq!(only_error(&body).0, "ConflictUnhandled");
    let data = json!({"id": "n", "text": "t", "s": null, "code": null, "_version": 1, "__typename": "Note"});
    assert_eq!(body["errors"][0]["data"], data);
}

#[test]
fn subscribers_are_sent_only_the_fields_that_they_may_see() {
    let bench = diary();
    let hear = |who: Cast, query: &str| {
        let connection = bench.connect_as(who);
        assert_eq!(
            bench.start_as(who, connection, query)["type"],
            "start_ack",
            "{who:?}"
        );
        connection
    };
    let query = "subscription { onUpdateNote { id text secret } }";
    let (key, alice, bob) = (
        hear(Cast::Key, query),
        hear(Cast::Alice, query),
        hear(Cast::Bob, query),
    );
    // A required field is in the answer of the mutation, and so in what is sent to whom may see it.
    let query = "subscription { onUpdateNote { id code } }";
    let (alice_code, bob_code) = (hear(Cast::Alice, query), hear(Cast::Bob, query));
    let update =
        "mutation { updateNote(input: {id: \"n\", secret: \"more\", _version: 1}) { id text secret code } }";
    let answer = bench.data_as(Cast::Bob, update, json!({}));
    assert_eq!(
        answer["updateNote"],
        json!({"id": "n", "text": "t", "secret": null, "code": "c"})
    );
    let data =
        |connection| bench.messages(connection).pop().unwrap()["payload"]["data"]["onUpdateNote"].take();
    for connection in [key, alice, bob] {
        assert_eq!(data(connection), json!({"id": "n", "text": "t", "secret": null}));
    }
    assert_eq!(data(alice_code), Json::Null);
    assert_eq!(data(bob_code), json!({"id": "n", "code": "c"}));
}

#[test]
fn a_subscription_cannot_ask_around_either() {
    let bench = diary();
    for (who, filter, allowed) in [
        (Cast::Alice, "{code: {eq: \"c\"}}", false),
        (
            Cast::Alice,
            "{or: [{text: {eq: \"t\"}}, {secret: {eq: \"s\"}}]}",
            false,
        ),
        (Cast::Alice, "{text: {eq: \"t\"}}", true),
        (Cast::Bob, "{code: {eq: \"c\"}}", true),
    ] {
        let connection = bench.connect_as(who);
        let query = format!("subscription {{ onUpdateNote(filter: {filter}) {{ id }} }}");
        let answer = bench.start_as(who, connection, &query);
        if allowed {
            assert_eq!(answer["type"], "start_ack", "{who:?} {filter}: {answer}");
        } else {
            let message = answer["payload"]["errors"][0]["message"]
                .as_str()
                .unwrap_or_default();
            assert!(
                message.starts_with("Unauthorized on ["),
                "{who:?} {filter}: {answer}"
            );
        }
    }
}

#[test]
fn rules_on_fields_alone_open_nothing_else() {
    let bench =
        guarded("type Note @model { id: ID! text: String open: String @auth(rules: [{ allow: public }]) }");
    let create = "mutation { createNote(input: {id: \"n\", text: \"t\", open: \"o\"}) { id } }";
    bench.data_as(Cast::Root, create, json!({}));
    let body = bench.ask_as(Cast::Key, "{ getNote(id: \"n\") { id text open } }", json!({}));
    assert_eq!(
        body["data"]["getNote"],
        json!({"id": "n", "text": null, "open": "o"})
    );
    assert_eq!(only_error(&body), refusal("text", "Note"));
    let body = bench.ask_as(Cast::Alice, "{ getNote(id: \"n\") { id } }", json!({}));
    assert_eq!(only_error(&body), refusal("getNote", "Query"));
}
