//! Tests of the decisions: what a save, a delete, a lost answer and a conflict lead to.

use super::*;
use crate::entry::Decision;
use crate::predicate::Op;
use crate::record::IdPart;
use crate::schema::SchemaParts;
use crate::test_support::lab::{From, Lab, remote, show_write};
use crate::test_support::{
    blog, blog_model, fields, has_many, model, mutation, names, relation, row, sdl, show_fields,
};
use crate::value::Value;

use MutationKind::{Create, Delete, Update};

/// What a decision says, as text: the write, `nothing`, or why not.
fn told(decided: Result<Option<Write>, WriteRefused>) -> String {
    match decided {
        Ok(Some(write)) => show_write(&write),
        Ok(None) => "nothing".into(),
        Err(refused) => format!("refused: {refused}"),
    }
}

#[track_caller]
fn check_save(script: &str, from: From, save: &str, expected: &str) {
    assert_eq!(
        told(Lab::run(script).decide_save(from, save)),
        expected,
        "`{save}` after `{script}`"
    );
}

#[track_caller]
fn check_delete(script: &str, delete: &str, expected: &str) {
    assert_eq!(
        told(Lab::run(script).decide_delete(delete)),
        expected,
        "`{delete}` after `{script}`"
    );
}

/// Saves a record of any model over a stored row.
fn save_over(model: &str, state: &RecordState, base: Option<&Row>, values: Row) -> Option<Write> {
    let request = SaveRequest {
        values,
        base: base.cloned(),
        seen: state.sync.filter(|_| base.is_some()),
        condition: None,
        queued: true,
        group: None,
    };
    decide_save(&blog(), &blog_model(model), state, request).expect("the record fits its model")
}

#[test]
fn a_record_that_is_not_stored_is_created_with_every_field_that_is_set() {
    check_save(
        "",
        From::Nothing,
        "title=a tags=[x,y]",
        "create {tags=[x,y] title=a}",
    );
    check_save("", From::Nothing, "", "create {}");
    check_save("remote v2 deleted", From::Nothing, "title=a", "create {title=a}");
    check_save(
        "save title=b; delete",
        From::Nothing,
        "title=a",
        "create {title=a}",
    );
    check_save(
        "remote v1 title=b; delete",
        From::Nothing,
        "title=a",
        "create {title=a}",
    );
    // The JavaScript client ignores a condition on a create as well: there is no record that it could speak of.
    check_save("", From::Nothing, "title=a if rating=3", "create {title=a}");
}

#[test]
fn a_create_sends_the_identifier_but_no_field_that_only_the_server_writes() {
    let post = blog_model("Post");
    let values = row(&post, "id=p1 title=a createdAt=2026-01-01T00:00:00Z score=2");
    let write = save_over("Post", &RecordState::default(), None, values).expect("something is written");
    assert_eq!(write.patch, fields("id=p1 title=a score=2.0"));
    assert_eq!(
        write.patch.get("score"),
        Some(&Value::Float(2.0)),
        "brought into the form that rows hold"
    );
    assert_eq!(
        (write.key, write.kind, write.base_version),
        (RecordKey::new("Post", "p1"), Create, None)
    );
}

#[test]
fn an_imported_record_keeps_what_only_the_server_writes_and_its_updates_do_not_write_it() {
    let post = blog_model("Post");
    let (schema, made) = (blog(), "id=p1 title=a createdAt=2026-01-01T00:00:00Z");
    let request = |values| SaveRequest {
        values,
        base: None,
        seen: None,
        condition: None,
        queued: true,
        group: None,
    };
    let import = |state: &RecordState, text: &str| {
        decide_import(&schema, &post, state, request(row(&post, text))).expect("it fits")
    };
    let write = import(&RecordState::default(), made).expect("something is written");
    assert_eq!(write.patch, fields(made));
    let mut state = RecordState::default();
    state
        .apply(&post, Seq(1), &crate::Change::Write(write))
        .expect("it fits");
    let later = import(&state, "id=p1 title=b createdAt=2026-02-02T00:00:00Z").expect("something is written");
    assert_eq!(later.patch, fields("title=b"));
}

