//! Rules and what else decides a write or a page: conflict handlers, operations with names of their own, index reads.

use std::sync::{Arc, Mutex};

use super::*;
use crate::conflict::{
    ConflictCall, ConflictHandler, ConflictHandlers, ConflictStrategy, HandlerFailed, Resolution,
};

type Deed = Box<dyn FnMut(&ConflictCall) -> Resolution + Send>;

/// Does something before it answers, and notes whom it was told of.
#[derive(Clone)]
struct Meddling {
    deed: Arc<Mutex<Deed>>,
    told: Arc<Mutex<Vec<Option<Json>>>>,
}

impl ConflictHandler for Meddling {
    fn resolve(&self, call: &ConflictCall) -> Result<Resolution, HandlerFailed> {
        self.told.lock().unwrap().push(call.identity.clone());
        Ok((self.deed.lock().unwrap())(call))
    }
}

const NOTES: &str = "type Note @model(mutations: {create: \"addNote\", update: \"editNote\", delete: null}, \
     subscriptions: {onUpdate: [\"edited\", \"changed\"]}) @auth(rules: [{allow: owner, identityClaim: \"sub\"}]) \
     { id: ID! text: String }";

fn handled(deed: impl FnMut(&ConflictCall) -> Resolution + Send + 'static) -> (Bench, Meddling) {
    handled_in(NOTES, deed)
}

