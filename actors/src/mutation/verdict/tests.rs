use landfall_core::MutationKind::{Create, Delete, Update};
use landfall_core::{Seq, Stage};

use super::super::testing::{
    deleted, error, error_at, misconfigured, mutation, no_credentials, remote, schema, settlement_text,
    transient, unreadable, verdict_text,
};
use super::*;

const NOT_DELIVERED: Delivery = Delivery::NotDelivered;
const PERHAPS: Delivery = Delivery::Unknown;

fn health_text(health: &Health) -> &'static str {
    match health {
        Health::Answers => "answers",
        Health::Refuses(Closing::Transient { .. }, _) => "waits",
        Health::Refuses(Closing::Credentials, _) => "credentials",
    }
}

fn replied(kind: MutationKind, reply: MutationReply) -> String {
    let schema = schema();
    let (verdict, health) = of_reply(schema.model("Tag").unwrap(), &mutation(1, kind, "Tag/a"), reply);
    format!("{}; {}", verdict_text(&verdict), health_text(&health))
}

fn failed(failure: Failure) -> String {
    replied(Update, MutationReply::Failed(failure))
}

/// What an answer about `key`, of either model, means.
fn fetched(mutation: &Mutation, purpose: Purpose, fetched: Result<Fetched, Failure>) -> String {
    let schema = schema();
    let def = schema.model(mutation.model()).unwrap();
    let (verdict, health) = of_fetched(def, mutation, purpose, fetched.map_err(Box::new));
    format!("{}; {}", verdict_text(&verdict), health_text(&health))
}

fn found(version: u64, title: &str) -> Result<Fetched, Failure> {
    Ok(Fetched::Found(remote(version, title)))
}

fn tombstone_found(version: u64) -> Result<Fetched, Failure> {
    Ok(Fetched::Found(deleted(version)))
}

const MISSING: Result<Fetched, Failure> = Ok(Fetched::Missing { known: None });

fn conflict() -> Purpose {
    Purpose::Conflict(Box::new(error("ConflictUnhandled")))
}

fn condition() -> Purpose {
    Purpose::Condition(Box::new(error("ConditionalCheckFailedException")))
}

#[test]
fn each_class_of_answer_has_its_verdict() {
    assert_eq!(
        replied(Update, MutationReply::Applied(remote(2, "mine"))),
        "acknowledged v2; answers"
    );
    assert_eq!(
        replied(Update, MutationReply::Unreadable(unreadable())),
        "ask reread; answers"
    );
    let stale = error("ConflictUnhandled");
    let reply = |server| MutationReply::Conflict {
        server,
        failure: stale.clone(),
    };
    assert_eq!(
        replied(Update, reply(Some(remote(3, "theirs")))),
        "decide v3; answers"
    );
    assert_eq!(replied(Update, reply(None)), "ask conflict; answers");
    // It was doubled on its way, and meets what its twin has done.
    assert_eq!(
        replied(Update, reply(Some(remote(2, "mine")))),
        "acknowledged v2; answers"
    );
    assert_eq!(
        fetched(&mutation(1, Update, "Tag/a"), conflict(), found(2, "mine")),
        "acknowledged v2; answers"
    );
    // Both sides deleted it: nobody has to be asked.
    assert_eq!(
        replied(Delete, reply(Some(deleted(3)))),
        "acknowledged v3 deleted; answers"
    );
    assert_eq!(
        replied(Update, reply(Some(deleted(3)))),
        "decide v3 deleted; answers"
    );
    let failed_condition = error("ConditionalCheckFailedException");
    let reply = |server| MutationReply::ConditionFailed {
        server,
        failure: failed_condition.clone(),
    };
    assert_eq!(replied(Update, reply(None)), "ask condition; answers");
    let refused = "refused ConditionalCheckFailedException, v3; answers";
    assert_eq!(replied(Update, reply(Some(remote(3, "theirs")))), refused);
    assert_eq!(
        replied(Create, reply(Some(remote(1, "mine")))),
        "acknowledged v1; answers"
    );
}