#[test]
fn an_update_sends_what_the_caller_changed() {
    let stored = "remote v1 title=a rating=1 tags=[x]";
    let cases = [
        ("title=b", "update {title=b} @v1"),
        ("title=b rating=1", "update {title=b} @v1"),
        ("title=null", "update {title=null} @v1"),
        ("tags=[x,y] rating=null", "update {rating=null tags=[x,y]} @v1"),
        ("tags=[]", "update {tags=[]} @v1"),
        ("tags=[x]", "nothing"),
        ("title=a rating=1", "nothing"),
        ("", "nothing"),
    ];
    for (save, expected) in cases {
        check_save(stored, From::Stored, save, expected);
    }
}

#[test]
fn a_record_built_anew_replaces_all_fields() {
    check_save(
        "remote v1 title=a rating=1",
        From::Nothing,
        "title=b",
        "update {rating=null title=b} @v1",
    );
    check_save("remote v1 title=a", From::Nothing, "title=a", "nothing");
}

#[test]
fn a_copy_is_compared_with_what_was_read_not_with_what_is_stored() {
    let moved = "remote v1 title=a rating=1; copy; remote v2 title=x rating=2";
    check_save(moved, From::Copy, "note=n", "update {note=n} @v2");
    check_save(moved, From::Copy, "", "nothing");
    check_save(moved, From::Copy, "title=x", "update {title=x} @v1");
}

#[test]
fn the_version_is_the_newest_unless_another_writer_changed_the_same_field() {
    let cases = [
        // Nothing waits: the newest version.
        ("remote v3 title=a; copy", "title=b", "update {title=b} @v3"),
        (
            "remote v1 title=a; copy; remote v2 title=a rating=1",
            "title=b",
            "update {title=b} @v2",
        ),
        // The same field was changed by another: the version that was seen.
        (
            "remote v1 title=a; copy; remote v2 title=x",
            "title=b",
            "update {title=b} @v1",
        ),
        // The same field was changed by this store: no conflict.
        (
            "remote v1 title=a; copy; save title=x; sent e2; ack e2 v2 title=x",
            "title=b",
            "update {title=b} @v2",
        ),
        // The answer was merged with another's change: it counts as another's.
        (
            "remote v1 title=a; copy; save title=x; sent e2; ack e2 v3 title=y",
            "title=b",
            "update {title=b} @v1",
        ),
        // Something waits: the version comes with its acknowledgement.
        (
            "remote v1 title=a; copy; save rating=1",
            "title=b",
            "update {title=b}",
        ),
        ("save title=a; copy", "title=b", "update {title=b}"),
    ];
    for (script, save, expected) in cases {
        check_save(script, From::Copy, save, expected);
    }
    // The app never read the record, so that there is nothing to clash with.
    check_save(
        "remote v2 title=a",
        From::Nothing,
        "title=b",
        "update {title=b} @v2",
    );
}

#[test]
fn what_the_caller_cannot_have_seen_keeps_the_version_old() {
    let cases = [
        // Our own newer version of another field does not hide what another wrote before it.
        (
            "remote v1 title=a; copy; remote v2 title=x; save rating=1; sent e3; ack e3 v3 title=x rating=1",
            "title=b",
            "update {title=b} @v1",
        ),
        (
            "remote v1 title=a; copy; save rating=1; sent e2; ack e2 v2 title=a rating=1; \
             save title=x; sent e5; ack e5 v3 title=x rating=1",
            "title=b",
            "update {title=b} @v3",
        ),
        // Nor does one that waits.
        (
            "remote v1 title=a; copy; remote v2 title=x; save rating=1; sent e3",
            "title=b",
            "update {title=b} @v1",
        ),
        // The copy was made while an edit hid the other's value, and the edit was given up.
        (
            "remote v1 title=a; save title=b; sent e2; remote v2 title=x; copy; conflict e2 v2 title=x -> accept",
            "title=c",
            "update {title=c} @v1",
        ),
        // The same, but the edit came after the other's value, from an older copy still.
        (
            "remote v1 title=a; copy; remote v2 title=x; save-copy title=b; sent e3; copy; \
             conflict e3 v2 title=x -> accept",
            "title=c",
            "update {title=c} @v1",
        ),
        // The copy is older than the record of another writer that took the identifier.
        (
            "save title=a; copy; sent e1; conflict e1 v1 title=x -> accept",
            "title=b",
            "update {title=b} @v0",
        ),
    ];
    for (script, save, expected) in cases {
        check_save(script, From::Copy, save, expected);
    }
    // The value of another is hidden by an edit that waits, so that nobody who saves now has seen it.
    let hidden = "remote v1 title=a; save title=b; sent e2; remote v2 title=x";
    check_save(hidden, From::Stored, "title=c", "update {title=c} @v1");
    check_save(hidden, From::Stored, "rating=1", "update {rating=1}");
    check_delete(hidden, "delete", "delete @v1");
}

