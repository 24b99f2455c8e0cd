//! An update that the server merged into a record that somebody else had changed, which is told by its answer alone.
//!
//! Owns [`Merge`] and how it is told. A server that merges reports no conflict: it answers with a version that is more than
//! one above the one that the update was made on, and with another value than was sent. Invariant: what lies between is told
//! of the server's versions that the log holds, and of nothing else.

use std::collections::BTreeMap;

use landfall_core::{
    Change, FieldMap, FieldName, LogEntry, ModelDef, Mutation, MutationKind, RecordVersion, Seq, Stage, Value,
};

use super::record::{RecordHistory, Step};
use super::tell::{effect, fields};

/// An update of which the server kept not everything, because its record had gone on.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// The update, as it was sent.
    pub mutation: Mutation,
    /// The version that it was made on.
    pub base_version: RecordVersion,
    /// The version that the server answered with.
    pub version: RecordVersion,
    /// The fields that the answer has another value of than was sent, with that value.
    pub answered: FieldMap,
    /// The newest version between the two that the log holds; `None` if it holds none.
    pub other: Option<Other>,
}

/// A version of the server's record that somebody else made.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// The entry that brought it.
    pub seq: Seq,
    /// Which one it is.
    pub version: RecordVersion,
    /// Its fields, as far as the server sent them.
    pub fields: FieldMap,
}

impl Step {
    /// What the server merged, if the entry is the answer to an update that was not made on the newest record and the answer
    /// has another value than was sent. Entries that brought the other version are [heard](Merge::hear) of one by one.
    pub fn merge(&self) -> Option<Merge> {
        let Change::Acknowledged(ack) = &self.entry.change else {
            return None;
        };
        // What was asked for because an answer was lost is the record of a later moment, which proves nothing.
        let mutation = self.mutation.as_ref().filter(|mutation| {
            mutation.kind == MutationKind::Update && !matches!(mutation.stage, Stage::Unknown)
        })?;
        let (base_version, version) = (mutation.base_version?, ack.remote.sync.version);
        let is_next = base_version.0.checked_add(1) == Some(version.0);
        if ack.remote.sync.deleted || version <= base_version || is_next {
            return None;
        }
        let known = self.before.sync.map(|sync| sync.version.0);
        let is_all_ours = self.before.own_since.is_some_and(|since| since <= base_version)
            && known.and_then(|known| known.checked_add(1)) == Some(version.0);
        let answered = differing(&mutation.patch, &ack.remote.fields);
        (!is_all_ours && !answered.is_empty()).then(|| Merge {
            mutation: mutation.clone(),
            base_version,
            version,
            answered,
            other: None,
        })
    }
}

