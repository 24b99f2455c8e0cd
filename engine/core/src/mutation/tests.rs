//! Tests of coalescing: every row of its table, and that nothing else is ever folded.

use super::*;
use crate::predicate::Op;
use crate::test_support::{mutation, show_mutation};

use MutationKind::{Create, Delete, Update};

const KINDS: [MutationKind; 3] = [Create, Update, Delete];

fn condition() -> Option<Predicate> {
    Some(Predicate::field("rating", Op::Eq(3.into())))
}

fn stages() -> [Stage; 4] {
    let refusal = Refusal {
        error_type: None,
        message: "no".into(),
    };
    [
        Stage::Queued,
        Stage::InFlight,
        Stage::Unknown,
        Stage::Parked(refusal),
    ]
}

/// Folds two mutations given as kind and patch; writes the queue that results.
fn coalesced(last: (MutationKind, &str), new: (MutationKind, &str)) -> String {
    let mut last = Mutation {
        base_version: Some(RecordVersion(4)),
        ..mutation(1, last.0, last.1)
    };
    match coalesce(Some(&mut last), mutation(2, new.0, new.1)) {
        Coalesced::Append(new) => format!("{}, {}", show_mutation(&last), show_mutation(&new)),
        Coalesced::Folded => show_mutation(&last),
        Coalesced::Cancelled => "nothing".into(),
    }
}

#[test]
fn every_row_of_the_table() {
    let cases = [
        (
            (Create, "title=a rating=1"),
            (Update, "title=b"),
            "e1 create queued @v4 {rating=1 title=b}",
        ),
        (
            (Create, "title=a"),
            (Update, "title=null note=n"),
            "e1 create queued @v4 {note=n title=null}",
        ),
        ((Create, "title=a"), (Delete, ""), "nothing"),
        (
            (Update, "title=a rating=1"),
            (Update, "title=b"),
            "e1 update queued @v4 {rating=1 title=b}",
        ),
        (
            (Update, "title=a"),
            (Update, "rating=2"),
            "e1 update queued @v4 {rating=2 title=a}",
        ),
        ((Update, "title=a"), (Delete, ""), "e1 delete queued @v4"),
        (
            (Delete, ""),
            (Create, "title=b"),
            "e1 delete queued @v4, e2 create queued {title=b}",
        ),
        (
            (Delete, ""),
            (Update, "title=b"),
            "e1 delete queued @v4, e2 update queued {title=b}",
        ),
        (
            (Delete, ""),
            (Delete, ""),
            "e1 delete queued @v4, e2 delete queued",
        ),
        // A second create cannot be decided while the record is there, but no rule would hide it.
        (
            (Create, "title=a"),
            (Create, "title=b"),
            "e1 create queued @v4 {title=a}, e2 create queued {title=b}",
        ),
        (
            (Update, "title=a"),
            (Create, "title=b"),
            "e1 update queued @v4 {title=a}, e2 create queued {title=b}",
        ),
    ];
    for (last, new, expected) in cases {
        assert_eq!(coalesced(last, new), expected, "{last:?} then {new:?}");
    }
}

#[test]
fn the_first_mutation_of_a_record_is_appended() {
    for kind in KINDS {
        assert_eq!(
            coalesce(None, mutation(7, kind, "title=a")),
            Coalesced::Append(mutation(7, kind, "title=a"))
        );
    }
}

#[test]
fn nothing_is_folded_into_what_is_not_queued_nor_across_conditions_and_transactions() {
    let groups = [None, Some(Seq(1)), Some(Seq(9))];
    let mut folds = 0;
    for (last_kind, stage, last_condition, last_group) in every(&groups) {
        for (new_kind, _, new_condition, new_group) in
            every(&groups).into_iter().filter(|new| new.1 == Stage::Queued)
        {
            let mut last = mutation(1, last_kind, "title=a");
            (last.stage, last.condition, last.group) = (stage.clone(), last_condition.clone(), last_group);
            let before = last.clone();
            let mut new = mutation(2, new_kind, "title=b");
            (new.condition, new.group) = (new_condition, new_group);
            let closed = stage != Stage::Queued
                || last_condition.is_some()
                || new.condition.is_some()
                || last_group != new_group
                || last_kind == Delete
                || new_kind == Create;
            let outcome = coalesce(Some(&mut last), new.clone());
            let name = format!("{before:?} then {new:?}");
            if closed {
                assert_eq!(outcome, Coalesced::Append(new), "{name}");
                assert_eq!(last, before, "{name}");
            } else {
                assert!(
                    matches!(outcome, Coalesced::Folded | Coalesced::Cancelled),
                    "{name}: {outcome:?}"
                );
                folds += 1;
            }
        }
    }
    // Create and update each take an update or a delete, in each of three groups.
    assert_eq!(folds, 12);
}