#[test]
fn a_local_only_record_has_no_version() {
    check_save(
        "write local create id=t1 title=a",
        From::Stored,
        "title=b",
        "update {title=b}",
    );
}

#[test]
fn a_copy_of_a_deleted_record_cannot_be_saved() {
    let refused = "refused: `Todo/t1` was deleted after it was read; build a new record to make it again";
    for gone in ["remote v2 deleted", "delete", "evicted"] {
        check_save(
            &format!("remote v1 title=a; copy; {gone}"),
            From::Copy,
            "title=b",
            refused,
        );
    }
}

#[test]
fn a_condition_is_checked_on_the_stored_record_before_anything_else() {
    let refused =
        "refused: the stored `Todo/t1` does not satisfy the condition; read it again and decide anew";
    let stored = "remote v1 title=a rating=3; copy; remote v2 title=a rating=4";
    check_save(
        stored,
        From::Copy,
        "title=b if rating=4",
        "update {title=b} @v2 if",
    );
    check_save(stored, From::Copy, "title=b if rating=3", refused);
    check_save(stored, From::Copy, "title=a if rating=3", refused);
    check_save(stored, From::Copy, "title=b if note=n", refused);
    check_delete(stored, "delete if rating=4", "delete @v2 if");
    check_delete(stored, "delete if rating=3", refused);
}

#[test]
fn a_condition_that_does_not_fit_the_model_is_refused() {
    let lab = Lab::run("remote v1 title=a");
    let bad = lab.decide_save(From::Stored, "title=b if size=3");
    assert!(
        matches!(
            bad,
            Err(WriteRefused::BadCondition(PredicateError::UnknownField { .. }))
        ),
        "{bad:?}"
    );
    let bad = lab.decide_delete("delete if rating=x");
    assert!(
        matches!(
            bad,
            Err(WriteRefused::BadCondition(PredicateError::BadOperand { .. }))
        ),
        "{bad:?}"
    );
}

#[test]
fn a_record_that_does_not_fit_its_model_is_refused_before_anything_is_decided() {
    check_save(
        "",
        From::Nothing,
        "rating=x tags=[1]",
        "refused: `Todo` cannot be saved: `rating` takes an integer between -2147483648 and 2147483647, \
         not a string (\"x\"); `tags[0]` takes a string, not an integer (1)",
    );
    let lab = Lab::run("remote v1 title=a; copy; delete");
    let refused = lab.decide_save(From::Copy, "rating=x");
    assert!(
        matches!(refused, Err(WriteRefused::Invalid(_))),
        "faults come before `gone`: {refused:?}"
    );
}

#[test]
fn a_delete_is_made_on_the_newest_version() {
    check_delete("", "delete", "nothing");
    check_delete("remote v2 deleted", "delete", "nothing");
    check_delete("remote v1 title=a; delete", "delete", "nothing");
    check_delete("remote v3 title=a", "delete", "delete @v3");
    check_delete("remote v3 title=a; save title=b", "delete", "delete");
    check_delete("save title=a", "delete", "delete");
    check_delete("write local create title=a", "delete", "delete");
}

