//! What happened to a record, in plain English.
//!
//! Owns [`Why`]: one sentence for each entry, and a verdict that says where a value comes from and who won. It says
//! nothing that the log does not show.

use std::collections::BTreeMap;

use landfall_core::{
    Acknowledged, Change, Conflict, Decision, FieldMap, FieldName, ModelDef, Mutation, MutationKind, Origin,
    RecordVersion, Refusal, Remote, Seq, Stage, Value, Write,
};

use super::merged::Merge;
use super::record::{FieldChange, RecordHistory, Step};

/// Longest text of a value in a sentence, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Most fields that a sentence names.
const FIELDS_MAX: usize = 6;

/// Why a record or a field of it is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// What was asked for and what it is now, such as `Post/p1.title is "Hello"`.
    pub subject: String,
    /// What happened, oldest first.
    pub lines: Vec<Line>,
    /// Where the value comes from, who won, and whether the server has it.
    pub verdict: Vec<String>,
}

/// What one entry did.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The entry.
    pub seq: Seq,
    /// Wall-clock time of its commit in milliseconds since 1970.
    pub at_ms: i64,
    /// What it did.
    pub text: String,
}

impl Step {
    /// What the entry did, in one sentence.
    pub fn sentence(&self, def: &ModelDef) -> String {
        self.merge()
            .map_or_else(|| sentence(self, def), |merge| merge.sentence(self))
    }
}

impl RecordHistory {
    /// Tells why the record, or one of its fields, is what it is.
    ///
    /// A field that the model does not have has no story.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::RecordKey;
    ///
    /// let why = history.record(&RecordKey::new("Post", "p1"))?.why(Some("rating"));
    /// assert!(why.verdict[0].starts_with("The server won this field"));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    pub fn why(&self, field: Option<&str>) -> Why {
        let merges = self.merges();
        // What the server kept against this store's change is of its story, though the app did not see it come.
        let is_other = |seq: Seq| {
            let mut of_field = merges.values().filter(|merge| merge.concerns(field));
            of_field.any(|merge| merge.other.as_ref().is_some_and(|other| other.seq == seq))
        };
        let told = |step: &&Step| field.is_none_or(|field| step.concerns(field)) || is_other(step.entry.seq);
        let steps: Vec<&Step> = self.steps.iter().filter(told).collect();
        let lines = steps.iter().map(|step| Line {
            seq: step.entry.seq,
            at_ms: step.entry.at_ms,
            text: step.sentence_of(&self.def, merges.get(&step.entry.seq)),
        });
        Why {
            subject: self.subject(field),
            lines: lines.collect(),
            verdict: self.verdict(field, &steps, &merges),
        }
    }

    fn subject(&self, field: Option<&str>) -> String {
        let key = &self.key;
        match (self.latest(), field) {
            (None, _) if self.steps.is_empty() && self.since > Seq(1) => {
                format!("the log, which begins at {}, knows nothing of {key}", self.since)
            }
            (None, _) if self.steps.is_empty() => format!("the log knows nothing of {key}"),
            (None, _) => format!("{key} does not exist"),
            (Some(_), None) => format!("{key} exists"),
            (Some(record), Some(field)) => match record.get(field) {
                Some(value) => format!("{key}.{field} is {}", show(value)),
                None => format!("{key} has no field `{field}`"),
            },
        }
    }

    fn verdict(&self, field: Option<&str>, steps: &[&Step], merges: &BTreeMap<Seq, Merge>) -> Vec<String> {
        let what = field.map_or("the record", |_| "the value");
        let touches = |step: &&&Step| match field {
            Some(field) => step.changed.iter().any(|change| change.field == *field),
            None => !step.changed.is_empty(),
        };
        let Some(last) = steps.iter().rev().find(touches) else {
            return match steps.is_empty() {
                true => vec![format!("No entry of the log made {what} what it is.")],
                false => vec![format!("Nothing that happened changed {what}.")],
            };
        };
        let merge = merges.get(&last.entry.seq).filter(|merge| merge.concerns(field));
        let mut verdict = vec![origin_of(last, field, &self.def, merge)];
        verdict.extend(survived(last, steps, field));
        verdict.push(self.standing(last, steps, field));
        verdict
    }

    /// Whether the server has what the app sees.
    fn standing(&self, last: &Step, steps: &[&Step], field: Option<&str>) -> String {
        let state = self.state();
        let carries = |mutation: &&Mutation| carries(mutation, field);
        if let Some(waiting) = state.pending.iter().rev().find(carries) {
            return match &waiting.stage {
                Stage::Queued if waiting.attempts == 0 => {
                    format!(
                        "The server does not have it yet: {} waits to be sent.",
                        waiting.seq
                    )
                }
                Stage::Queued => format!(
                    "The server does not have it yet: {} waits to be sent again.",
                    waiting.seq
                ),
                Stage::InFlight => format!(
                    "Whether the server has it is open: {} is on its way.",
                    waiting.seq
                ),
                Stage::Unknown => format!(
                    "Whether the server has it is open: the answer to {} was lost, so the server will be asked.",
                    waiting.seq
                ),
                Stage::Parked(refusal) => format!(
                    "The server does not have it: it refused {} ({}), which waits for the app to retry or discard it.",
                    waiting.seq,
                    reason(refusal)
                ),
            };
        }
        let confirmed = steps
            .iter()
            .filter(|step| step.entry.seq >= last.entry.seq)
            .find(|step| matches!(step.entry.change, Change::Acknowledged(_)));
        match (confirmed, state.sync) {
            (Some(step), Some(_)) => match &step.entry.change {
                Change::Acknowledged(ack) => format!(
                    "The server has it since version {} ({}).",
                    ack.remote.sync.version.0, step.entry.seq
                ),
                _ => String::new(),
            },
            (None, Some(sync)) if sync.deleted => {
                format!("On the server the record is deleted, since version {}.", sync.version.0)
            }
            (None, Some(sync)) => format!("It agrees with the server's version {}.", sync.version.0),
            (_, None) if last.mutation.is_none() && matches!(last.entry.change, Change::Write(_)) => {
                "It is not meant for the server: the model is local, or the change was undone before it was sent."
                    .to_owned()
            }
            (_, None) => "The server knows nothing of the record.".to_owned(),
        }
    }
}