#[test]
fn failures_are_told_apart_by_what_they_are_about() {
    assert_eq!(failed(transient(NOT_DELIVERED)), "not applied; waits");
    assert_eq!(failed(transient(PERHAPS)), "unknown; waits");
    assert_eq!(failed(misconfigured()), "not applied; waits");
    assert_eq!(failed(no_credentials()), "not applied; credentials");
    assert_eq!(failed(error("Unauthorized")), "refused Unauthorized; answers");
    assert_eq!(
        failed(error_at("Unauthorized", Vec::new())),
        "refused Unauthorized; answers"
    );
    // A type that no resolver gives, and no field: the request as such was turned away, whatever the status.
    assert_eq!(
        failed(error_at("ExpiredTokenException", Vec::new())),
        "not applied; credentials"
    );
    assert_eq!(failed(error("BadRequest")), "refused BadRequest; answers");
}

#[test]
fn what_was_too_much_is_asked_about_and_refused_only_alone() {
    for error_type in [
        "ResponseSizeExceeded",
        "RequestSizeExceeded",
        "ResolverLimitExceeded",
    ] {
        let crowded = MutationReply::Crowded(error(error_type));
        assert_eq!(replied(Update, crowded), "ask crowded; answers", "{error_type}");
        assert_eq!(failed(error(error_type)), "ask too much; answers", "{error_type}");
    }
    let crowded = MutationReply::Crowded(error("WriteSizeExceeded"));
    assert_eq!(replied(Update, crowded), "not applied; answers");
    assert_eq!(
        failed(error("WriteSizeExceeded")),
        "refused WriteSizeExceeded; answers"
    );

    let crowded = |answer| fetched(&mutation(1, Update, "Tag/a"), Purpose::Crowded, answer);
    assert_eq!(crowded(found(1, "before")), "not applied; answers");
    assert_eq!(crowded(found(2, "mine")), "acknowledged v2; answers");
    assert_eq!(
        crowded(Err(transient(PERHAPS))),
        "unknown; waits",
        "it is in flight on disk, where nobody would hand it out again"
    );
    assert_eq!(
        crowded(Err(error("Unauthorized"))),
        "refused OutcomeUnknown; answers"
    );

    let too_much = || Purpose::TooMuch(Box::new(error("ResponseSizeExceeded")));
    let of = |kind, answer| fetched(&mutation(1, kind, "Tag/a"), too_much(), answer);
    assert_eq!(of(Update, found(2, "mine")), "acknowledged v2; answers");
    assert_eq!(of(Update, found(2, "theirs")), "decide v2; answers");
    let refused = "refused ResponseSizeExceeded";
    assert_eq!(
        of(Update, found(1, "before")),
        format!("{refused}, v1; answers"),
        "it would be too much again"
    );
    assert_eq!(of(Create, MISSING), format!("{refused}; answers"));
    assert_eq!(of(Update, Err(transient(PERHAPS))), "unknown; waits");
    assert_eq!(
        of(Update, Err(error("ResponseSizeExceeded"))),
        "refused OutcomeUnknown; answers",
        "the record cannot be shown either"
    );
}

#[test]
fn a_refusal_tells_the_app_everything() {
    let schema = schema();
    let sent = mutation(1, Update, "Tag/a");
    let reply = MutationReply::Failed(error("Unauthorized"));
    let (verdict, _) = of_reply(schema.model("Tag").unwrap(), &sent, reply);
    let Verdict::Settle(_, Some(report)) = verdict else {
        panic!("{verdict:?}")
    };
    let expected = Report {
        kind: ErrorKind::Unauthorized,
        message: "no".into(),
        error_type: Some("Unauthorized".into()),
        whole: None,
        parked: true,
        mutation: Box::new(sent),
        remote: None,
        known: Box::default(),
    };
    assert_eq!(report, expected);
}

#[test]
fn conflicts_end_after_so_many_rounds() {
    let schema = schema();
    let def = schema.model("Tag").unwrap();
    let reply = || MutationReply::Conflict {
        server: Some(remote(9, "theirs")),
        failure: error("ConflictUnhandled"),
    };
    let verdict = |rounds| {
        let mutation = Mutation {
            conflict_rounds: rounds,
            ..mutation(1, Update, "Tag/a")
        };
        verdict_text(&of_reply(def, &mutation, reply()).0)
    };
    assert_eq!(verdict(CONFLICT_ROUNDS_MAX - 2), "decide v9");
    assert_eq!(verdict(CONFLICT_ROUNDS_MAX - 1), "refused ConflictUnhandled, v9");
    let mutation = Mutation {
        conflict_rounds: u32::MAX,
        ..mutation(1, Update, "Tag/a")
    };
    assert_eq!(
        fetched(&mutation, Purpose::Outcome, found(9, "theirs")),
        "refused untyped, v9; answers"
    );
}