#[test]
fn a_write_carries_its_group_and_whether_it_is_for_the_server() {
    let lab = Lab::run("remote v1 title=a");
    let key = RecordKey::new("Todo", "t1");
    let group = Some(Seq(5));
    let write = decide_delete(&lab.schema, &lab.def, &lab.state, key, None, false, group);
    let write = write.expect("no condition").expect("a record to delete");
    assert_eq!((write.queued, write.group), (false, group));
    for (state, values) in [
        (&lab.state, "id=t1 title=b"),
        (&RecordState::default(), "id=t2 title=b"),
    ] {
        let request = SaveRequest {
            values: row(&lab.def, values),
            base: None,
            seen: None,
            condition: None,
            queued: false,
            group,
        };
        let write = decide_save(&lab.schema, &lab.def, state, request)
            .expect("it fits")
            .expect("a change");
        assert_eq!((write.queued, write.group), (false, group));
    }
}

#[test]
fn identifiers_are_never_part_of_an_update() {
    let order = blog_model("Order");
    let stored = row(&order, "customer=c1 number=7 note=a");
    let state = RecordState {
        row: Some(stored.clone()),
        ..RecordState::default()
    };
    let write = save_over(
        "Order",
        &state,
        Some(&stored),
        row(&order, "customer=c1 number=7 note=b"),
    );
    let write = write.expect("a change");
    assert_eq!(show_fields(&write.patch), "{note=b}");
    let id = RecordId::new(vec![IdPart::Text("c1".into()), IdPart::Int(7)]);
    assert_eq!(
        write.key,
        RecordKey {
            model: "Order".into(),
            id
        }
    );
}

/// A copy whose identifier was changed is a save of another record: of that one it must not change the identifier.
#[test]
fn identifier_changed_in_a_copy_is_not_sent() {
    let order = blog_model("Order");
    let stored = row(&order, "customer=c2 number=7 note=x");
    let state = RecordState {
        row: Some(stored),
        ..RecordState::default()
    };
    let copied = row(&order, "customer=c1 number=7 note=a");
    let values = row(&order, "customer=c2 number=7 note=b");
    let write = save_over("Order", &state, Some(&copied), values).expect("a change");
    assert_eq!(show_fields(&write.patch), "{note=b}");
}

#[test]
fn an_update_sends_no_field_that_only_the_server_writes() {
    let post = blog_model("Post");
    let stored = row(&post, "id=p1 title=a createdAt=2026-01-01T00:00:00Z");
    let state = RecordState {
        row: Some(stored.clone()),
        ..RecordState::default()
    };
    let touched = row(&post, "id=p1 title=a createdAt=2026-02-02T00:00:00Z");
    assert_eq!(save_over("Post", &state, Some(&stored), touched), None);
    // Built anew, it has no such times at all, which must not wipe those of the server.
    let write = save_over("Post", &state, None, row(&post, "id=p1 title=b")).expect("a change");
    assert_eq!(show_fields(&write.patch), "{title=b}");
}

#[test]
fn fields_of_a_composite_sort_key_are_sent_together() {
    let order = blog_model("Order");
    let stored = row(
        &order,
        "customer=c1 number=7 state=open day=2026-01-01 priority=1",
    );
    let state = RecordState {
        row: Some(stored.clone()),
        sync: Some(remote("v4").sync),
        ..RecordState::default()
    };
    let save = |base: &Row, change: &str| {
        let mut values = base.clone();
        crate::test_support::lay_over(&order, &mut values, &fields(change));
        show_write(&save_over("Order", &state, Some(base), values).expect("a change"))
    };
    assert_eq!(
        save(&stored, "priority=2"),
        "update {day=2026-01-01 priority=2} @v4"
    );
    assert_eq!(
        save(&stored, "day=2026-01-02"),
        "update {day=2026-01-02 priority=1} @v4"
    );
    assert_eq!(
        save(&stored, "state=shut"),
        "update {state=shut} @v4",
        "the partition field stands alone"
    );
    assert_eq!(save(&stored, "note=n"), "update {note=n} @v4");
}