fn carries(mutation: &Mutation, field: Option<&str>) -> bool {
    field.is_none_or(|field| mutation.patch.contains_key(field) || mutation.kind == MutationKind::Delete)
}

/// Where the value comes from.
fn origin_of(step: &Step, field: Option<&str>, def: &ModelDef, merge: Option<&Merge>) -> String {
    let seq = step.entry.seq;
    let before = field.and_then(|field| step.changed.iter().find(|change| change.field == *field));
    let was = match before.and_then(|change| change.before.as_ref()) {
        Some(value) => format!(" It was {} before.", show(value)),
        None => String::new(),
    };
    if let Some(merge) = merge {
        return merge.verdict(seq, field, &was);
    }
    match (&step.entry.change, step.entry.cause) {
        (Change::Write(_), Some(undone)) => {
            format!("It comes from this store: the app took {undone} back in {seq}.{was}")
        }
        (change, _) => origin_of_change(step, change, field, &was, def),
    }
}

fn origin_of_change(step: &Step, change: &Change, field: Option<&str>, was: &str, def: &ModelDef) -> String {
    let seq = step.entry.seq;
    match change {
        Change::Write(_) => format!("It comes from this store: the app wrote it in {seq}.{was}"),
        Change::Conflict(conflict) => match &conflict.decision {
            Decision::AcceptRemote => format!(
                "The server won: in the conflict {seq} its version {} replaced what the app had written in {}.{was}",
                conflict.remote.sync.version.0, conflict.mutation
            ),
            Decision::Retry { patch, .. } if field.is_none_or(|field| patch.contains_key(field)) => {
                format!("It was merged: the conflict handler decided on it in {seq}.{was}")
            }
            Decision::Retry { .. } => format!(
                "The server won this field: in the conflict {seq} the handler kept its value of version {}.{was}",
                conflict.remote.sync.version.0
            ),
        },
        Change::Remote(remote) => format!(
            "It comes from the server: version {} brought it, {} ({seq}).{was}",
            remote.remote.sync.version.0,
            by(step.entry.origin)
        ),
        Change::Acknowledged(ack) => format!(
            "It comes from the server: its answer to {} had it, at version {} ({seq}); a merge, a resolver or a \
             default of the server put it there.{was}",
            ack.mutation, ack.remote.sync.version.0
        ),
        Change::Refused(refused) => format!(
            "It comes from the server: it came along with the refusal of {} ({seq}).{was}",
            refused.mutation
        ),
        Change::Discarded(of) => {
            format!(
                "The app gave its change {} up in {seq}, which brought it back.{was}",
                of.mutation
            )
        }
        Change::Evicted(evicted) => format!("The record left the store in {seq}: {}.", evicted.reason),
        Change::Cleared => format!("The app cleared the store in {seq}."),
        Change::Base(_) => format!("It was so at {seq}; what came before was trimmed from the log."),
        other => format!(
            "Entry {seq} ({}) of `{}` brought it.{was}",
            other.name(),
            def.name
        ),
    }
}