#[test]
fn a_lost_answer_is_found_out_each_way() {
    let outcome = |kind, found| fetched(&mutation(1, kind, "Tag/a"), Purpose::Outcome, found);
    assert_eq!(outcome(Update, found(2, "mine")), "acknowledged v2; answers");
    assert_eq!(outcome(Update, found(1, "old")), "not applied; answers");
    assert_eq!(outcome(Update, found(3, "theirs")), "decide v3; answers");
    assert_eq!(outcome(Update, tombstone_found(3)), "decide v3 deleted; answers");
    assert_eq!(outcome(Update, MISSING), "not applied; answers");
    assert_eq!(outcome(Create, found(1, "mine")), "acknowledged v1; answers");
    assert_eq!(outcome(Create, found(1, "theirs")), "decide v1; answers");
    assert_eq!(outcome(Create, tombstone_found(3)), "not applied; answers");
    assert_eq!(outcome(Create, MISSING), "not applied; answers");
    assert_eq!(
        outcome(Delete, tombstone_found(2)),
        "acknowledged v2 deleted; answers"
    );
    assert_eq!(outcome(Delete, found(1, "old")), "not applied; answers");
    assert_eq!(outcome(Delete, found(2, "theirs")), "decide v2; answers");
    // The app may have chosen the identifier, though it need not.
    let managed = mutation(1, Create, "Todo/a");
    assert_eq!(
        fetched(&managed, Purpose::Outcome, found(5, "theirs")),
        "decide v5; answers"
    );
}

#[test]
fn a_record_that_is_gone_without_a_trace_leaves_a_newer_tombstone() {
    let outcome = |known| {
        fetched(
            &mutation(1, Delete, "Tag/a"),
            Purpose::Outcome,
            Ok(Fetched::Missing { known }),
        )
    };
    assert_eq!(outcome(None), "acknowledged v2 deleted; answers");
    assert_eq!(
        outcome(Some(remote(7, "mine").sync)),
        "acknowledged v8 deleted; answers"
    );
    let known = SyncMetadata {
        last_changed_at_ms: 77,
        ..remote(7, "mine").sync
    };
    let (verdict, _) = of_fetched(
        schema().model("Tag").unwrap(),
        &mutation(1, Delete, "Tag/a"),
        Purpose::Outcome,
        Ok(Fetched::Missing { known: Some(known) }),
    );
    let Verdict::Settle(Settlement::Acknowledged(tombstone), None) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(
        tombstone.sync.last_changed_at_ms, 77,
        "an earlier one would be of an earlier life, and the record would show again"
    );
}

#[test]
fn an_outcome_that_cannot_be_found_out_stays_open_or_is_parked() {
    let outcome = |found| fetched(&mutation(1, Update, "Tag/a"), Purpose::Outcome, found);
    assert_eq!(outcome(Err(transient(PERHAPS))), "give back; waits");
    assert_eq!(outcome(Err(no_credentials())), "give back; credentials");
    assert_eq!(
        outcome(Err(error("Unauthorized"))),
        "refused OutcomeUnknown; answers"
    );
    assert_eq!(
        outcome(Ok(Fetched::Unreadable(unreadable()))),
        "refused OutcomeUnknown; answers"
    );
}

#[test]
fn a_conflict_without_a_record_is_decided_by_the_one_asked_for() {
    let of = |kind, found| fetched(&mutation(1, kind, "Tag/a"), conflict(), found);
    assert_eq!(of(Update, found(3, "theirs")), "decide v3; answers");
    assert_eq!(of(Delete, tombstone_found(3)), "acknowledged v3 deleted; answers");
    assert_eq!(of(Delete, MISSING), "acknowledged v2 deleted; answers");
    assert_eq!(of(Update, MISSING), "refused ConflictUnhandled; answers");
    assert_eq!(
        of(Update, Ok(Fetched::Unreadable(unreadable()))),
        "refused ConflictUnhandled; answers"
    );
    assert_eq!(
        of(Update, Err(error("Unauthorized"))),
        "refused ConflictUnhandled; answers"
    );
    // The next try meets the conflict again.
    assert_eq!(of(Update, Err(transient(PERHAPS))), "not applied; waits");
    assert_eq!(of(Update, Err(no_credentials())), "not applied; credentials");
}