/// A stale copy must not undo, by way of the group, what another writer did to a field that its owner left alone.
#[test]
fn fields_of_a_group_that_the_caller_left_alone_are_sent_as_stored() {
    let order = blog_model("Order");
    let read = row(
        &order,
        "customer=c1 number=7 state=open day=2026-01-01 priority=1",
    );
    let stored = row(
        &order,
        "customer=c1 number=7 state=open day=2026-02-02 priority=1",
    );
    let state = RecordState {
        row: Some(stored),
        sync: Some(remote("v4").sync),
        ..RecordState::default()
    };
    let values = row(
        &order,
        "customer=c1 number=7 state=open day=2026-01-01 priority=2",
    );
    let request = SaveRequest {
        values,
        base: Some(read),
        seen: Some(remote("v3").sync),
        condition: None,
        queued: true,
        group: None,
    };
    let write = decide_save(&blog(), &order, &state, request)
        .expect("it fits")
        .expect("a change");
    assert_eq!(
        show_write(&write),
        "update {day=2026-02-02 priority=2} @v4",
        "different fields are no clash"
    );
}

#[test]
fn parents_are_the_records_that_the_row_refers_to() {
    let post = blog_model("Post");
    let schema = blog();
    let of = |text: &str| parents(&schema, &post, &row(&post, text));
    assert_eq!(of("id=p1 title=a blogId=b1"), [RecordKey::new("Blog", "b1")]);
    assert_eq!(of("id=p1 title=a"), []);
    let stored = row(&post, "id=p1 title=a blogId=b1");
    let state = RecordState {
        row: Some(stored.clone()),
        ..RecordState::default()
    };
    let moved = save_over(
        "Post",
        &state,
        Some(&stored),
        row(&post, "id=p1 title=a blogId=b2"),
    );
    assert_eq!(moved.expect("a change").parents, [RecordKey::new("Blog", "b2")]);
    let renamed = save_over(
        "Post",
        &state,
        Some(&stored),
        row(&post, "id=p1 title=b blogId=b1"),
    );
    assert_eq!(
        renamed.expect("a change").parents,
        [RecordKey::new("Blog", "b1")],
        "also when it did not change"
    );
    let key = RecordKey::new("Post", "p1");
    let deleted = decide_delete(&schema, &post, &state, key, None, true, None).expect("no condition");
    assert_eq!(
        deleted.expect("a record to delete").parents,
        [RecordKey::new("Blog", "b1")]
    );
}

#[test]
fn a_has_one_that_holds_the_key_refers_to_a_record_too() {
    let targets = |targets: &[&str]| crate::schema::Association::HasOne {
        associated_with: names(&["id"]),
        targets: names(targets),
    };
    let account = [
        sdl("id: ID!, profileId: ID"),
        vec![
            relation("profile", "Profile", targets(&["profileId"])),
            relation("avatar", "Profile", targets(&[])),
        ],
    ];
    let schema = Schema::build(SchemaParts {
        models: vec![
            model("Account", account.concat()),
            model("Profile", sdl("id: ID!")),
        ],
        ..SchemaParts::default()
    })
    .expect("a sound schema");
    let def = schema.model("Account").expect("a model of the schema");
    let of = |text: &str| parents(&schema, def, &row(def, text));
    assert_eq!(of("id=a1 profileId=p1"), [RecordKey::new("Profile", "p1")]);
    assert_eq!(of("id=a1"), []);
}

/// As in Amplify's own examples: only the parent says that it has children.
#[test]
fn a_child_refers_to_its_parent_also_if_only_the_parent_says_so() {
    let has_one = crate::schema::Association::HasOne {
        associated_with: names(&["projectId"]),
        targets: Vec::new(),
    };
    let project = [
        sdl("id: ID!"),
        vec![
            has_many("tasks", "Task", &["projectId"]),
            relation("plan", "Plan", has_one),
        ],
    ];
    let schema = Schema::build(SchemaParts {
        models: vec![
            model("Task", sdl("id: ID!, projectId: ID")),
            model("Plan", sdl("id: ID!, projectId: ID")),
            model("Project", project.concat()),
        ],
        ..SchemaParts::default()
    })
    .expect("a sound schema");
    for name in ["Task", "Plan"] {
        let def = schema.model(name).expect("a model of the schema");
        let of = |text: &str| parents(&schema, def, &row(def, text));
        assert_eq!(of("id=t1 projectId=p1"), [RecordKey::new("Project", "p1")]);
        assert_eq!(of("id=t1"), []);
    }
    let levels = schema.topological_levels();
    assert_eq!(
        levels,
        [names_of_models(&["Project"]), names_of_models(&["Task", "Plan"])]
    );
}

