//! Tests of the fold: what each change does, and one test for each defect of Amplify's clients that these rules
//! design away. Scripts and the text form of a state are explained in `test_support/lab.rs`.

mod model;

use std::collections::BTreeMap;

use super::*;
use crate::entry::{Checkpoint, Opaque, Quarantined, SchemaChanged};
use crate::outbox::{Errand, Outbox};
use crate::record::RecordKey;
use crate::schema::SchemaHash;
use crate::sync_plan::SyncCursor;
use crate::test_support::lab::{Lab, change, remote};
use crate::test_support::{blog_model, fields, row, show_row, sync};

#[track_caller]
fn check(script: &str, expected: &str) {
    assert_eq!(Lab::run(script).text(), expected, "after `{script}`");
}

#[track_caller]
fn check_all(cases: &[(&str, &str)]) {
    for (script, expected) in cases {
        check(script, expected);
    }
}

#[test]
fn a_write_shows_at_once_and_waits_for_the_server() {
    check_all(&[
        ("", "- | - | - | -"),
        (
            "write create title=a",
            "{title=a} | - | - | e1 create queued {title=a}",
        ),
        (
            "remote v1 title=a; write update title=b",
            "{title=b} | v1 | {title=a} | e2 update queued {title=b}",
        ),
        (
            "remote v1 title=a; write delete",
            "- | v1 | {title=a} | e2 delete queued",
        ),
        (
            "remote v1 title=a; save title=b",
            "{title=b} | v1 | {title=a} | e2 update queued @v1 {title=b}",
        ),
        (
            "remote v1 title=a; delete",
            "- | v1 | {title=a} | e2 delete queued @v1",
        ),
    ]);
}

#[test]
fn a_local_only_write_waits_for_nobody() {
    check_all(&[
        ("write local create title=a", "{title=a} | - | - | -"),
        (
            "write local create title=a; write local update rating=3",
            "{rating=3 title=a} | - | - | -",
        ),
        ("write local create title=a; write local delete", "- | - | - | -"),
    ]);
}

#[test]
fn fields_that_the_model_no_longer_stores_are_passed_over() {
    check(
        "write create title=a gone=1; write update gone=2",
        "{title=a} | - | - | e1 create queued {gone=2 title=a}",
    );
    check("remote v1 title=a gone=1", "{title=a} | v1 | - | -");
}

#[test]
fn a_mutation_goes_through_its_stages() {
    let made = "save title=a";
    check_all(&[
        (
            &format!("{made}; sent e1"),
            "{title=a} | - | - | e1 create in flight {title=a} tries=1",
        ),
        (
            &format!("{made}; sent e1; lost e1"),
            "{title=a} | - | - | e1 create unknown {title=a} tries=1",
        ),
        (
            &format!("{made}; sent e1; lost e1; not-applied e1"),
            "{title=a} | - | - | e1 create queued {title=a} tries=1",
        ),
        (
            &format!("{made}; sent e1; refused e1"),
            "{title=a} | - | - | e1 create parked {title=a} tries=1",
        ),
        (
            &format!("{made}; sent e1; refused e1; retried e1"),
            "{title=a} | - | - | e1 create queued {title=a} tries=1",
        ),
        (
            &format!("{made}; sent e1; ack e1 v1 title=a"),
            "{title=a} | v1 own | - | -",
        ),
        (
            &format!("{made}; sent e1; lost e1; ack e1 v1 title=a"),
            "{title=a} | v1 own | - | -",
        ),
    ]);
}

#[test]
fn an_acknowledgement_brings_what_the_server_added() {
    check_all(&[
        (
            "save title=a; sent e1; ack e1 v1 title=a rating=3",
            "{rating=3 title=a} | v1 own | - | -",
        ),
        (
            "remote v1 title=a; delete; sent e2; ack e2 v2 deleted",
            "- | v2 deleted own | - | -",
        ),
        (
            "remote v1 title=a; save title=b; sent e2; save rating=1; ack e2 v2 title=b note=n",
            "{note=n rating=1 title=b} | v2 own | {note=n title=b} | e4 update queued @v2 {rating=1}",
        ),
    ]);
}

#[test]
fn a_conflict_is_carried_out_as_it_was_decided() {
    let met = "remote v1 title=a; save title=b; sent e2; conflict e2 v3 title=x";
    check_all(&[
        (&format!("{met} -> accept"), "{title=x} | v3 | - | -"),
        (
            &format!("{met} -> update title=b"),
            "{title=b} | v3 | {title=x} | e2 update queued @v3 {title=b} tries=1 rounds=1",
        ),
        (
            &format!("{met} -> delete"),
            "- | v3 | {title=x} | e2 delete queued @v3 tries=1 rounds=1",
        ),
        (
            "save title=a; sent e1; conflict e1 v3 title=x note=n -> update title=a",
            "{note=n title=a} | v3 | {note=n title=x} | e1 update queued @v3 {title=a} tries=1 rounds=1",
        ),
        (
            "save title=a; sent e1; conflict e1 v3 title=x -> accept",
            "{title=x} | v3 | - | -",
        ),
        (
            "remote v1 title=a; delete; sent e2; conflict e2 v3 title=x -> accept",
            "{title=x} | v3 | - | -",
        ),
        (
            "remote v1 title=a; save title=b; sent e2; conflict e2 v3 deleted -> accept",
            "- | v3 deleted | - | -",
        ),
    ]);
}

/// The record on which the newest mutation of a script was made.
#[track_caller]
fn check_base(script: &str, expected: &str) {
    let lab = Lab::run(script);
    let newest = lab.state.pending.last().expect("something waits");
    let base = lab.state.base_of(&lab.def, newest.seq);
    assert_eq!(show_row(&lab.def, base.as_ref()), expected, "after `{script}`");
}