/// The conflicts that a value went through unharmed after it was made.
fn survived(last: &Step, steps: &[&Step], field: Option<&str>) -> Option<String> {
    let later = steps.iter().rev().find_map(|step| match &step.entry.change {
        Change::Conflict(conflict) if step.entry.seq > last.entry.seq => Some((step, conflict)),
        _ => None,
    });
    let (step, conflict) = later?;
    let Decision::Retry { patch, .. } = &conflict.decision else {
        return None;
    };
    let theirs = field.and_then(|field| conflict.remote.fields.get(field));
    let theirs = theirs.map_or_else(String::new, |value| format!(", which had {}", show(value)));
    let kept = field.is_none_or(|field| patch.contains_key(field));
    kept.then(|| {
        format!(
            "This store won: in the conflict {} the handler kept its value over the server's version {}{theirs}.",
            step.entry.seq, conflict.remote.sync.version.0
        )
    })
}

/// What an entry did, in one sentence.
fn sentence(step: &Step, def: &ModelDef) -> String {
    match &step.entry.change {
        Change::Write(write) => told_write(step, write),
        Change::Sent(sent) => {
            let request = step
                .mutation
                .as_ref()
                .map_or_else(String::new, |m| request(m, def));
            format!("It was sent to the server, attempt {}: {request}.", sent.attempt)
        }
        Change::OutcomeUnknown(of) if step.entry.origin == Origin::Recovery => format!(
            "The store had stopped while {} was on its way; whether the server applied it is unknown, so it will be asked.",
            of.mutation
        ),
        Change::OutcomeUnknown(of) if step.entry.origin != Origin::Outbox => format!(
            "Whether the server applied {} is still unknown, so it will be asked again.",
            of.mutation
        ),
        Change::OutcomeUnknown(of) => format!(
            "No answer to {} came; whether the server applied it is unknown, so it will be asked.",
            of.mutation
        ),
        Change::NotApplied(of) => {
            format!(
                "The server certainly did not apply {}; it waits to be sent again.",
                of.mutation
            )
        }
        Change::Acknowledged(ack) => told_acknowledgement(step, ack),
        Change::Conflict(conflict) => told_conflict(step, conflict),
        Change::Refused(refused) => format!(
            "The server refused {} for good: {}. It is parked until the app retries or discards it{}.",
            refused.mutation,
            reason(&refused.refusal),
            effect(step)
        ),
        Change::Retried(of) if step.entry.origin == Origin::Sync => format!(
            "The server knows the model now, so {} is sent again.",
            of.mutation
        ),
        Change::Retried(of) => format!("The app had {} sent again.", of.mutation),
        Change::Edited(edited) => format!(
            "The app corrected {}, which the server had refused, and had it sent again{}.",
            edited.mutation,
            effect(step)
        ),
        Change::Discarded(of) => format!("The app gave {} up{}.", of.mutation, effect(step)),
        Change::Remote(remote) => told_remote(step, remote),
        Change::Evicted(evicted) => format!("The record left the store: {}.", evicted.reason),
        Change::Cleared => "The app cleared the store.".to_owned(),
        Change::Base(_) => format!("What came before was trimmed from the log{}.", effect(step)),
        other => format!("Something of the kind `{}` happened.", other.name()),
    }
}