/// The fields of which the answer has another value than was sent; what it leaves out is not known.
fn differing(sent: &FieldMap, answer: &FieldMap) -> FieldMap {
    let other = |(name, value): &(&_, &Value)| {
        sent.get(*name)
            .is_some_and(|sent: &Value| sent.cmp_total(value).is_ne())
    };
    let those = answer.iter().filter(other);
    those.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Merge {
    /// Takes note of another entry of the record, before the answer or after it, if it brought a version between the two.
    pub fn hear(&mut self, entry: &LogEntry) {
        let Change::Remote(remote) = &entry.change else {
            return;
        };
        let version = remote.remote.sync.version;
        let newest = self
            .other
            .as_ref()
            .map_or(self.base_version, |other| other.version);
        if version > newest && version < self.version && !remote.remote.sync.deleted {
            self.other = Some(Other {
                seq: entry.seq,
                version,
                fields: remote.remote.fields.clone(),
            });
        }
    }

    /// Whether it decided about a field; about any, if none is named.
    pub fn concerns(&self, field: Option<&str>) -> bool {
        field.is_none_or(|field| self.answered.contains_key(field))
    }

    /// What the other version had of the fields that the server did not take over, or of the one that is asked about.
    fn theirs(&self, field: Option<&str>) -> Option<(&Other, FieldMap)> {
        let other = self.other.as_ref()?;
        Some((other, self.of_field(&other.fields, field)))
    }

    fn of_field(&self, values: &FieldMap, field: Option<&str>) -> FieldMap {
        let asked = |name: &FieldName| field.is_none_or(|field| *name == *field);
        values
            .iter()
            .filter(|(name, _)| self.answered.contains_key(*name) && asked(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Where the values come from and who won; `was` says what they were before.
    pub(super) fn verdict(&self, seq: Seq, field: Option<&str>, was: &str) -> String {
        let (of, base) = (self.mutation.seq, self.base_version.0);
        let answered = self.of_field(&self.answered, field);
        match self.theirs(field) {
            Some((other, had)) => format!(
                "{}: it merged {of}, made on version {base}, with its version {}, {}{} ({seq}).{was}",
                if had == answered {
                    "The server won"
                } else {
                    "The server decided"
                },
                other.version.0,
                other.seq,
                became(&had, &answered, ", which had ", "kept")
            ),
            None => format!(
                "The server won: {of} was made on version {base} and its answer has version {}, so somebody else's change was \
                 merged, which the log does not hold; it answered with {} ({seq}).{was}",
                self.version.0,
                fields(&answered)
            ),
        }
    }

    /// What the answer did, in one sentence.
    pub(super) fn sentence(&self, step: &Step) -> String {
        let (of, base, version) = (self.mutation.seq, self.base_version.0, self.version.0);
        let merged = match self.theirs(None) {
            Some((other, had)) => format!(
                "its version {}, {}{}",
                other.version.0,
                other.seq,
                became(&had, &self.answered, ", had ", "it kept")
            ),
            None => format!(
                "its version went on by more than one, so somebody else's change was merged, and it answered with {}",
                fields(&self.answered)
            ),
        };
        format!(
            "The server merged {of}, made on version {base}, which made version {version}: {merged}{}.",
            effect(step)
        )
    }
}

/// What the other version had, and what the server answered with, field by field.
fn became(had: &FieldMap, answered: &FieldMap, introduced: &str, kept: &str) -> String {
    let (same, made): (FieldMap, FieldMap) = answered
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .partition(|(name, value)| had.get(name).is_some_and(|had| had.cmp_total(value).is_eq()));
    let had = if had.is_empty() {
        String::new()
    } else {
        format!("{introduced}{}", fields(had))
    };
    match (same.is_empty(), made.is_empty()) {
        (_, true) => format!("{had}, and {kept} that"),
        (true, false) => format!("{had}, and answered with {}", fields(&made)),
        (false, false) => format!(
            "{had}, and {kept} {} and answered with {}",
            fields(&same),
            fields(&made)
        ),
    }
}

impl Step {
    /// What the entry did, in one sentence, with what is known of the versions that the server merged.
    pub fn sentence_of(&self, def: &ModelDef, merge: Option<&Merge>) -> String {
        merge.map_or_else(|| self.sentence(def), |merge| merge.sentence(self))
    }

    /// Whether versions that were told before it are of another life of the record.
    pub fn ends_life(&self) -> bool {
        match &self.entry.change {
            Change::Cleared | Change::Evicted(_) => true,
            Change::Remote(remote) => remote.remote.sync.deleted,
            _ => false,
        }
    }
}

impl RecordHistory {
    /// What the server merged, by the entry that told of it, with the versions that the log holds.
    pub fn merges(&self) -> BTreeMap<Seq, Merge> {
        let merged = |(at, step): (usize, &Step)| {
            let mut merge = step.merge()?;
            let before = self.steps[..at].iter().rev().take_while(|step| !step.ends_life());
            let after = self.steps[at..].iter().take_while(|step| !step.ends_life());
            before.chain(after).for_each(|step| merge.hear(&step.entry));
            Some((step.entry.seq, merge))
        };
        self.steps.iter().enumerate().filter_map(merged).collect()
    }
}
