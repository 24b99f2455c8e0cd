//! A conflict from both sides, field by field: what both began with, what each made of it, and what became of that.
//!
//! Owns [`of_conflict`], and [`of_merge`] for one that the server settled by itself. The decision is in the log; nothing is
//! decided here.

use landfall::history::{Conflict, Decision, LogChange as Change, Merge, RecordState, Step};
use landfall::{FieldName, ModelDef, Mutation, MutationKind, Value};
use serde_json::{Value as Json, json};

/// Whose value of a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Winner {
    /// This store's.
    Ours,
    /// The server's.
    Theirs,
    /// They are the same.
    Both,
    /// What the handler made of them.
    Merged,
}

impl Winner {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "this store",
            Self::Theirs => "the server",
            Self::Both => "both",
            Self::Merged => "merged",
        }
    }
}

/// A field that either side has changed.
struct Row {
    field: FieldName,
    base: Option<Value>,
    ours: Option<Value>,
    theirs: Option<Value>,
    is_ours: bool,
    is_theirs: bool,
    winner: Winner,
    after: Option<Value>,
}

/// Both sides of a conflict, as the page and the terminal show them.
pub(super) fn of_conflict(def: &ModelDef, step: &Step, conflict: &Conflict) -> Json {
    let mutation = step.mutation.as_ref();
    let base = mutation.and_then(|mutation| step.before.base_of(def, mutation.seq));
    let rows: Vec<Row> = def
        .stored_fields()
        .zip(0..)
        .filter_map(|(field, slot): (_, usize)| {
            let base = base.as_ref().map(|row| row[slot].clone());
            row(&field.name, base, mutation, conflict, value_of(&step.after, slot))
        })
        .collect();
    let verdict = verdict(mutation, conflict, &rows);
    let fields: Vec<Json> = rows.iter().map(row_json).collect();
    json!({
        "baseVersion": mutation.and_then(|mutation| mutation.base_version),
        "theirVersion": conflict.remote.sync.version,
        "ours": mutation.map(|mutation| mutation.kind.verb()),
        "theirs": if conflict.remote.sync.deleted { "delete" } else { "update" },
        "fields": fields,
        "verdict": verdict,
    })
}

/// Both sides of an update that the server merged into what somebody else had made of the record.
pub(super) fn of_merge(def: &ModelDef, step: &Step, merge: &Merge) -> Json {
    let base = step.before.base_of(def, merge.mutation.seq);
    let rows: Vec<Row> = def
        .stored_fields()
        .zip(0..)
        .filter_map(|(field, slot): (_, usize)| {
            let base = base.as_ref().map(|row| row[slot].clone());
            merged_row(&field.name, base, step, merge, value_of(&step.after, slot))
        })
        .collect();
    let fields: Vec<Json> = rows.iter().map(row_json).collect();
    json!({
        "baseVersion": merge.base_version,
        "theirVersion": merge.other.as_ref().map_or(merge.version, |other| other.version),
        "ours": merge.mutation.kind.verb(),
        "theirs": "update",
        "fields": fields,
        "verdict": merged_verdict(merge, &rows),
    })
}

/// A field that either side has changed. Where the log does not hold the other version, the server's answer stands for it.
fn merged_row(
    field: &FieldName,
    base: Option<Value>,
    step: &Step,
    merge: &Merge,
    after: Option<Value>,
) -> Option<Row> {
    let Change::Acknowledged(ack) = &step.entry.change else {
        return None;
    };
    let patch = merge.mutation.patch.get(field);
    // What the answer leaves out is not known to have changed.
    let answer = ack.remote.fields.get(field)?;
    let other = merge.other.as_ref().and_then(|other| other.fields.get(field));
    let ours = patch.cloned().or_else(|| base.clone());
    let theirs = Some(other.unwrap_or(answer).clone());
    let (is_ours, is_theirs) = (patch.is_some() && ours != base, theirs != base);
    if !is_ours && !is_theirs && !merge.answered.contains_key(field) {
        return None;
    }
    let winner = match Some(answer) {
        _ if ours == theirs => Winner::Both,
        answer if answer == theirs.as_ref() => Winner::Theirs,
        answer if answer == ours.as_ref() => Winner::Ours,
        _ => Winner::Merged,
    };
    Some(Row {
        field: field.clone(),
        base,
        ours,
        theirs,
        is_ours,
        is_theirs,
        winner,
        after,
    })
}

/// The merge in sentences for somebody who sees one for the first time.
fn merged_verdict(merge: &Merge, rows: &[Row]) -> Vec<String> {
    let ours = merge.mutation.kind.verb();
    let first = match &merge.other {
        Some(other) => format!("which had version {} by then ({})", other.version.0, other.seq),
        None => "whose version, which no entry on this page brought, had gone on by then".to_owned(),
    };
    let mut told = vec![
        format!(
            "This store made its {ours} on version {} of the record. Somebody else changed the record meanwhile and was first at \
             the server, {first}.",
            merge.base_version.0
        ),
        format!(
            "The server merged the two by itself, without a conflict that the handler of this store was asked about. That made \
             version {}.",
            merge.version.0
        ),
    ];
    for (winner, sentence) in [
        (Winner::Ours, "This store won"),
        (Winner::Theirs, "The server won"),
    ] {
        let fields = won_by(winner, rows);
        if !fields.is_empty() {
            told.push(format!("{sentence} {}.", fields.join(", ")));
        }
    }
    let merged = won_by(Winner::Merged, rows);
    if !merged.is_empty() {
        told.push(format!("{} became something of both.", merged.join(", ")));
    }
    told
}