#[test]
fn the_record_on_which_a_change_was_made_is_known_whatever_others_make_of_it() {
    for (script, expected) in [
        ("save title=a", "-"),
        ("remote v1 title=a; delete", "{title=a}"),
        ("remote v1 title=a; delete; remote v2 title=x", "{title=a}"),
        (
            "remote v1 title=a; delete; remote v2 title=x; remote v3 title=y note=n",
            "{title=a}",
        ),
        ("remote v1 title=a; save rating=1; remote v2 title=x", "{title=a}"),
        // Gone, and made again by others.
        (
            "remote v1 title=a; delete; remote v2 deleted; remote v1@500 title=x",
            "{title=a}",
        ),
        // What its author saw is his own edit, which is not the server's yet.
        (
            "remote v1 title=a; save title=b; sent e2; delete; remote v2 note=n title=a",
            "{title=b}",
        ),
        // The edit that the delete swallows was never sent; what others made of the rest was to be seen.
        (
            "remote v1 rating=1 title=a; save title=b; remote v2 rating=2 title=x; delete",
            "{rating=2 title=a}",
        ),
        // An answer of the server to ours alone is no change of others.
        (
            "remote v1 title=a; save title=b; sent e2; delete; ack e2 v2 title=b",
            "{title=b}",
        ),
        (
            "remote v1 title=a; save title=b; sent e2; delete; ack e2 v3 note=n title=b",
            "{title=b}",
        ),
        // Whoever decides a conflict has seen the server's record.
        (
            "remote v1 title=a; delete; sent e2; conflict e2 v3 title=x -> delete; remote v4 title=y",
            "{title=x}",
        ),
    ] {
        check_base(script, expected);
    }
}