#[test]
fn a_failed_condition_may_be_the_echo_of_a_lost_answer() {
    let of = |kind, found| fetched(&mutation(1, kind, "Tag/a"), condition(), found);
    assert_eq!(of(Create, found(1, "mine")), "acknowledged v1; answers");
    // Another client was first with the identifier: neither its record nor this one is dropped unseen.
    assert_eq!(of(Create, found(4, "theirs")), "decide v4; answers");
    assert_eq!(
        fetched(&mutation(1, Create, "Todo/a"), condition(), found(1, "theirs")),
        "decide v1; answers"
    );
    let at_its_end = Mutation {
        conflict_rounds: CONFLICT_ROUNDS_MAX - 1,
        ..mutation(1, Create, "Todo/a")
    };
    assert_eq!(
        fetched(&at_its_end, condition(), found(1, "theirs")),
        "refused ConditionalCheckFailedException, v1; answers"
    );
    assert_eq!(
        of(Create, tombstone_found(4)),
        "refused ConditionalCheckFailedException, v4 deleted; answers"
    );
    assert_eq!(of(Delete, MISSING), "acknowledged v2 deleted; answers");
    assert_eq!(
        of(Delete, found(1, "old")),
        "refused ConditionalCheckFailedException, v1; answers"
    );
    // An update whose condition failed was not applied, even if someone else wrote the same.
    assert_eq!(
        of(Update, found(4, "mine")),
        "refused ConditionalCheckFailedException, v4; answers"
    );
    assert_eq!(
        of(Update, MISSING),
        "refused ConditionalCheckFailedException; answers"
    );
    assert_eq!(of(Update, Err(transient(PERHAPS))), "not applied; waits");
    assert_eq!(of(Create, Err(transient(NOT_DELIVERED))), "unknown; waits");
    assert_eq!(
        of(Create, Err(error("Unauthorized"))),
        "refused ConditionalCheckFailedException; answers"
    );
}

#[test]
fn what_was_applied_is_acknowledged_or_said_to_be_applied() {
    let applied = Mutation {
        seq: Seq(1),
        stage: Stage::InFlight,
        ..mutation(1, Update, "Tag/a")
    };
    let of = |found| fetched(&applied, Purpose::Reread(unreadable()), found);
    assert_eq!(of(found(9, "theirs")), "acknowledged v9; answers");
    assert_eq!(of(MISSING), "acknowledged v2 deleted; answers");
    assert_eq!(of(Err(transient(NOT_DELIVERED))), "unknown; waits");
    assert_eq!(of(Err(no_credentials())), "unknown; credentials");
    assert_eq!(
        of(Ok(Fetched::Unreadable(unreadable()))),
        "refused OutcomeUnknown; answers"
    );
}

#[test]
fn what_does_not_fit_the_servers_schema_is_parked_under_a_name_of_its_own() {
    let mut form = error_at("any", Vec::new());
    let FailureCause::Errors { errors, .. } = &mut form.cause else {
        unreachable!("it is an error of the server");
    };
    errors[0].error_type = None;
    assert_eq!(failed(form.clone()), "refused SchemaMismatch; answers");
    let asked = mutation(1, Create, "Todo/a");
    assert_eq!(
        fetched(&asked, Purpose::Outcome, Err(form)),
        "refused OutcomeNotShown; answers",
        "it is asked about again before it is sent"
    );
    let unsendable = |kind| match unsendable(&asked, "why".into(), kind) {
        Verdict::Settle(settlement, _) => settlement_text(&settlement),
        other => panic!("{other:?}"),
    };
    assert_eq!(unsendable(ErrorKind::BadModel), "refused SchemaMismatch");
    assert_eq!(unsendable(ErrorKind::BadRecord), "refused untyped");
}