fn won_by(winner: Winner, rows: &[Row]) -> Vec<&str> {
    let those = rows.iter().filter(|row| row.winner == winner);
    those.map(|row| row.field.as_str()).collect()
}

fn value_of(state: &RecordState, slot: usize) -> Option<Value> {
    state.row.as_ref().map(|row| row[slot].clone())
}

fn row(
    field: &FieldName,
    base: Option<Value>,
    mutation: Option<&Mutation>,
    conflict: &Conflict,
    after: Option<Value>,
) -> Option<Row> {
    let remote = &conflict.remote;
    let patch = mutation.and_then(|mutation| mutation.patch.get(field));
    let deletes = mutation.is_some_and(|mutation| mutation.kind == MutationKind::Delete);
    let ours = if deletes {
        None
    } else {
        patch.cloned().or_else(|| base.clone())
    };
    let theirs = (!remote.sync.deleted).then(|| remote.fields.get(field).cloned().unwrap_or_default());
    // A create has no base: the server's record is as new to this store as its own was to the server.
    let is_ours = patch.is_some_and(|value| base.as_ref() != Some(value)) || (deletes && base.is_some());
    let is_theirs =
        theirs != base && (base.is_some() || theirs.as_ref().is_some_and(|value| !value.is_null()));
    if !is_ours && !is_theirs {
        return None;
    }
    let winner = match &conflict.decision {
        _ if ours == theirs => Winner::Both,
        Decision::AcceptRemote => Winner::Theirs,
        Decision::Retry {
            kind: MutationKind::Delete,
            ..
        } => Winner::Ours,
        Decision::Retry { patch, .. } => match patch.get(field) {
            None => Winner::Theirs,
            Some(sent) if Some(sent) == ours.as_ref() => Winner::Ours,
            Some(sent) if Some(sent) == theirs.as_ref() => Winner::Theirs,
            Some(_) => Winner::Merged,
        },
    };
    Some(Row {
        field: field.clone(),
        base,
        ours,
        theirs,
        is_ours,
        is_theirs,
        winner,
        after,
    })
}

fn row_json(row: &Row) -> Json {
    let value = |value: &Option<Value>| value.as_ref().map(Json::from);
    json!({
        "field": row.field,
        "base": value(&row.base),
        "ours": value(&row.ours),
        "theirs": value(&row.theirs),
        "oursChanged": row.is_ours,
        "theirsChanged": row.is_theirs,
        "winner": row.winner.name(),
        "after": value(&row.after),
    })
}

/// The conflict in sentences for somebody who sees one for the first time.
fn verdict(mutation: Option<&Mutation>, conflict: &Conflict, rows: &[Row]) -> Vec<String> {
    let version = format!("version {}", conflict.remote.sync.version.0);
    let (ours, made_on) = match mutation {
        Some(mutation) => (mutation.kind.verb(), mutation.base_version),
        None => ("change", None),
    };
    let theirs = if conflict.remote.sync.deleted {
        "deleted the record"
    } else {
        "changed the record"
    };
    let made_on = made_on.map_or_else(
        || "before it knew of any version of the record".to_owned(),
        |version| format!("on version {} of the record", version.0),
    );
    let mut told = vec![format!(
        "This store made its {ours} {made_on}. Somebody else {theirs} meanwhile and was first at the server, which has \
         {version} since."
    )];
    let of = |winner: Winner| won_by(winner, rows);
    told.push(match &conflict.decision {
        Decision::AcceptRemote => {
            format!("The server's record stands: the handler gave this store's {ours} up.")
        }
        Decision::Retry {
            kind: MutationKind::Delete,
            ..
        } => format!("This store won: the handler had the delete sent again, on {version}."),
        Decision::Retry { .. } => {
            let (kept, merged) = (of(Winner::Ours), of(Winner::Merged));
            let mut sentence = format!("The handler had this store's change sent again, on {version}.");
            if !kept.is_empty() {
                sentence += &format!(" This store won {}.", kept.join(", "));
            }
            if !merged.is_empty() {
                sentence += &format!(" {} became something of both.", merged.join(", "));
            }
            sentence
        }
    });
    let lost = of(Winner::Theirs);
    if !lost.is_empty() && conflict.decision != Decision::AcceptRemote {
        told.push(format!("The server won {}.", lost.join(", ")));
    }
    if !conflict.given_up.is_empty() {
        let names: Vec<&str> = conflict.given_up.keys().map(FieldName::as_str).collect();
        told.push(format!(
            "What this store had for {} was given up, and its app was told.",
            names.join(", ")
        ));
    }
    told
}