fn told_write(step: &Step, write: &Write) -> String {
    // Only what takes something back has a cause among the app's writes.
    let undo = step
        .entry
        .cause
        .map_or_else(String::new, |undone| format!("To take {undone} back, "));
    let the_app = if undo.is_empty() { "The app" } else { "the app" };
    let did = match write.kind {
        MutationKind::Create => format!("{the_app} created the record{}", with(&write.patch)),
        MutationKind::Update => {
            let changed = list(&step.changed);
            if changed.is_empty() {
                format!(
                    "{the_app} wrote {}, which changed nothing that it sees",
                    fields(&write.patch)
                )
            } else {
                format!("{the_app} changed {changed}")
            }
        }
        MutationKind::Delete => format!("{the_app} deleted the record"),
    };
    let on = write
        .base_version
        .filter(|version| *version != RecordVersion(0))
        .map_or_else(String::new, |version| {
            format!(", on top of the server's version {}", version.0)
        });
    let then = match &step.mutation {
        _ if !write.queued => "; the server is not to have it".to_owned(),
        Some(mutation) if mutation.seq == step.entry.seq => "; that waits for the server".to_owned(),
        Some(mutation) => format!(
            "; that was folded into {}, which waits for the server",
            mutation.seq
        ),
        None => "; as the server had never seen the record, nothing is left to send".to_owned(),
    };
    let condition = match write.condition {
        Some(_) if write.queued => ", if the server finds a condition to hold",
        _ => "",
    };
    format!("{undo}{did}{on}{then}{condition}.")
}

fn told_acknowledgement(step: &Step, ack: &Acknowledged) -> String {
    let version = ack.remote.sync.version.0;
    match step.mutation.as_ref().map(|mutation| mutation.kind) {
        Some(MutationKind::Delete) => {
            format!(
                "The server applied {}: the record is deleted there, as version {version}.",
                ack.mutation
            )
        }
        _ => format!(
            "The server applied {}, which made version {version}{}.",
            ack.mutation,
            effect(step)
        ),
    }
}

fn told_conflict(step: &Step, conflict: &Conflict) -> String {
    let sync = conflict.remote.sync;
    let on = step.mutation.as_ref().and_then(|mutation| mutation.base_version);
    let on = on.map_or_else(String::new, |version| format!(", made on version {},", version.0));
    let theirs = if sync.deleted {
        format!("its record was deleted, as version {}", sync.version.0)
    } else {
        let sent = step.mutation.as_ref().map(|mutation| &mutation.patch);
        let clashing: FieldMap = conflict
            .remote
            .fields
            .iter()
            .filter(|(name, _)| sent.is_some_and(|sent| sent.contains_key(*name)))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        format!("its record was at version {}{}", sync.version.0, with(&clashing))
    };
    let decided = match &conflict.decision {
        Decision::AcceptRemote => format!(
            "It was decided that the server's record stands, and the app's change was dropped{}{}",
            lost(&conflict.given_up),
            effect(step)
        ),
        Decision::Retry {
            kind: MutationKind::Delete,
            ..
        } => "It was decided to delete it all the same".to_owned(),
        Decision::Retry { patch, .. } => format!(
            "The conflict handler decided to send {} again, on that version{}{}",
            fields(patch),
            lost(&conflict.given_up),
            effect(step)
        ),
    };
    format!(
        "The server did not accept {}{on} because {theirs}. {decided}.",
        conflict.mutation
    )
}