fn names_of_models(names: &[&str]) -> Vec<crate::names::ModelName> {
    names.iter().map(|name| (*name).into()).collect()
}

#[test]
fn a_parent_is_named_once_though_both_sides_tell_of_the_relation() {
    let (schema, post) = (blog(), blog_model("Post"));
    assert_eq!(
        schema.belongings(&post.name).len(),
        1,
        "the blog has posts, and a post belongs to it"
    );
}

/// A mutation on version 4 whose answer was lost.
fn unknown(kind: MutationKind, patch: &str) -> Mutation {
    Mutation {
        base_version: (kind != Create).then_some(RecordVersion(4)),
        ..mutation(1, kind, patch)
    }
}

#[test]
fn a_lost_answer_is_settled_by_the_servers_record() {
    use Settled::{Applied, Conflict, NotApplied};
    let cases = [
        // The server has nothing: not even a tombstone.
        (Create, "title=b", None, NotApplied),
        (Update, "title=b", None, NotApplied),
        (Delete, "", None, Applied),
        // A create whose identifier the app may choose.
        (Create, "title=b", Some("v1 title=b"), Applied),
        (Create, "title=b", Some("v2 title=b rating=1"), Applied),
        (Create, "title=b", Some("v1 title=x"), Conflict),
        (Create, "title=b rating=1", Some("v1 title=b"), Conflict),
        (Create, "title=b", Some("v3 title=x"), Conflict),
        (Create, "title=b", Some("v6 deleted"), NotApplied),
        (Create, "", Some("v6 deleted"), NotApplied),
        // An update made on version 4.
        (Update, "title=b", Some("v4 title=a"), NotApplied),
        (Update, "title=b", Some("v4 title=b"), NotApplied),
        (Update, "title=b", Some("v5 title=b"), Applied),
        (Update, "title=b", Some("v7 title=b rating=1"), Applied),
        (Update, "title=b", Some("v5 title=x"), Conflict),
        (Update, "title=null", Some("v5 rating=1"), Applied),
        (Update, "title=null", Some("v5 title=x"), Conflict),
        (Update, "title=b", Some("v5 deleted"), Conflict),
        (Update, "title=null", Some("v5 deleted"), Conflict),
        // Automerge that appended to a list must not be asked to do so again.
        (Update, "tags=[a,b]", Some("v5 tags=[a,a,b]"), Conflict),
        // A read that lags behind: what it holds is from before the change, and was changed since.
        (Update, "title=b", Some("v3 title=b"), Conflict),
        // A delete made on version 4.
        (Delete, "", Some("v4 title=a"), NotApplied),
        (Delete, "", Some("v5 deleted"), Applied),
        (Delete, "", Some("v5 title=x"), Conflict),
    ];
    let todo = blog_model("Todo");
    for (kind, patch, server, expected) in cases {
        let server = server.map(remote);
        let settled = settle(&todo, &unknown(kind, patch), server.as_ref());
        assert_eq!(settled, expected, "{kind:?} {patch} with {server:?}");
    }
}

#[test]
fn a_create_that_met_another_record_is_a_conflict_whoever_chose_the_identifier() {
    let memo = blog_model("Memo");
    let created = |server: &RemoteRecord| settle(&memo, &unknown(Create, "title=b"), Some(server));
    let tombstone = |values: &str| RemoteRecord {
        fields: fields(values),
        ..remote("v2 deleted")
    };
    for server in [
        remote("v1 title=b"),
        remote("v2 title=b rating=1"),
        tombstone("title=b"),
    ] {
        assert_eq!(created(&server), Settled::Applied, "{server:?}");
    }
    for server in [remote("v1 title=x"), remote("v3 title=x"), remote("v1")] {
        assert_eq!(created(&server), Settled::Conflict, "{server:?}");
    }
    assert_eq!(
        settle(&memo, &unknown(Create, "title=b"), None),
        Settled::NotApplied
    );
    // The app made it again after a delete: the tombstone is of the earlier life, and the server refuses.
    assert_eq!(created(&tombstone("title=x")), Settled::NotApplied);
}