fn handled_in(
    sdl: &str,
    deed: impl FnMut(&ConflictCall) -> Resolution + Send + 'static,
) -> (Bench, Meddling) {
    let handler = Meddling {
        deed: Arc::new(Mutex::new(Box::new(deed))),
        told: Arc::default(),
    };
    let config = BackendConfig {
        auth: settings(AuthorizerAnswer::default()),
        conflict: ConflictStrategy::Handler,
        conflict_handlers: ConflictHandlers::for_all(handler.clone()),
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(schema(sdl), config);
    let add = "mutation { addNote(input: {id: \"n\", text: \"a\"}) { id } }";
    bench.data_as(Cast::Alice, add, json!({}));
    (bench, handler)
}

const STALE: &str =
    "mutation { editNote(input: {id: \"n\", text: \"b\", _version: 7}) { text owner _version } }";

#[test]
fn a_handler_is_asked_only_for_those_who_may_write_and_is_told_who_they_are() {
    let (bench, handler) = handled(|call| Resolution::Resolve(call.new_item.clone()));
    for who in [Cast::Bob, Cast::Key, Cast::Carol] {
        let body = bench.ask_as(who, STALE, json!({}));
        assert_eq!(only_error(&body), refusal("editNote", "Mutation"), "{who:?}");
        assert!(
            body["errors"][0]["data"].is_null(),
            "nothing of the record is told"
        );
    }
    assert_eq!(handler.told.lock().unwrap().len(), 0);
    let data = bench.data_as(Cast::Alice, STALE, json!({}));
    assert_eq!(
        data["editNote"],
        json!({"text": "b", "owner": "a-1", "_version": 2})
    );
    let told = handler.told.lock().unwrap()[0].clone().unwrap();
    assert_eq!(
        (&told["sub"], &told["username"]),
        (&json!("a-1"), &json!("alice"))
    );
}

#[test]
fn a_handler_cannot_give_a_record_to_an_owner_that_no_input_can_name() {
    for owner in [json!("b-1"), Json::Null] {
        let (bench, _) = handled(move |call| {
            let mut item = call.new_item.clone();
            item.insert("owner".to_owned(), owner.clone());
            Resolution::Resolve(item)
        });
        let data = bench.data_as(Cast::Alice, STALE, json!({}));
        assert_eq!(data["editNote"]["owner"], "a-1");
    }
}

#[test]
fn a_handler_gives_a_record_to_another_owner_where_inputs_can_as_well() {
    let declared = "type Note @model(mutations: {create: \"addNote\", update: \"editNote\"}) \
         @auth(rules: [{allow: owner, identityClaim: \"sub\"}]) { id: ID! text: String owner: String }";
    let (bench, _) = handled_in(declared, |call| {
        let mut item = call.new_item.clone();
        item.insert("owner".to_owned(), json!("b-1"));
        Resolution::Resolve(item)
    });
    let data = bench.data_as(Cast::Alice, STALE, json!({}));
    assert_eq!(data["editNote"]["owner"], "b-1");
    let get = "{ getNote(id: \"n\") { text } }";
    assert_eq!(bench.data_as(Cast::Bob, get, json!({}))["getNote"]["text"], "b");
    let body = bench.ask_as(Cast::Alice, get, json!({}));
    assert_eq!(only_error(&body), refusal("getNote", "Query"));
}

#[test]
fn a_handler_removes_what_its_caller_may_only_update_and_subscribers_of_updates_hear_it() {
    let (bench, _) = handled(|_| Resolution::Remove);
    let connection = bench.connect_as(Cast::Alice);
    let query = "subscription { edited { id _deleted _version } }";
    assert_eq!(
        bench.start_as(Cast::Alice, connection, query)["type"],
        "start_ack"
    );
    let update =
        "mutation { editNote(input: {id: \"n\", text: \"b\", _version: 7}) { id text _version _deleted } }";
    let data = bench.data_as(Cast::Alice, update, json!({}));
    let tombstone = json!({"id": "n", "text": "a", "_version": 2, "_deleted": true});
    assert_eq!(data["editNote"], tombstone);
    let messages = bench.messages(connection);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(
        messages[0]["payload"]["data"]["edited"],
        json!({"id": "n", "_deleted": true, "_version": 2})
    );
}

#[test]
fn subscribers_under_custom_names_hear_what_a_handler_decided_only_of_their_own_records() {
    let (bench, _) = handled(|call| Resolution::Resolve(call.new_item.clone()));
    let listen = |who: Cast, field: &str| {
        let data = json!({"query": format!("subscription {{ {field} {{ id text owner }} }}")}).to_string();
        let now_ms = bench.now_ms.get();
        let id = bench.backend.open_connection(
            now_ms,
            &who.headers(now_ms, "/graphql/connect", "{}"),
            None,
            Arc::new(|| {}),
        );
        let authorization: serde_json::Map<String, Json> = who
            .headers(now_ms, "/graphql", &data)
            .into_iter()
            .map(|(name, value)| (name, Json::from(value)))
            .collect();
        let payload = json!({"data": data, "extensions": {"authorization": authorization}});
        let start = json!({"id": "1", "type": "start", "payload": payload}).to_string();
        bench.backend.frame_in(now_ms, id, &start);
        let outgoing = format!("{:?}", bench.backend.take_outgoing(id));
        (id, outgoing)
    };
    let (alice, outgoing) = listen(Cast::Alice, "edited");
    assert!(outgoing.contains("start_ack"), "{outgoing}");
    let (bob, outgoing) = listen(Cast::Bob, "changed");
    assert!(outgoing.contains("start_ack"), "{outgoing}");
    let (_, outgoing) = listen(Cast::Key, "changed");
    assert!(
        outgoing.contains("Not Authorized to access changed on type Subscription"),
        "{outgoing}"
    );
    bench.data_as(Cast::Alice, STALE, json!({}));
    assert_eq!(bench.backend.take_outgoing(alice).len(), 1);
    assert_eq!(bench.backend.take_outgoing(bob).len(), 0);
}

#[test]
fn a_sync_does_not_come_in_the_order_of_a_field_that_is_hidden() {
    let bench = guarded(
        "type Score @model @auth(rules: [{allow: public}, {allow: private}]) { id: ID! \
         game: String! @index(name: \"byGame\", sortKeyFields: [\"points\"], queryField: \"scoresByGame\") \
         points: Int @auth(rules: [{allow: private}]) }",
    );
    for (id, points) in [("a", 3), ("b", 1), ("c", 2)] {
        let create = format!(
            "mutation {{ createScore(input: {{id: \"{id}\", game: \"g\", points: {points}}}) {{ id }} }}"
        );
        bench.data_as(Cast::Alice, &create, json!({}));
    }
    let order = |who: Cast, filter: &str| {
        let query = format!("{{ syncScores(filter: {{{filter}}}) {{ items {{ id }} }} }}");
        let items = bench.data_as(who, &query, json!({}))["syncScores"]["items"].take();
        let ids = items.as_array().unwrap().iter();
        ids.map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    let by_points = "game: {eq: \"g\"}";
    assert_eq!(
        order(Cast::Alice, by_points),
        "bca",
        "who may see the field gets the index's order"
    );
    let scanned = order(Cast::Key, by_points);
    assert_ne!(scanned, "bca");
    assert_eq!(scanned, order(Cast::Key, ""), "it is the order of a scan");
    let asked = "{ syncScores(filter: {game: {eq: \"g\"}, points: {gt: 1}}) { items { id } } }";
    let body = bench.ask_as(Cast::Key, asked, json!({}));
    assert_eq!(only_error(&body).1, "Unauthorized on [points]");
    let asked = "{ scoresByGame(game: \"g\") { items { id } } }";
    let body = bench.ask_as(Cast::Key, asked, json!({}));
    assert_eq!(only_error(&body).1, "Unauthorized on [points]");
}
