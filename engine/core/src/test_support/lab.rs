//! One record and what happens to it, written as a script.
//!
//! A script is a list of statements with `;` between. Each statement that changes something is one log entry, counted
//! from `e1`. `save`, `save-new`, `save-copy` and `delete` go through the decisions; the others are entries as they
//! are. A server record is `v3 title=a`, `v3 deleted`, or `v3@500 ...` with a change time of its own.
//!
//! | statement | meaning |
//! |---|---|
//! | `save title=a` | the app reads the record, sets the fields, saves; makes it if there is none |
//! | `save-new title=a` | the app builds the record anew and saves it |
//! | `copy`, `save-copy title=a` | the app reads the record now, and saves that copy later |
//! | `delete` | the app deletes the record |
//! | `... if rating=3` | the same with a condition |
//! | `write local create title=a` | a write entry as it is; `local` means that it is not for the server |
//! | `sent e1`, `lost e1`, `not-applied e1`, `retried e1`, `discard e1` | the mutation's way |
//! | `ack e1 v1 title=a` | the server applied it |
//! | `conflict e1 v3 title=x -> accept`, `... -> update title=b`, `... -> delete` | a conflict and its decision |
//! | `refused e1`, `refused e1 v3 title=x` | parked |
//! | `remote v3 title=x`, `evicted` | from the server, or out of its reach; `evicted v3` remembers the version |

use std::sync::Arc;

use super::{blog, fields, lay_over, row, show_fields, show_mutation, show_row, value};
use crate::decide::{SaveRequest, WriteRefused, decide_delete, decide_save};
use crate::entry::{
    Acknowledged, Change, Conflict, Decision, Evicted, MutationRef, Refused, Remote, Sent, Write,
};
use crate::mutation::{MutationKind, Refusal, Seq};
use crate::predicate::{Op, Predicate};
use crate::record::{FieldMap, RecordKey, RecordVersion, RemoteRecord, SyncMetadata};
use crate::schema::{ModelDef, Schema};
use crate::state::{FoldError, RecordState, Row};

/// One record, its log, and a copy that the app may hold.
pub(crate) struct Lab {
    pub(crate) schema: Schema,
    pub(crate) def: Arc<ModelDef>,
    pub(crate) state: RecordState,
    pub(crate) log: Vec<(Seq, Change)>,
    copy: Option<(Row, Option<SyncMetadata>)>,
}

/// What a save starts from.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// The record as it is stored now.
    Stored,
    /// The copy taken earlier.
    Copy,
    /// Nothing: the app built the record.
    Nothing,
}

impl Lab {
    /// Runs a script on an empty `Todo/t1`.
    pub(crate) fn run(script: &str) -> Self {
        let schema = blog();
        let def = Arc::clone(schema.model("Todo").expect("a model of the blog schema"));
        let mut lab = Self {
            schema,
            def,
            state: RecordState::default(),
            log: Vec::new(),
            copy: None,
        };
        lab.more(script);
        lab
    }

    /// Runs more statements.
    pub(crate) fn more(&mut self, script: &str) {
        for statement in script
            .split(';')
            .map(str::trim)
            .filter(|statement| !statement.is_empty())
        {
            self.statement(statement);
        }
    }

    /// Applies a change as the next log entry.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), FoldError> {
        let seq = Seq(self.log.len() as u64 + 1);
        self.state.apply(&self.def, seq, &change)?;
        self.log.push((seq, change));
        Ok(())
    }

    /// Decides a save of the named fields.
    pub(crate) fn decide_save(&self, from: From, text: &str) -> Result<Option<Write>, WriteRefused> {
        let (text, condition) = split_condition(text);
        let (base, seen) = match from {
            From::Stored => (self.state.row.clone(), self.state.sync),
            From::Copy => {
                let (base, seen) = self.copy.clone().expect("a copy was taken");
                (Some(base), seen)
            }
            From::Nothing => (None, None),
        };
        let mut values = base.clone().unwrap_or_else(|| row(&self.def, "id=t1"));
        lay_over(&self.def, &mut values, &fields(text));
        let seen = if base.is_some() { seen } else { None };
        let request = SaveRequest {
            values,
            base,
            seen,
            condition,
            queued: true,
            group: None,
        };
        decide_save(&self.schema, &self.def, &self.state, request)
    }

    /// Decides a delete.
    pub(crate) fn decide_delete(&self, text: &str) -> Result<Option<Write>, WriteRefused> {
        let (_, condition) = split_condition(text);
        decide_delete(&self.schema, &self.def, &self.state, key(), condition, true, None)
    }

    /// The state as text: visible row, server metadata, server row kept aside, waiting mutations.
    pub(crate) fn text(&self) -> String {
        let state = &self.state;
        let sync = state.sync.map_or("-".to_owned(), |sync| {
            let deleted = if sync.deleted { " deleted" } else { "" };
            let own = if state.own_since.is_some_and(|since| since < sync.version) {
                " own"
            } else {
                ""
            };
            format!("{}{deleted}{own}", sync.version)
        });
        let pending: Vec<String> = state.pending.iter().map(show_mutation).collect();
        let pending = if pending.is_empty() {
            "-".to_owned()
        } else {
            pending.join(", ")
        };
        let (row, shadow) = (
            show_row(&self.def, state.row.as_ref()),
            show_row(&self.def, state.shadow.as_ref()),
        );
        format!("{row} | {sync} | {shadow} | {pending}")
    }

    fn statement(&mut self, statement: &str) {
        let (verb, rest) = statement.split_once(' ').unwrap_or((statement, ""));
        let write = match verb {
            "copy" => {
                let row = self.state.row.clone().expect("a record to copy");
                self.copy = Some((row, self.state.sync));
                return;
            }
            "save" => self.decide_save(From::Stored, rest),
            "save-copy" => self.decide_save(From::Copy, rest),
            "save-new" => self.decide_save(From::Nothing, rest),
            "delete" => self.decide_delete(statement),
            _ => {
                let change = change(verb, rest);
                return self
                    .apply(change)
                    .unwrap_or_else(|error| panic!("`{statement}`: {error}"));
            }
        };
        if let Some(write) = write.unwrap_or_else(|error| panic!("`{statement}`: {error}")) {
            self.apply(Change::Write(write)).expect("a write always applies");
        }
    }
}