#[test]
fn a_mutation_without_a_version_is_never_taken_for_unapplied_while_the_server_has_the_record() {
    let todo = blog_model("Todo");
    let update = mutation(1, Update, "title=b");
    assert_eq!(
        settle(&todo, &update, Some(&remote("v1 title=a"))),
        Settled::Conflict
    );
    assert_eq!(
        settle(&todo, &update, Some(&remote("v2 title=b"))),
        Settled::Applied
    );
    assert_eq!(
        settle(&todo, &mutation(1, Delete, ""), Some(&remote("v1 title=a"))),
        Settled::Conflict
    );
}

#[test]
fn a_handlers_answer_becomes_a_decision() {
    let keep = Resolution::KeepLocal;
    let accept = Resolution::AcceptRemote;
    let merged = |text: &str| Resolution::Merged(fields(text));
    let cases = [
        (Create, "title=b", "v3 title=x", accept.clone(), "accept"),
        (Update, "title=b", "v3 title=x", accept.clone(), "accept"),
        (Delete, "", "v3 title=x", accept, "accept"),
        // A create that met a record made meanwhile goes on as an update.
        (Create, "title=b", "v3 title=x", keep.clone(), "update {title=b}"),
        (
            Update,
            "title=b",
            "v3 title=x note=n",
            keep.clone(),
            "update {title=b}",
        ),
        (Delete, "", "v3 title=x", keep.clone(), "delete {}"),
        (
            Update,
            "title=b",
            "v3 title=x note=n",
            merged("title=bx note=n"),
            "update {title=bx}",
        ),
        (
            Update,
            "title=b",
            "v3 title=x note=n",
            merged("title=x note=null"),
            "update {note=null}",
        ),
        (
            Delete,
            "",
            "v3 title=x",
            merged("title=kept"),
            "update {title=kept}",
        ),
        (
            Update,
            "title=b",
            "v3 title=x",
            merged("title=x note=null"),
            "accept",
        ),
        (Update, "title=b", "v3 title=x", merged(""), "accept"),
        // What the server deleted cannot be updated again: whoever wants it kept has to decide anew.
        (Update, "title=b", "v3 deleted", keep.clone(), "RecordDeleted"),
        (
            Update,
            "title=b",
            "v3 deleted",
            merged("title=b"),
            "RecordDeleted",
        ),
        (Create, "title=b", "v3 deleted", keep.clone(), "RecordDeleted"),
        (Delete, "", "v3 deleted", keep, "accept"),
    ];
    for (kind, patch, server, resolution, expected) in cases {
        let name = format!("{kind:?} {patch} with {server}: {resolution:?}");
        let told = match decide_conflict(&unknown(kind, patch), &remote(server), resolution) {
            Ok(Decision::AcceptRemote) => "accept".to_owned(),
            Ok(Decision::Retry { kind, patch }) => format!("{} {}", kind.verb(), show_fields(&patch)),
            Err(refusal) => refusal.error_type.unwrap_or_default(),
        };
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn a_refused_write_changes_nothing_and_says_what_to_do() {
    let lab = Lab::run("remote v1 title=a rating=1; save title=b");
    let before = lab.state.clone();
    let condition = Predicate::field("rating", Op::Gt(5.into()));
    let request = SaveRequest {
        values: row(&lab.def, "id=t1 title=c"),
        base: None,
        seen: None,
        condition: Some(condition),
        queued: true,
        group: None,
    };
    let refused = decide_save(&lab.schema, &lab.def, &lab.state, request).expect_err("rating is 1");
    assert_eq!(
        refused,
        WriteRefused::ConditionFailed {
            key: RecordKey::new("Todo", "t1")
        }
    );
    assert_eq!(lab.state, before);
}
