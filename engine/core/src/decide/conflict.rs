//! What the answer to a conflict leads to.
//!
//! Owns [`Resolution`], [`decide_conflict`] and [`given_up`]. Reads nothing but its arguments.
//!
//! | change | server | the record stands | keep, merge |
//! |---|---|---|---|
//! | create, update | live | given up | sent again as an update, on the server's version |
//! | create, update | deleted | given up | parked: [`RECORD_DELETED`] |
//! | delete | live | given up | sent again as a delete; merged: as an update |
//! | delete | deleted | both want the same | as before |

use crate::entry::Decision;
use crate::mutation::{Mutation, MutationKind, Refusal};
use crate::planted::planted;
use crate::record::{FieldMap, RemoteRecord};
use crate::value::Value;

/// Why a change is parked that its app wants kept although the server has deleted the record; in the place of AppSync's
/// `errorType`.
pub const RECORD_DELETED: &str = "RecordDeleted";

/// What a conflict handler answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The server's record stands (Amplify's `DISCARD` and `applyRemote`).
    AcceptRemote,
    /// The fields that were changed locally are applied to the server's record.
    KeepLocal,
    /// These fields are applied to the server's record.
    Merged(FieldMap),
}

/// Turns a handler's answer into the decision that is logged.
///
/// # Errors
/// The refusal with which the change is parked: the server has deleted the record, and the answer wants the change kept.
/// A tombstone cannot be edited, and AppSync does not make a record again while there is one.
pub fn decide_conflict(
    mutation: &Mutation,
    remote: &RemoteRecord,
    resolution: Resolution,
) -> Result<Decision, Refusal> {
    match resolution {
        Resolution::AcceptRemote => Ok(Decision::AcceptRemote),
        _ if remote.sync.deleted && mutation.kind == MutationKind::Delete => Ok(Decision::AcceptRemote),
        _ if remote.sync.deleted => Err(Refusal {
            error_type: Some(RECORD_DELETED.to_owned()),
            message: format!(
                "`{}` was deleted on the server as version {}, and the conflict handler wants the change kept",
                mutation.key, remote.sync.version.0
            ),
        }),
        Resolution::KeepLocal => Ok(keep(mutation)),
        Resolution::Merged(fields) => Ok(merge(fields, remote)),
    }
}

fn keep(mutation: &Mutation) -> Decision {
    // A create that met a record made meanwhile goes on as an update of it.
    let kind = match mutation.kind {
        MutationKind::Create | MutationKind::Update => MutationKind::Update,
        MutationKind::Delete => MutationKind::Delete,
    };
    let mut patch = mutation.patch.clone();
    planted("kept-change-loses-field").then(|| patch.pop_last());
    Decision::Retry { kind, patch }
}

fn merge(fields: FieldMap, remote: &RemoteRecord) -> Decision {
    let mut patch = fields;
    patch.retain(|name, value| differs(remote, name, value));
    if patch.is_empty() {
        Decision::AcceptRemote
    } else {
        Decision::Retry {
            kind: MutationKind::Update,
            patch,
        }
    }
}

fn differs(remote: &RemoteRecord, name: &str, value: &Value) -> bool {
    let theirs = remote.fields.get(name).unwrap_or(&Value::Null);
    theirs.cmp_total(value).is_ne()
}

/// The fields of a mutation that a decision gives up: they are neither sent again nor the server's anyway.
pub fn given_up(mutation: &Mutation, remote: &RemoteRecord, decision: &Decision) -> FieldMap {
    let sent_again = |name: &str| match decision {
        Decision::AcceptRemote => false,
        Decision::Retry { patch, .. } => patch.contains_key(name),
    };
    let mut fields = mutation.patch.clone();
    fields.retain(|name, value| !sent_again(name) && (remote.sync.deleted || differs(remote, name, value)));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::lab::{Lab, remote};
    use crate::test_support::{fields, show_fields};

    /// The answer to the only mutation of a script, as text: what is sent again or why it is parked, and what is given up.
    fn answered(script: &str, theirs: &str, resolution: Resolution) -> String {
        let lab = Lab::run(script);
        let mutation = lab.state.pending.first().expect("something waits");
        let theirs = remote(theirs);
        match decide_conflict(mutation, &theirs, resolution) {
            Err(refusal) => refusal.error_type.expect("it has a code"),
            Ok(decision) => {
                let lost = show_fields(&given_up(mutation, &theirs, &decision));
                match decision {
                    Decision::AcceptRemote => format!("accept, lost {lost}"),
                    Decision::Retry { kind, patch } => {
                        format!("{} {}, lost {lost}", kind.verb(), show_fields(&patch))
                    }
                }
            }
        }
    }

    #[test]
    fn a_deleted_record_takes_no_change_and_whoever_wants_one_kept_decides_later() {
        let merged = || Resolution::Merged(fields("title=m"));
        for made in ["save title=b", "remote v1 title=a; save title=b"] {
            assert_eq!(
                answered(made, "v3 deleted", Resolution::KeepLocal),
                RECORD_DELETED
            );
            assert_eq!(answered(made, "v3 deleted", merged()), RECORD_DELETED);
        }
        let update = "remote v1 title=a; save title=b rating=1";
        assert_eq!(
            answered(update, "v3 deleted", Resolution::AcceptRemote),
            "accept, lost {rating=1 title=b}"
        );
        let delete = "remote v1 title=a; delete";
        assert_eq!(
            answered(delete, "v3 deleted", Resolution::KeepLocal),
            "accept, lost {}"
        );
    }

    #[test]
    fn what_is_given_up_is_neither_sent_again_nor_there_anyway() {
        let update = "remote v1 title=a; save title=b rating=1";
        let theirs = "v3 title=x rating=1";
        let cases = [
            (Resolution::AcceptRemote, "accept, lost {title=b}"),
            (Resolution::KeepLocal, "update {rating=1 title=b}, lost {}"),
            (
                Resolution::Merged(fields("note=n")),
                "update {note=n}, lost {title=b}",
            ),
            (Resolution::Merged(fields("rating=1")), "accept, lost {title=b}"),
        ];
        for (resolution, expected) in cases {
            assert_eq!(answered(update, theirs, resolution), expected);
        }
        let delete = "remote v1 title=a; delete";
        assert_eq!(
            answered(delete, theirs, Resolution::KeepLocal),
            "delete {}, lost {}"
        );
    }
}