/// Every kind, stage, condition and group of a mutation.
fn every(groups: &[Option<Seq>]) -> Vec<(MutationKind, Stage, Option<Predicate>, Option<Seq>)> {
    let mut all = Vec::new();
    for kind in KINDS {
        for stage in stages() {
            for condition in [None, condition()] {
                all.extend(
                    groups
                        .iter()
                        .map(|group| (kind, stage.clone(), condition.clone(), *group)),
                );
            }
        }
    }
    all
}

#[test]
fn folding_keeps_identity_and_history_and_takes_over_the_new_parents() {
    for new_kind in [Update, Delete] {
        let mut last = mutation(1, Update, "title=a");
        last.base_version = Some(RecordVersion(4));
        (last.attempts, last.conflict_rounds) = (2, 1);
        last.parents = vec![RecordKey::new("Blog", "old"), RecordKey::new("Blog", "kept")];
        let mut new = mutation(5, new_kind, if new_kind == Update { "title=b" } else { "" });
        new.parents = vec![RecordKey::new("Blog", "kept")];
        assert_eq!(coalesce(Some(&mut last), new), Coalesced::Folded);
        assert_eq!(last.seq, Seq(1));
        assert_eq!(
            last.base_version,
            Some(RecordVersion(4)),
            "the version that the first edit was made on"
        );
        assert_eq!((last.attempts, last.conflict_rounds), (2, 1));
        assert_eq!(last.parents, [RecordKey::new("Blog", "kept")]);
    }
}

/// The place in the queue of the waiting one may be before the create of the new parent.
#[test]
fn an_update_that_refers_to_another_record_keeps_its_own_place() {
    for last_kind in [Create, Update] {
        let mut last = mutation(1, last_kind, "title=a");
        last.parents = vec![RecordKey::new("Blog", "old")];
        let before = last.clone();
        let mut new = mutation(5, Update, "title=b");
        new.parents = vec![RecordKey::new("Blog", "old"), RecordKey::new("Blog", "new")];
        assert_eq!(coalesce(Some(&mut last), new.clone()), Coalesced::Append(new));
        assert_eq!(last, before);
    }
}

#[test]
fn a_create_that_was_sent_before_is_not_undone_unseen() {
    let mut last = mutation(1, Create, "title=a");
    last.attempts = 1;
    let before = last.clone();
    let new = mutation(2, Delete, "");
    assert_eq!(coalesce(Some(&mut last), new.clone()), Coalesced::Append(new));
    assert_eq!(last, before);
    // An edit is no harm: if the create was applied after all, it meets a conflict either way.
    assert_eq!(
        coalesce(Some(&mut last), mutation(3, Update, "title=b")),
        Coalesced::Folded
    );
}

#[test]
fn a_write_that_is_to_meet_a_conflict_is_not_folded_into_one_that_is_not() {
    let on = |version, mutation| Mutation {
        base_version: version,
        ..mutation
    };
    let v = |version| Some(RecordVersion(version));
    for (last, new, folds) in [
        (v(4), v(3), false),
        (None, v(3), false),
        (v(4), v(4), true),
        (v(4), None, true),
        (None, None, true),
    ] {
        let mut last = on(last, mutation(1, Update, "title=a"));
        let new = on(new, mutation(2, Update, "title=b"));
        let folded = coalesce(Some(&mut last), new.clone()) == Coalesced::Folded;
        assert_eq!(folded, folds, "{last:?} then {new:?}");
    }
}

#[test]
fn only_a_queued_mutation_is_open() {
    let open: Vec<bool> = stages()
        .into_iter()
        .map(|stage| {
            Mutation {
                stage,
                ..mutation(1, Update, "")
            }
            .is_open()
        })
        .collect();
    assert_eq!(open, [true, false, false, false]);
    assert_eq!(
        stages().map(|stage| stage.name()),
        ["queued", "in flight", "unknown", "parked"]
    );
}

#[test]
fn names_are_those_of_appsync_and_datastore() {
    assert_eq!(KINDS.map(MutationKind::verb), ["create", "update", "delete"]);
    assert_eq!(KINDS.map(MutationKind::op_type), ["INSERT", "UPDATE", "DELETE"]);
    assert_eq!(mutation(1, Create, "").model().as_str(), "Todo");
    assert_eq!((Seq::ZERO.next(), Seq(41).next()), (Seq(1), Seq(42)));
    assert_eq!(Seq(42).to_string(), "e42");
}