#[test]
fn fields_that_others_have_changed_are_those_that_clients_write_and_that_differ() {
    let lab = Lab::run("remote v1 title=a rating=1; delete");
    let base = lab.state.row.clone().or(lab.state.base_of(&lab.def, Seq(2)));
    let changed = |theirs: &str| {
        let names = changed_by_others(&lab.def, base.as_ref(), &remote(theirs));
        names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(changed("v2 title=a rating=1"), "");
    assert_eq!(changed("v2 title=a"), "", "what is left out is as it was");
    assert_eq!(changed("v2 title=x rating=null"), "rating title");
    assert_eq!(changed("v2 deleted"), "");
}

#[test]
fn a_conflict_keeps_the_mutations_behind_it() {
    let met = "remote v1 title=a; save title=b; sent e2; save rating=1; conflict e2 v3 title=x";
    check_all(&[
        (
            &format!("{met} -> accept"),
            "{rating=1 title=x} | v3 | {title=x} | e4 update queued @v3 {rating=1}",
        ),
        (
            &format!("{met} -> update title=b"),
            "{rating=1 title=b} | v3 | {title=x} | e2 update queued @v3 {title=b} tries=1 rounds=1, \
             e4 update queued {rating=1}",
        ),
    ]);
}

#[test]
fn a_refusal_parks_and_discarding_gives_up() {
    let parked = "remote v1 title=a; save title=b; sent e2; refused e2";
    check_all(&[
        (
            parked,
            "{title=b} | v1 | {title=a} | e2 update parked @v1 {title=b} tries=1",
        ),
        (&format!("{parked}; discard e2"), "{title=a} | v1 | - | -"),
        (
            &format!("{parked} v2 title=x note=n"),
            "{note=n title=b} | v2 | {note=n title=x} | e2 update parked @v1 {title=b} tries=1",
        ),
        (
            &format!("{parked} v2 title=x note=n; discard e2"),
            "{note=n title=x} | v2 | - | -",
        ),
        (
            &format!("{parked} v2 deleted; discard e2"),
            "- | v2 deleted | - | -",
        ),
        (
            "remote v1 title=a; delete; sent e2; refused e2; discard e2",
            "{title=a} | v1 | - | -",
        ),
    ]);
}

#[test]
fn what_waits_behind_a_discarded_mutation_goes_on_from_the_newest_version() {
    check(
        "remote v1 title=a; save title=b; sent e2; save rating=1; refused e2; remote v2 title=x; discard e2",
        "{rating=1 title=x} | v2 | {title=x} | e4 update queued @v2 {rating=1}",
    );
}

#[test]
fn a_server_record_replaces_what_nobody_is_editing() {
    check_all(&[
        ("remote v1 title=a", "{title=a} | v1 | - | -"),
        (
            "remote v1 title=a; remote v2 title=b rating=1",
            "{rating=1 title=b} | v2 | - | -",
        ),
        ("remote v1 title=a; remote v2 deleted", "- | v2 deleted | - | -"),
        ("remote v2 title=b; remote v2 title=c", "{title=b} | v2 | - | -"),
        (
            "save title=a; sent e1; ack e1 v1 title=a; remote v2 title=b",
            "{title=b} | v2 | - | -",
        ),
    ]);
}

#[test]
fn a_record_that_left_with_its_version_comes_back_with_that_version_or_a_newer_one() {
    check(
        "remote v3 title=a; evicted v3; remote v2 title=b",
        "- | v3 | - | -",
    );
    check(
        "remote v3 title=a; evicted v3; remote v3 title=a",
        "{title=a} | v3 | - | -",
    );
    check(
        "remote v3 title=a; evicted v3; remote v4 title=c",
        "{title=c} | v4 | - | -",
    );
    check(
        "remote v3 title=a; evicted v3; remote v4 deleted",
        "- | v4 deleted | - | -",
    );
}

#[test]
fn an_evicted_record_leaves_no_trace() {
    check("remote v1 title=a; evicted", "- | - | - | -");
    check(
        "remote v7 title=a; evicted; remote v2 title=b",
        "{title=b} | v2 | - | -",
    );
}

#[test]
fn changes_of_the_store_leave_records_alone() {
    let changes = [
        Change::Quarantined(Quarantined {
            model: "Todo".into(),
            reason: "bad".into(),
            json: "{}".into(),
        }),
        Change::Checkpoint(Checkpoint {
            model: "Todo".into(),
            cursor: SyncCursor::default(),
        }),
        Change::SchemaChanged(SchemaChanged {
            hash: SchemaHash("0".into()),
            introspection: "{}".into(),
        }),
        Change::Cleared,
        Change::Opaque(Opaque {
            kind: 99,
            version: 1,
            payload: vec![1],
        }),
    ];
    for change in changes {
        let mut lab = Lab::run("remote v1 title=a; save title=b");
        let before = lab.text();
        lab.apply(change.clone()).expect("it names no mutation");
        assert_eq!(lab.text(), before, "after {}", change.name());
    }
}

#[test]
fn a_change_of_a_mutation_that_does_not_wait_is_refused_and_changes_nothing() {
    let changes = [
        "sent e9",
        "lost e9",
        "not-applied e9",
        "retried e9",
        "discard e9",
        "ack e9 v5 title=x",
        "conflict e9 v5 title=x -> accept",
        "conflict e9 v5 title=x -> update title=y",
        "refused e9",
        "refused e9 v5 title=x",
    ];
    for statement in changes {
        let mut lab = Lab::run("remote v1 title=a; save title=b");
        let before = lab.state.clone();
        let (verb, rest) = statement.split_once(' ').expect("a verb and a mutation");
        let change = change(verb, rest);
        let error = FoldError {
            seq: Seq(3),
            change: change.name(),
            mutation: Seq(9),
        };
        assert_eq!(lab.apply(change), Err(error), "{statement}");
        assert_eq!(lab.state, before, "{statement}");
    }
    let error = FoldError {
        seq: Seq(3),
        change: "sent",
        mutation: Seq(9),
    };
    assert_eq!(
        error.to_string(),
        "entry e3 (sent) names mutation e9, which is not pending for its record"
    );
}

#[test]
fn newness_goes_by_version_and_a_tombstone_ends_a_life() {
    let live = sync;
    let dead = |version: u64| SyncMetadata {
        deleted: true,
        ..sync(version)
    };
    let at = |meta: SyncMetadata, ms: i64| SyncMetadata {
        last_changed_at_ms: ms,
        ..meta
    };
    let cases = [
        (None, live(1), true),
        (None, dead(4), true),
        (Some(live(1)), live(2), true),
        (Some(live(2)), live(2), false),
        (Some(live(2)), live(1), false),
        (Some(live(1)), dead(2), true),
        (Some(dead(2)), live(1), false),
        (Some(dead(2)), dead(2), false),
        // A clock that runs back does not undo a version.
        (Some(live(2)), at(live(3), 5), true),
        // A purged record that was made again starts at version 1.
        (Some(dead(7)), at(live(1), 999), true),
        (Some(dead(7)), at(dead(2), 999), true),
        (Some(dead(7)), at(live(1), 70), false),
        // Also if the tombstone was missed; the create repeated has an earlier time than what came after it.
        (Some(live(9)), at(live(1), 91), true),
        (Some(live(9)), at(live(1), 90), false),
        (Some(live(9)), live(1), false),
        (Some(live(9)), at(live(2), 999), false),
        (Some(live(1)), at(live(1), 999), false),
        // Machines of the server whose clocks differ a little: the end of this very version, and that version once more.
        (Some(at(live(3), 90_000)), at(dead(4), 30_000), true),
        (Some(at(live(3), 90_001)), at(dead(4), 30_000), false),
        (Some(at(live(3), 90_000)), at(dead(5), 89_000), false),
        (Some(at(dead(4), 30_000)), at(live(3), 90_000), false),
        (Some(at(dead(4), 30_000)), at(live(3), 90_001), true),
        // A server that forgets what is deleted at once makes the first version of a new life soon.
        (Some(at(dead(2), 30_000)), at(live(1), 30_001), true),
        // A tombstone of an earlier life does not end the new one.
        (Some(at(live(1), 500)), dead(9), false),
        (Some(at(live(1), 500)), at(dead(2), 501), true),
        (Some(at(live(1), 500)), at(dead(2), 500), true),
        (Some(at(dead(2), 500)), dead(9), false),
    ];
    for (known, remote, expected) in cases {
        assert_eq!(is_news(known, remote), expected, "{known:?} then {remote:?}");
    }
}

#[test]
fn a_subset_has_the_same_values_and_null_is_the_same_as_missing() {
    let cases = [
        ("", "", true),
        ("title=a", "title=a rating=1", true),
        ("title=a", "title=b", false),
        ("title=a", "rating=1", false),
        ("title=null", "rating=1", true),
        ("title=null", "title=null", true),
        ("title=null", "title=a", false),
        ("title=a", "title=null", false),
        ("rating=1", "rating=1.0", true),
        ("tags=[a,b]", "tags=[a,b]", true),
        ("tags=[a,b]", "tags=[b,a]", false),
        ("tags=[a]", "tags=[a,a]", false),
    ];
    for (patch, theirs, expected) in cases {
        assert_eq!(
            is_subset(&fields(patch), &fields(theirs)),
            expected,
            "{patch} in {theirs}"
        );
    }
}

// Defects of Amplify's clients that the rules design away.

/// The JavaScript merger compares no versions: whatever arrives last wins.
#[test]
fn stale_echo_does_not_lower_a_version() {
    check("remote v3 title=c; remote v2 title=b", "{title=c} | v3 | - | -");
    check("remote v3 deleted; remote v2 title=b", "- | v3 deleted | - | -");
    check(
        "remote v3 title=c; save title=d; remote v2 title=b",
        "{title=d} | v3 | {title=c} | e2 update queued @v3 {title=d}",
    );
    // The answer to our own write may be overtaken by what another wrote on top of it.
    check(
        "remote v1 title=a; save title=b; sent e2; remote v3 title=c; ack e2 v2 title=b",
        "{title=c} | v3 | - | -",
    );
}

/// The native clients forget a tombstone of a record that they never had, so that a late frame brings it to life.
#[test]
fn created_and_deleted_record_does_not_reappear() {
    check("remote v2 deleted; remote v1 title=a", "- | v2 deleted | - | -");
}

/// A record that was purged on the server and made again starts at version 1, which no old version may hide.
#[test]
fn purged_and_recreated_record_starts_a_new_life() {
    check(
        "remote v9 deleted; remote v1@500 title=b",
        "{title=b} | v1 | - | -",
    );
    check(
        "remote v9 deleted; save title=b; sent e2; ack e2 v1@500 title=b",
        "{title=b} | v1 own | - | -",
    );
    // The tombstone was missed; nothing of the old life is left, not even in a narrow frame.
    check(
        "remote v9 title=a note=n; remote v1@500 title=b",
        "{title=b} | v1 | - | -",
    );
    check(
        "remote v9 title=a; save note=n; sent e2; save rating=1; remote v1@500 title=b; conflict e2 v1@500 title=b -> accept",
        "{rating=1 title=b} | v1 | {title=b} | e4 update queued @v9 {rating=1}",
    );
    // A tombstone that comes again, now that its life is over.
    check(
        "remote v9 deleted; remote v1@500 title=b; remote v9 deleted",
        "{title=b} | v1 | - | -",
    );
    // Both frames of a short new life, the second first.
    check(
        "remote v9 deleted; remote v2@600 deleted; remote v1@500 title=b",
        "- | v2 deleted | - | -",
    );
}

/// The JavaScript client skips a remote change while a mutation waits; the native ones keep only its version.
#[test]
fn remote_change_under_a_pending_edit_is_kept_and_merged() {
    let edited = "remote v1 title=a; save title=b";
    check(
        &format!("{edited}; remote v2 title=x rating=5"),
        "{rating=5 title=b} | v2 | {rating=5 title=x} | e2 update queued @v1 {title=b}",
    );
    check(
        &format!("{edited}; remote v2 title=x rating=5; sent e2; ack e2 v3 title=b rating=5"),
        "{rating=5 title=b} | v3 | - | -",
    );
}

/// A remote delete removes the row of the JavaScript client although its edit is still to be decided.
#[test]
fn remote_delete_under_a_pending_edit_waits_for_the_decision() {
    let edited = "remote v1 title=a note=n; save title=b";
    check(
        &format!("{edited}; remote v2 deleted"),
        "{note=n title=b} | v2 deleted | {note=n title=a} | e2 update queued @v1 {title=b}",
    );
    check(
        &format!("{edited}; remote v2 deleted; sent e2; conflict e2 v2 deleted -> accept"),
        "- | v2 deleted | - | -",
    );
    check(
        &format!("{edited}; remote v2 deleted; sent e2; refused e2; discard e2"),
        "- | v2 deleted | - | -",
    );
}

/// What was discarded stayed visible, because the edits behind it were shown on top of what had been visible.
#[test]
fn edit_of_a_deleted_record_is_shown_on_the_last_record_before() {
    check(
        "remote v1 title=a note=n; save title=b; sent e2; save rating=1; refused e2; remote v2 deleted; discard e2",
        "{note=n rating=1 title=a} | v2 deleted | {note=n title=a} | e4 update queued @v1 {rating=1}",
    );
    // A delete that is folded in leaves nothing to be shown.
    check(
        "remote v1 title=a; save title=b; remote v2 deleted; delete",
        "- | v2 deleted | - | e4 delete queued @v1",
    );
    // There never was a record under this one: it shows nothing, and its refusal will tell the app.
    check(
        "save title=a; sent e1; save rating=1; conflict e1 v6 deleted -> accept",
        "- | v6 deleted | - | e3 update queued @v0 {rating=1}",
    );
}

/// A record of this store alone, edited once there is a server that refuses the edit.
#[test]
fn local_record_is_back_when_its_edit_is_given_up() {
    check(
        "write local create id=t1 title=a; save title=b; sent e2; refused e2; discard e2",
        "{title=a} | - | - | -",
    );
}

/// Fields that a narrow selection leaves out become null in the JavaScript client.
#[test]
fn narrow_frame_does_not_wipe_the_fields_that_it_leaves_out() {
    check(
        "remote v1 title=a rating=1; remote v2 rating=2",
        "{rating=2 title=a} | v2 | - | -",
    );
    check(
        "remote v1 title=a rating=1; remote v2 rating=null",
        "{title=a} | v2 | - | -",
    );
    check(
        "remote v1 title=a rating=1; save title=b; remote v2 rating=2",
        "{rating=2 title=b} | v2 | {rating=2 title=a} | e2 update queued @v1 {title=b}",
    );
}

/// Rapid updates lost each other because two of them carried the same version, or changed places.
#[test]
fn consecutive_updates_keep_their_order_and_get_the_version_handed_over() {
    let mut lab = Lab::run("remote v1 title=a; save title=b; sent e2; save title=c; save rating=1");
    let waiting = "e2 update in flight @v1 {title=b} tries=1, e4 update queued {rating=1 title=c}";
    assert_eq!(
        lab.text(),
        format!("{{rating=1 title=c}} | v1 | {{title=a}} | {waiting}")
    );
    lab.more("ack e2 v2 title=b");
    assert_eq!(
        lab.text(),
        "{rating=1 title=c} | v2 own | {title=b} | e4 update queued @v2 {rating=1 title=c}"
    );
    lab.more("sent e4; save title=d; ack e4 v3 title=c rating=1");
    assert_eq!(
        lab.text(),
        "{rating=1 title=d} | v3 own | {rating=1 title=c} | e8 update queued @v3 {title=d}"
    );
    lab.more("sent e8; ack e8 v4 title=d rating=1");
    assert_eq!(lab.text(), "{rating=1 title=d} | v4 own | - | -");
}

/// An edit of a record whose create is on its way went out without a version.
#[test]
fn update_behind_a_create_in_flight_waits_for_its_version() {
    check(
        "save title=a; sent e1; save title=b",
        "{title=b} | - | - | e1 create in flight {title=a} tries=1, e3 update queued {title=b}",
    );
    check(
        "save title=a; sent e1; save title=b; ack e1 v1 title=a",
        "{title=b} | v1 own | {title=a} | e3 update queued @v1 {title=b}",
    );
    check(
        "save title=a; sent e1; delete; ack e1 v1 title=a",
        "- | v1 own | {title=a} | e3 delete queued @v1",
    );
}

/// The version of an answer that holds somebody else's values was taken for one that the next edit had seen.
#[test]
fn merged_answer_does_not_hand_the_version_over() {
    check(
        "remote v1 title=a; save title=b; sent e2; save title=c; ack e2 v3 title=x",
        "{title=c} | v3 | {title=x} | e4 update queued @v1 {title=c}",
    );
    // A list that automerge appended to is not the list that was sent.
    check(
        "remote v1 tags=[a]; save tags=[a,b]; sent e2; save rating=1; ack e2 v3 tags=[a,c,a,b]",
        "{rating=1 tags=[a,c,a,b]} | v3 | {tags=[a,c,a,b]} | e4 update queued @v1 {rating=1}",
    );
}

/// That all our values are there does not make the version ours: automerge adds them to what others wrote.
#[test]
fn version_that_skips_one_is_not_handed_over_although_our_values_are_there() {
    check(
        "remote v1 title=a; save title=b; sent e2; save title=c; ack e2 v3 title=b note=n",
        "{note=n title=c} | v3 | {note=n title=b} | e4 update queued @v1 {title=c}",
    );
    check(
        "save title=a; sent e1; save title=b; ack e1 v2 title=a note=n",
        "{note=n title=b} | v2 | {note=n title=a} | e3 update queued @v0 {title=b}",
    );
}

/// After a lost answer, a record with our values and more may be another writer's.
#[test]
fn record_of_another_writer_that_holds_our_values_is_not_taken_for_ours() {
    check(
        "save title=a; sent e1; save note=m; lost e1; ack e1 v1 title=a note=n",
        "{note=m title=a} | v1 | {note=n title=a} | e3 update queued @v0 {note=m}",
    );
    check(
        "save title=a; sent e1; save note=m; lost e1; ack e1 v1 title=a",
        "{note=m title=a} | v1 own | {title=a} | e3 update queued @v1 {note=m}",
    );
}

/// What waits behind a mutation that was decided away was made on a record that somebody else changed since.
#[test]
fn decision_hands_no_version_to_what_clashes_with_it() {
    let met = "remote v1 title=a; save rating=1; sent e2; save title=b; conflict e2 v3 title=x rating=9";
    check(
        &format!("{met} -> accept"),
        "{rating=9 title=b} | v3 | {rating=9 title=x} | e4 update queued @v1 {title=b}",
    );
    check(
        &format!("{met} -> update rating=1"),
        "{rating=1 title=b} | v3 | {rating=9 title=x} | \
         e2 update queued @v3 {rating=1} tries=1 rounds=1, e4 update queued @v1 {title=b}",
    );
    // The frame that brought the change may have come long before.
    check(
        "remote v1 title=a; save rating=1; sent e2; save title=b; refused e2; remote v2 title=x; discard e2",
        "{title=b} | v2 | {title=x} | e4 update queued @v1 {title=b}",
    );
    // A delete clashes with every change.
    check(
        "remote v1 title=a; save rating=1; sent e2; delete; conflict e2 v3 title=x -> accept",
        "- | v3 | {title=x} | e4 delete queued @v1",
    );
    // What was built on a create knows nothing of the record that took its identifier.
    check(
        "save title=a; sent e1; save title=b; conflict e1 v3 title=x -> accept",
        "{title=b} | v3 | {title=x} | e3 update queued @v0 {title=b}",
    );
}

/// The delete that was to make room was given up, so that the create met a record of this store's own.
#[test]
fn create_that_meets_our_own_record_is_no_clash_for_what_follows() {
    check(
        "save title=a; sent e1; ack e1 v1 title=a; delete; sent e4; refused e4; save rating=1; discard e4; \
         sent e7; delete; conflict e7 v1 title=a -> accept",
        "- | v1 own | {title=a} | e10 delete queued @v1",
    );
}

/// The value of another writer was hidden by a waiting edit, so that nobody can have seen it.
#[test]
fn edit_on_top_of_a_hidden_change_meets_the_conflict_as_well() {
    let hidden = "remote v1 title=a; save title=b; sent e2; remote v2 title=x";
    check(
        &format!("{hidden}; save title=c; conflict e2 v2 title=x -> accept"),
        "{title=c} | v2 | {title=x} | e5 update queued @v1 {title=c}",
    );
    check(
        &format!("{hidden}; save rating=1; conflict e2 v2 title=x -> accept"),
        "{rating=1 title=x} | v2 | {title=x} | e5 update queued @v2 {rating=1}",
    );
}

/// An update that names the version of a tombstone is accepted and lost.
#[test]
fn tombstone_hands_no_version_over() {
    let edited = "remote v1 title=a; save title=b; sent e2; save rating=1";
    for (script, pending) in [
        (
            "conflict e2 v2 deleted -> accept",
            "e4 update queued @v1 {rating=1}",
        ),
        (
            "refused e2 v2 deleted; discard e2",
            "e4 update queued @v1 {rating=1}",
        ),
        (
            "conflict e2 v2 deleted -> update title=b",
            "e2 update queued @v1 {title=b} tries=1 rounds=1, e4 update queued @v1 {rating=1}",
        ),
    ] {
        let text = Lab::run(&format!("{edited}; {script}")).text();
        assert_eq!(text.rsplit(" | ").next(), Some(pending), "{script}: {text}");
    }
}

/// A copy saved behind another edit went out with that one's version.
#[test]
fn stale_copy_is_not_folded_into_a_newer_edit() {
    check(
        "remote v1 title=a; copy; remote v2 title=x; save rating=1; save-copy title=b",
        "{rating=1 title=b} | v2 | {title=x} | e3 update queued @v2 {rating=1}, e4 update queued @v1 {title=b}",
    );
}

/// The subscription may be faster than the answer; the version is our own all the same.
#[test]
fn echo_before_the_answer_is_no_foreign_change() {
    check(
        "remote v1 title=a; save title=b; sent e2; save title=c; remote v2 title=b; ack e2 v2 title=b",
        "{title=c} | v2 own | {title=b} | e4 update queued @v2 {title=c}",
    );
    check(
        "save title=a; sent e1; remote v1 title=a; ack e1 v1 title=a; remote v1 title=a",
        "{title=a} | v1 own | - | -",
    );
}

/// The JavaScript client moves an update to the end of the queue whenever another is folded in.
#[test]
fn folded_mutation_keeps_its_place() {
    check(
        "save title=a; save title=b; save rating=1",
        "{rating=1 title=b} | - | - | e1 create queued {rating=1 title=b}",
    );
    check(
        "remote v1 title=a; save title=b; save rating=1; save title=c",
        "{rating=1 title=c} | v1 | {title=a} | e2 update queued @v1 {rating=1 title=c}",
    );
    check(
        "remote v1 title=a; save title=b; delete",
        "- | v1 | {title=a} | e3 delete queued @v1",
    );
}

/// Nobody needs to hear of a record that came and went before it was sent.
#[test]
fn create_then_delete_of_an_unsent_record_sends_nothing() {
    check("save title=a; delete", "- | - | - | -");
    check("save title=a; save title=b; delete", "- | - | - | -");
    // That it was not applied is known, but it has been on its way.
    check(
        "save title=a; sent e1; lost e1; not-applied e1; delete",
        "- | - | - | e1 create queued {title=a} tries=1, e5 delete queued",
    );
    // Once it may have been seen, the delete is sent as well.
    check(
        "save title=a; sent e1; delete",
        "- | - | - | e1 create in flight {title=a} tries=1, e3 delete queued",
    );
    check(
        "save title=a; sent e1; lost e1; delete",
        "- | - | - | e1 create unknown {title=a} tries=1, e4 delete queued",
    );
}

/// An undone create must not hide the record that another writer made under the same identifier.
#[test]
fn cancelled_create_lets_the_servers_record_show() {
    check(
        "save title=a; remote v1 title=x; delete",
        "{title=x} | v1 | - | -",
    );
    check(
        "remote v1 title=a; delete; sent e2; save title=b; conflict e2 v2 title=x -> accept; delete",
        "{title=x} | v2 | - | -",
    );
    check(
        "save title=a; remote v2 deleted; delete",
        "- | v2 deleted | - | -",
    );
}

/// The JavaScript client folds a delete and a create of the same identifier into a create with the old version.
#[test]
fn delete_then_create_of_the_same_id_stays_two() {
    let both = "remote v1 title=a rating=1; delete; save title=b";
    check(
        both,
        "{title=b} | v1 | {rating=1 title=a} | e2 delete queued @v1, e3 create queued {title=b}",
    );
    check(
        &format!("{both}; sent e2; ack e2 v2 deleted"),
        "{title=b} | v2 deleted own | - | e3 create queued {title=b}",
    );
    // A create is made on no version, whatever becomes of the delete before it.
    check(
        &format!("{both}; sent e2; conflict e2 v3 title=x rating=null -> accept"),
        "{title=b} | v3 | {title=x} | e3 create queued {title=b}",
    );
    check(
        &format!("{both}; sent e2; refused e2; discard e2"),
        "{title=b} | v1 | {rating=1 title=a} | e3 create queued {title=b}",
    );
    // Undoing the create leaves the delete in its place.
    check(
        &format!("{both}; delete"),
        "- | v1 | {rating=1 title=a} | e2 delete queued @v1",
    );
}

/// Outbox and merger of the JavaScript client look records up by identifier alone.
#[test]
fn two_models_with_the_same_id_do_not_mix() {
    let keys = [RecordKey::new("Todo", "1"), RecordKey::new("Memo", "1")];
    let def = blog_model("Todo");
    let mut store: BTreeMap<RecordKey, RecordState> = BTreeMap::new();
    let mut outbox = Outbox::default();
    for (number, key) in (1..).zip(&keys) {
        let mut write = match change("write", "create title=a") {
            Change::Write(write) => write,
            other => panic!("{} is no write", other.name()),
        };
        write.key = key.clone();
        let state = store.entry(key.clone()).or_default();
        state
            .apply(&def, Seq(number), &Change::Write(write))
            .expect("a write always applies");
        outbox.put(&state.pending[0]);
    }
    assert_eq!(store.len(), 2);
    assert_eq!(outbox.take(9), [(Seq(1), Errand::Send), (Seq(2), Errand::Send)]);
}

/// Saving an old instance undid the changes of others in the JavaScript client, or was sent with its old version.
#[test]
fn stale_copy_saves_only_what_its_owner_changed() {
    check(
        "remote v1 title=a rating=1; copy; remote v2 title=x rating=2; save-copy note=n",
        "{note=n rating=2 title=x} | v2 | {rating=2 title=x} | e3 update queued @v2 {note=n}",
    );
    check(
        "remote v1 title=a; copy; save rating=1; sent e2; ack e2 v2 title=a rating=1; save-copy title=b",
        "{rating=1 title=b} | v2 own | {rating=1 title=a} | e5 update queued @v2 {title=b}",
    );
}

/// Several edits of one copy were sent with the version of the first.
#[test]
fn stale_copy_of_our_own_making_is_no_conflict() {
    check(
        "remote v1 title=a; copy; save title=b; sent e2; ack e2 v2 title=b; save-copy title=c",
        "{title=c} | v2 own | {title=b} | e5 update queued @v2 {title=c}",
    );
}

/// The server has to notice that the same field was written by somebody else in between.
#[test]
fn stale_copy_that_clashes_with_another_writer_keeps_its_version() {
    check(
        "remote v1 title=a; copy; remote v2 title=x; save-copy title=b",
        "{title=b} | v2 | {title=x} | e3 update queued @v1 {title=b}",
    );
}

/// The JavaScript client keeps a refused record for ever.
#[test]
fn rejected_create_discarded_restores_nothing() {
    check("save title=a; sent e1; refused e1; discard e1", "- | - | - | -");
    check(
        "save title=a; sent e1; refused e1 v4 title=x; discard e1",
        "{title=x} | v4 | - | -",
    );
}

/// What edits or deletes a record that will never be made has no meaning; a create behind it has.
#[test]
fn discarded_create_takes_along_what_was_built_on_it() {
    let parked = "save title=a; sent e1; save title=b; refused e1";
    check(&format!("{parked}; discard e1"), "- | - | - | -");
    check(&format!("{parked}; delete; discard e1"), "- | - | - | -");
    check(
        &format!("{parked}; delete; save title=c; sent e6; save title=d; discard e1"),
        "{title=d} | - | - | e6 create in flight {title=c} tries=1, e8 update queued {title=d}",
    );
    // The parts may be given up one by one, the last first.
    check(&format!("{parked}; discard e3; discard e1"), "- | - | - | -");
}

/// Refused edits stayed visible until a later sync overwrote them.
#[test]
fn parked_update_discarded_restores_the_servers_record() {
    check(
        "remote v1 title=a rating=1; save title=b rating=2; sent e2; refused e2; remote v2 title=a rating=7; discard e2",
        "{rating=7 title=a} | v2 | - | -",
    );
}

/// The Swift client drops a waiting conditional mutation when a later one without a condition replaces it.
#[test]
fn nothing_is_folded_across_a_condition() {
    check(
        "remote v1 rating=3; save title=a if rating=3; save title=b",
        "{rating=3 title=b} | v1 | {rating=3} | e2 update queued @v1 {title=a} if, e3 update queued {title=b}",
    );
    check(
        "remote v1 rating=3; save title=a; delete if rating=3",
        "- | v1 | {rating=3} | e2 update queued @v1 {title=a}, e3 delete queued if",
    );
    check(
        "save rating=3; delete if rating=3",
        "- | - | - | e1 create queued {rating=3}, e2 delete queued if",
    );
}

/// The default conflict handler of the JavaScript client sends all fields and wipes what others wrote.
#[test]
fn conflict_retry_touches_only_the_fields_that_were_changed() {
    check(
        "remote v1 title=a; save title=b; sent e2; conflict e2 v2 title=x note=n -> update title=b; \
         sent e2; ack e2 v3 title=b note=n",
        "{note=n title=b} | v3 | - | -",
    );
}

/// A server that was restored from a backup counts on from an older version: what it applies must not be hidden.
#[test]
fn a_server_that_went_back_is_believed_when_it_answers() {
    check(
        "remote v7 title=a; save title=b; sent e2; conflict e2 v3 title=old note=n -> update title=b; \
         sent e2; ack e2 v4 title=b note=n",
        "{note=n title=b} | v4 | - | -",
    );
    check(
        "remote v7 title=a note=m; save title=b; sent e2; conflict e2 v3 title=old -> accept",
        "{title=old} | v3 | - | -",
    );
    check(
        "remote v7 title=a; save title=b; sent e2; refused e2 v3 title=old; discard e2",
        "{title=old} | v3 | - | -",
    );
    // Asked for since the answer was lost it may be late: nothing is forgotten, and the next answer tells.
    check(
        "remote v7 title=a note=m; save title=b; sent e2; lost e2; conflict e2 v3 title=old -> accept",
        "{note=m title=a} | v7 | - | -",
    );
    check(
        "remote v7 title=a; save title=b; sent e2; lost e2; conflict e2 v3 title=old -> update title=b; \
         sent e2; ack e2 v8 title=b",
        "{title=b} | v8 own | - | -",
    );
    // As a late message the same record says nothing.
    check(
        "remote v7 title=a; save title=b; remote v3 title=old; sent e2; ack e2 v8 title=b",
        "{title=b} | v8 own | - | -",
    );
}

/// An update was replaced while it was on its way, so that the newer value was never sent.
#[test]
fn nothing_is_folded_into_what_may_have_been_sent() {
    for stage in ["sent e2", "sent e2; lost e2", "sent e2; refused e2"] {
        let lab = Lab::run(&format!("remote v1 title=a; save title=b; {stage}; save title=c"));
        assert_eq!(lab.state.pending.len(), 2, "{stage}");
        assert_eq!(lab.state.pending[0].patch, fields("title=b"), "{stage}");
        assert_eq!(lab.state.pending[1].patch, fields("title=c"), "{stage}");
    }
    // Once it certainly was not applied it is open again.
    let lab = Lab::run("remote v1 title=a; save title=b; sent e2; lost e2; not-applied e2; save title=c");
    assert_eq!(
        lab.text(),
        "{title=c} | v1 | {title=a} | e2 update queued @v1 {title=c} tries=1"
    );
}

/// A child is made, then its parent, then the child is given the parent: the child must not go first.
#[test]
fn folding_keeps_parents_before_children() {
    let (child, parent) = (RecordKey::new("Post", "p1"), RecordKey::new("Blog", "b1"));
    let mut store: BTreeMap<RecordKey, RecordState> = BTreeMap::new();
    let writes = [
        (1, &child, "create title=a", vec![]),
        (2, &parent, "create name=b", vec![]),
        (3, &child, "update blogId=b1", vec![parent.clone()]),
        (4, &child, "update title=c", vec![parent.clone()]),
    ];
    for (number, key, text, parents) in writes {
        let Change::Write(mut write) = change("write", text) else {
            panic!("`{text}` is no write")
        };
        (write.key, write.parents) = (key.clone(), parents);
        let state = store.entry(key.clone()).or_default();
        state
            .apply(
                &blog_model(key.model.as_str()),
                Seq(number),
                &Change::Write(write),
            )
            .expect("a write always applies");
    }
    let mut outbox = Outbox::default();
    for mutation in store.values().flat_map(|state| &state.pending) {
        outbox.put(mutation);
    }
    assert_eq!(outbox.take(9), [(Seq(1), Errand::Send), (Seq(2), Errand::Send)]);
    outbox.remove(Seq(1));
    assert_eq!(outbox.take(9), [], "the child waits for its parent");
    outbox.remove(Seq(2));
    assert_eq!(outbox.take(9), [(Seq(3), Errand::Send)]);
    assert_eq!(
        store[&child].pending.len(),
        2,
        "the last edit needs nothing more, so it is folded"
    );
}

/// Since which version all are our own: what a reader must have seen to have missed nothing of others.
#[test]
fn versions_of_our_own_are_counted_from_the_last_of_another_writer() {
    let cases = [
        ("remote v3 title=a", None),
        ("save title=a; sent e1; ack e1 v1 title=a", Some(0)),
        (
            "save title=a; sent e1; ack e1 v1 title=a; save title=b; sent e4; ack e4 v2 title=b",
            Some(0),
        ),
        (
            "remote v3 title=a; save title=b; sent e2; ack e2 v4 title=b",
            Some(3),
        ),
        (
            "remote v3 title=a; save title=b; sent e2; ack e2 v4 title=b; remote v5 title=b",
            None,
        ),
        // The echo is as good as the answer, if nothing else changed.
        (
            "remote v3 title=a; save title=b; sent e2; remote v4 title=b",
            Some(3),
        ),
        (
            "remote v3 title=a; save title=b; sent e2; remote v4 title=b; ack e2 v4 title=b",
            Some(3),
        ),
        (
            "remote v3 title=a; save title=b; sent e2; remote v4 title=b note=n",
            None,
        ),
        ("remote v3 title=a; save title=b; remote v4 title=b", None),
        // Nobody has seen the whole of version 4 while it is hidden.
        (
            "remote v3 title=a; save title=b; sent e2; remote v4 title=x",
            Some(5),
        ),
        (
            "remote v3 title=a; save title=b; sent e2; remote v5 title=b note=n; ack e2 v4 title=b",
            None,
        ),
        // A new life has nothing of the old one.
        (
            "save title=a; sent e1; ack e1 v1 title=a; remote v7 deleted; save title=b; sent e5; ack e5 v1@500 title=b",
            Some(0),
        ),
    ];
    for (script, expected) in cases {
        let since = Lab::run(script).state.own_since;
        assert_eq!(since, expected.map(RecordVersion), "after `{script}`");
    }
}

#[test]
fn the_server_row_is_kept_aside_exactly_while_something_waits() {
    let mut lab = Lab::run("remote v1 title=a");
    assert_eq!(lab.state.shadow, None);
    lab.more("save title=b");
    assert_eq!(lab.state.shadow, Some(row(&lab.def, "id=t1 title=a")));
    lab.more("sent e2; ack e2 v2 title=b");
    assert_eq!(lab.state.shadow, None);
    assert_eq!(lab.state.sync, Some(remote("v2").sync));
}

#[test]
fn a_deletion_stays_whatever_the_servers_clocks_say() {
    check_all(&[
        // Another machine of the server took the delete, and its clock is behind.
        (
            "remote v1@5000 title=a; delete; sent e2; ack e2 v2@4997 deleted",
            "- | v2 deleted own | - | -",
        ),
        // Its answer was lost, and the server was asked.
        (
            "remote v1@5000 title=a; delete; sent e2; lost e2; ack e2 v2@4997 deleted",
            "- | v2 deleted own | - | -",
        ),
        // Who only hears of it, and of what it ended once more.
        (
            "remote v2@5000 title=a; remote v3@4997 deleted; remote v2@5000 title=a",
            "- | v3 deleted | - | -",
        ),
        (
            "remote v1@5000 title=a; remote v2@4997 deleted; remote v1@5000 title=a",
            "- | v2 deleted | - | -",
        ),
        // A new life all the same.
        (
            "remote v1@5000 title=a; remote v2@4997 deleted; remote v1@5001 title=b",
            "{title=b} | v1 | - | -",
        ),
        // That of an earlier life says nothing, until a full sync tells what there is now.
        (
            "remote v2@500000 title=a; remote v3@4997 deleted",
            "{title=a} | v2 | - | -",
        ),
    ]);
}

#[test]
fn an_answer_that_is_no_newer_than_what_it_was_made_on_shows_a_server_that_went_back() {
    check_all(&[
        // It had forgotten v4 and made v4 anew.
        (
            "remote v4 title=a; save title=b; sent e2; ack e2 v4 title=b",
            "{title=b} | v4 | - | -",
        ),
        // A refusal comes with the record as it is, which is the very one.
        (
            "remote v4 title=a; save title=b; sent e2; refused e2 v4 title=a",
            "{title=b} | v4 | {title=a} | e2 update parked @v4 {title=b} tries=1",
        ),
    ]);
}

/// A delete that was made after the deletes of the record's children goes after them, though an edit waited before them.
#[test]
fn a_delete_goes_to_the_end_and_an_entry_that_does_not_say_so_takes_the_place_of_the_edit() {
    check(
        "remote v1 title=a; save title=b; delete",
        "- | v1 | {title=a} | e3 delete queued @v1",
    );
    // As entries of the first form are read.
    check(
        "remote v1 title=a; save title=b; write delete",
        "- | v1 | {title=a} | e2 delete queued @v1",
    );
    // What the edit knew goes along: that it was tried, and what others have written since.
    let mut lab = Lab::run(
        "remote v1 title=a rating=1; save title=b; sent e2; not-applied e2; remote v2 title=x rating=1",
    );
    lab.more("delete");
    let deleted = &lab.state.pending[0];
    assert_eq!(
        (
            lab.state.pending.len(),
            deleted.seq,
            deleted.kind,
            deleted.attempts
        ),
        (1, Seq(6), MutationKind::Delete, 1)
    );
    assert_eq!(
        deleted.base_version,
        Some(RecordVersion(1)),
        "the server notices the clash"
    );
    let base = deleted.base.as_ref().and_then(|base| base.get("title"));
    assert_eq!(base, Some(&"a".into()), "what the edit was made on");
    // A delete by itself, and one behind an edit that was sent, are as they ever were.
    check(
        "remote v1 title=a; save title=b; sent e2; delete",
        "- | v1 | {title=a} | e2 update in flight @v1 {title=b} tries=1, e4 delete queued",
    );
}