/// The record of every script.
pub(crate) fn key() -> RecordKey {
    RecordKey::new("Todo", "t1")
}

/// Reads a change of the script that needs no decision.
pub(crate) fn change(verb: &str, rest: &str) -> Change {
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let of = || MutationRef {
        key: key(),
        mutation: seq(first),
    };
    match verb {
        "write" => Change::Write(write(rest)),
        "sent" => Change::Sent(Sent {
            key: key(),
            mutation: seq(first),
            attempt: 1,
        }),
        "lost" => Change::OutcomeUnknown(of()),
        "not-applied" => Change::NotApplied(of()),
        "retried" => Change::Retried(of()),
        "discard" => Change::Discarded(of()),
        "ack" => Change::Acknowledged(Acknowledged {
            key: key(),
            mutation: seq(first),
            remote: remote(after),
        }),
        "conflict" => {
            let (server, answer) = after.split_once(" -> ").expect("a decision after `->`");
            let (kind, patch) = answer.split_once(' ').unwrap_or((answer, ""));
            let decision = match kind {
                "accept" => Decision::AcceptRemote,
                _ => Decision::Retry {
                    kind: mutation_kind(kind),
                    patch: fields(patch),
                },
            };
            Change::Conflict(Conflict {
                key: key(),
                mutation: seq(first),
                remote: remote(server),
                decision,
                given_up: FieldMap::new(),
            })
        }
        "refused" => Change::Refused(Refused {
            key: key(),
            mutation: seq(first),
            refusal: Refusal {
                error_type: None,
                message: "no".into(),
            },
            remote: (!after.is_empty()).then(|| remote(after)),
        }),
        "remote" => Change::Remote(Remote {
            key: key(),
            remote: remote(rest),
        }),
        "evicted" => Change::Evicted(Evicted {
            key: key(),
            reason: "left the sync expression".into(),
            sync: (!rest.is_empty()).then(|| remote(rest).sync),
        }),
        _ => panic!("`{verb}` is no statement"),
    }
}

/// Reads a server record: `v3 title=a`, `v3 deleted`, `v3@500 title=a`.
pub(crate) fn remote(text: &str) -> RemoteRecord {
    let (version, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (version, at) = match version.split_once('@') {
        Some((version, at)) => (version, Some(at.parse().expect("a time"))),
        None => (version, None),
    };
    let version = version
        .strip_prefix('v')
        .and_then(|digits| digits.parse().ok())
        .expect("a version such as v3");
    let deleted = rest == "deleted";
    let mut fields = if deleted { fields("") } else { fields(rest) };
    fields.insert("id".into(), "t1".into());
    let sync = SyncMetadata {
        deleted,
        ..super::sync(version)
    };
    let sync = SyncMetadata {
        last_changed_at_ms: at.unwrap_or(sync.last_changed_at_ms),
        ..sync
    };
    assert_eq!(sync.version, RecordVersion(version));
    RemoteRecord {
        id: "t1".into(),
        fields,
        sync,
    }
}

/// Writes a decided write, such as `update {title=b} @v1 if`.
pub(crate) fn show_write(write: &Write) -> String {
    let mut text = write.kind.verb().to_owned();
    if write.kind != MutationKind::Delete {
        text += &format!(" {}", show_fields(&write.patch));
    }
    if let Some(version) = write.base_version {
        text += &format!(" @{version}");
    }
    if write.condition.is_some() {
        text += " if";
    }
    if !write.queued {
        text += " local";
    }
    text
}

fn write(text: &str) -> Write {
    let (queued, text) = text
        .strip_prefix("local ")
        .map_or((true, text), |rest| (false, rest));
    let (kind, patch) = text.split_once(' ').unwrap_or((text, ""));
    Write {
        key: key(),
        kind: mutation_kind(kind),
        patch: fields(patch),
        condition: None,
        base_version: None,
        queued,
        parents: Vec::new(),
        group: None,
        at_end: false,
        took_along: None,
    }
}

fn mutation_kind(text: &str) -> MutationKind {
    [MutationKind::Create, MutationKind::Update, MutationKind::Delete]
        .into_iter()
        .find(|kind| kind.verb() == text)
        .unwrap_or_else(|| panic!("`{text}` is no kind of mutation"))
}

fn seq(text: &str) -> Seq {
    Seq(text
        .strip_prefix('e')
        .and_then(|digits| digits.parse().ok())
        .expect("an entry such as e1"))
}

fn split_condition(text: &str) -> (&str, Option<Predicate>) {
    let Some((text, condition)) = text.split_once("if ") else {
        return (text, None);
    };
    let (name, operand) = condition.split_once('=').expect("a condition such as rating=3");
    (text, Some(Predicate::field(name, Op::Eq(value(operand)))))
}