/// What a decision gave up.
fn lost(given_up: &FieldMap) -> String {
    if given_up.is_empty() {
        String::new()
    } else {
        format!(", with {}", fields(given_up))
    }
}

fn told_remote(step: &Step, remote: &Remote) -> String {
    let sync = remote.remote.sync;
    let deleted = if sync.deleted { ", a deletion," } else { "" };
    let effect = if step.changed.is_empty() && !step.after.pending.is_empty() {
        "; what the app had changed meanwhile stays on top of it".to_owned()
    } else {
        effect(step)
    };
    format!(
        "Version {}{deleted} came from the server, {}{effect}.",
        sync.version.0,
        by(step.entry.origin)
    )
}

fn by(origin: Origin) -> &'static str {
    match origin {
        Origin::Subscription => "by subscription",
        Origin::Sync => "by a sync query",
        Origin::Response => "with an answer",
        Origin::App | Origin::Outbox | Origin::Recovery => "by other means",
    }
}

/// What the app saw change by it, as the end of a sentence.
pub(super) fn effect(step: &Step) -> String {
    match (&step.before.row, &step.after.row) {
        (Some(_), None) => ": the record is gone".to_owned(),
        (None, Some(_)) => format!(": the record appeared{}", with(&values_after(&step.changed))),
        _ if step.changed.is_empty() => String::new(),
        _ => format!(": it changed {}", list(&step.changed)),
    }
}

fn values_after(changed: &[FieldChange]) -> FieldMap {
    changed
        .iter()
        .map(|change| (change.field.clone(), change.after.clone().unwrap_or_default()))
        .collect()
}

/// The request as the server's schema names it.
fn request(mutation: &Mutation, def: &ModelDef) -> String {
    let mut arguments: Vec<String> = mutation.key.id.to_fields(def).iter().map(named).collect();
    let keys = &def.key.fields;
    arguments.extend(
        mutation
            .patch
            .iter()
            .filter(|(name, _)| !keys.contains(name))
            .map(named),
    );
    if let Some(version) = mutation.base_version {
        arguments.push(format!("_version: {}", version.0));
    }
    format!("{}{}({})", mutation.kind.verb(), def.name, cut(arguments))
}

fn reason(refusal: &Refusal) -> String {
    match &refusal.error_type {
        Some(kind) => format!("{kind}, \"{}\"", refusal.message),
        None => format!("\"{}\"", refusal.message),
    }
}

fn with(values: &FieldMap) -> String {
    if values.is_empty() {
        String::new()
    } else {
        format!(" with {}", fields(values))
    }
}

pub(super) fn fields(values: &FieldMap) -> String {
    cut(values
        .iter()
        .map(|(name, value)| format!("{name} {}", show(value)))
        .collect())
}

fn list(changed: &[FieldChange]) -> String {
    let one = |change: &FieldChange| {
        let after = change.after.as_ref().map_or_else(|| "nothing".to_owned(), show);
        match &change.before {
            Some(before) => format!("{} from {} to {after}", change.field, show(before)),
            None => format!("{} to {after}", change.field),
        }
    };
    cut(changed.iter().map(one).collect())
}

fn named((name, value): (&FieldName, &Value)) -> String {
    format!("{name}: {}", show(value))
}

/// Names at most [`FIELDS_MAX`], and counts the others.
fn cut(mut parts: Vec<String>) -> String {
    let more = parts.len().saturating_sub(FIELDS_MAX);
    parts.truncate(FIELDS_MAX);
    let mut text = parts.join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// A value as JSON, cut to a length that a line can bear.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
