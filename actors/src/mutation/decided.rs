//! What the answer of the conflict handler means for a mutation, and what the app is told of it.
//!
//! Owns [`of_resolution`]. Pure. How a resolution becomes a decision is `landfall_core::decide_conflict`.
//!
//! An edit that a deletion ends, and a delete that an edit of others ends, are told through the error handler with all
//! that there is to be told: what was changed, the record with the change on it, the record on which it was made, and the
//! server's. Whoever answers conflicts by a general rule has not looked at them one by one, and nobody edits what is gone.
//! What else is given up for the server's record is in the Hub's `conflictResolved` and in the log.

use landfall_core::{
    Decision, FieldMap, Mutation, MutationKind, Refusal, RemoteRecord, Resolution, decide_conflict,
};

use super::machine::Undecided;
use super::verdict::{Report, Verdict, refuse_knowing};
use crate::handlers::ErrorKind;
use crate::storage::Settlement;

/// What the store knew of the record when the conflict handler was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The record as the app sees it; `None` if it deleted it.
    pub(super) record: Option<FieldMap>,
    /// The record on which the change was made.
    pub(super) base: Option<FieldMap>,
}

/// What becomes of a mutation.
pub(super) fn of_resolution(
    mutation: &Mutation,
    remote: RemoteRecord,
    resolution: Result<Resolution, Undecided>,
    known: Known,
) -> Verdict {
    let refusal = match resolution {
        Ok(resolution) => match decide_conflict(mutation, &remote, resolution) {
            Ok(decision) => {
                let report = lost(mutation, &remote, &decision, known);
                return Verdict::Settle(Settlement::Conflict { remote, decision }, report);
            }
            Err(refusal) => refusal,
        },
        Err(undecided) => {
            let why = match undecided {
                Undecided::Panicked => "panicked",
                Undecided::TookTooLong => "took too long",
            };
            Refusal {
                error_type: None,
                message: format!("the conflict handler {why}, so nothing is decided"),
            }
        }
    };
    refuse_knowing(mutation, refusal, ErrorKind::Unknown, Some(remote), known)
}

/// What the app is told of a change that is given up, if nobody can be taken to expect that.
fn lost(mutation: &Mutation, remote: &RemoteRecord, decision: &Decision, known: Known) -> Option<Report> {
    if *decision != Decision::AcceptRemote {
        return None;
    }
    let version = remote.sync.version.0;
    let message = match (mutation.kind, remote.sync.deleted) {
        (MutationKind::Delete, false) => format!(
            "`{}` is not deleted: others have changed it since, in version {version}, and their record stands",
            mutation.key
        ),
        (MutationKind::Create | MutationKind::Update, true) => format!(
            "a change of `{}` is lost: the record was deleted on the server, as version {version}",
            mutation.key
        ),
        (MutationKind::Delete, true) | (MutationKind::Create | MutationKind::Update, false) => return None,
    };
    Some(Report {
        kind: ErrorKind::LostUpdate,
        message,
        error_type: None,
        whole: None,
        parked: false,
        mutation: Box::new(mutation.clone()),
        remote: Some(Box::new(remote.clone())),
        known: Box::new(known),
    })
}

#[cfg(test)]
mod tests {
    use landfall_core::RECORD_DELETED;

    use super::*;
    use crate::mutation::testing::{deleted, mutation, remote, verdict_text};

    fn known() -> Known {
        let fields = |title: &str| Some(FieldMap::from([("title".into(), title.into())]));
        Known {
            record: fields("mine"),
            base: fields("first"),
        }
    }

    fn told(verdict: &Verdict) -> Option<&Report> {
        match verdict {
            Verdict::Settle(_, report) => report.as_ref(),
            _ => None,
        }
    }

    #[test]
    fn what_a_deletion_or_an_edit_of_others_ends_is_told_with_all_there_is() {
        let cases = [
            (MutationKind::Update, deleted(9), true),
            (MutationKind::Create, deleted(9), true),
            (MutationKind::Delete, remote(9, "theirs"), true),
            (MutationKind::Update, remote(9, "theirs"), false),
        ];
        for (kind, theirs, is_told) in cases {
            let ours = mutation(1, kind, "Tag/a");
            let verdict = of_resolution(&ours, theirs.clone(), Ok(Resolution::AcceptRemote), known());
            assert_eq!(told(&verdict).is_some(), is_told, "{kind:?}");
            let Some(report) = told(&verdict) else { continue };
            assert_eq!((report.kind, report.parked), (ErrorKind::LostUpdate, false));
            assert_eq!(*report.mutation, ours);
            assert_eq!(report.remote.as_deref(), Some(&theirs));
            assert_eq!(*report.known, known());
        }
    }

    #[test]
    fn whoever_wants_a_change_of_a_deleted_record_kept_finds_it_parked() {
        for answer in [
            Resolution::KeepLocal,
            Resolution::Merged([("title".into(), "both".into())].into()),
        ] {
            let ours = mutation(1, MutationKind::Update, "Tag/a");
            let verdict = of_resolution(&ours, deleted(9), Ok(answer), known());
            assert_eq!(
                verdict_text(&verdict),
                format!("refused {RECORD_DELETED}, v9 deleted")
            );
            let report = told(&verdict).expect("the app is told");
            assert_eq!((report.parked, &*report.known), (true, &known()));
            assert_eq!(report.error_type.as_deref(), Some(RECORD_DELETED));
        }
    }
}
