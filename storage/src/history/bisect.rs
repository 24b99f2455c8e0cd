//! The first entry after which something no longer holds.
//!
//! Owns [`Invariant`] and [`History::first_failure`]. Each rule is kept up to date entry by entry, at the cost of the
//! one record that the entry changes; so one fold answers what a search in halves would need several for, and finds the
//! first failure also where the rule holds again later. What the records have come to is held encoded (`held.rs`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use landfall_core::{
    BoundPredicate, Change, FieldName, LogEntry, ModelName, Predicate, RecordKey, Row, Schema, Seq, Slot,
    Value, keycode,
};

use super::History;
use super::fold::{Scope, Sieve, model_of};
use super::held::Held;
use crate::codec::entry::{decode, peek};
use crate::error::StorageError;

/// Something that should hold after every entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Invariant {
    /// What it is called in reports.
    pub name: String,
    /// The model that it is about.
    pub model: ModelName,
    /// What should hold.
    pub rule: Rule,
}

/// What should hold of the records of a model that the app sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Each of them satisfies a predicate.
    Every(Predicate),
    /// The number of those that satisfy a predicate is within bounds.
    Count {
        /// Which records are counted.
        of: Predicate,
        /// At least so many.
        at_least: u64,
        /// At most so many.
        at_most: u64,
    },
    /// No two of them have the same values in these fields; records where one of them is null do not count.
    Unique(Vec<FieldName>),
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The first entry after which it did not hold.
    pub entry: LogEntry,
    /// Which one.
    pub invariant: String,
    /// What was wrong.
    pub what: String,
}

impl History {
    /// The first entry, not before `from`, after which one of the invariants does not hold; `None` if all hold throughout.
    ///
    /// The writes of one transaction are taken together: what is put right within it is no failure. Folds the log once
    /// and holds the records of the models in memory, encoded.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::{Op, Predicate, Seq};
    /// use landfall_storage::history::{Invariant, Rule};
    ///
    /// let five_at_most = Invariant {
    ///     name: "ratings end at five".to_owned(),
    ///     model: "Post".into(),
    ///     rule: Rule::Every(Predicate::field("rating", Op::Le(5.into()))),
    /// };
    /// let failure = history.first_failure(&[five_at_most], Seq(1))?;
    /// assert_eq!(failure.map(|failure| failure.entry.seq), Some(Seq(10)));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// [`StorageError::UnknownModel`], [`StorageError::BadQuery`] if an invariant does not fit its model by the schema in
    /// force at the end; [`StorageError::LogBroken`] and [`StorageError::EntryTooNew`] if none fails before the log is
    /// damaged, or goes on in a newer form: they hold up to the entry that it names; as [`History::as_of`].
    pub fn first_failure(
        &self,
        invariants: &[Invariant],
        from: Seq,
    ) -> Result<Option<Failure>, StorageError> {
        let schema = self.schema_at(self.end)?;
        let mut watched: Vec<Watched<'_>> = Vec::new();
        for invariant in invariants {
            watched.push(Watched::new(invariant, &schema)?);
        }
        let scope = match invariants {
            [] => return Ok(None),
            [first, rest @ ..] if rest.iter().all(|other| other.model == first.model) => {
                Scope::Model(first.model.clone())
            }
            _ => Scope::All,
        };
        let mut held = Held::default();
        let sieve = Sieve::of(&scope);
        // What the base tells is what it came to, one record after another: no moment of its own.
        let from = from.max(self.start);
        let mut failed: Option<(Failure, Option<Seq>)> = None;
        let scanned = self.scan_unbroken(self.end, &mut |seq, bytes| {
            let peek =
                peek(bytes).ok_or_else(|| StorageError::corrupt(format!("entry {seq} is no entry")))?;
            let wanted = sieve.passes(&peek);
            if !wanted && failed.is_none() {
                return Ok(ControlFlow::Continue(()));
            }
            let entry = decode(seq, bytes)?;
            let group = group_of(&entry);
            if failed
                .as_ref()
                .is_some_and(|(_, of)| of.is_none() || *of != group)
            {
                return Ok(ControlFlow::Break(()));
            }
            if wanted {
                step(&mut held, &schema, &mut watched, (&entry, bytes))?;
            }
            if seq >= from {
                let now = watched.iter().find_map(Watched::fault);
                failed = match (failed.take(), now) {
                    (_, None) => None,
                    (Some(first), Some(_)) => Some(first),
                    (None, Some((invariant, what))) => Some((
                        Failure {
                            entry,
                            invariant,
                            what,
                        },
                        group,
                    )),
                };
            }
            Ok(ControlFlow::Continue(()))
        });
        self.judged(scanned, failed)
    }

    /// What was found, given how the scan ended. A failure comes with its transaction, whose rest can take it back.
    fn judged(
        &self,
        scanned: Result<(), StorageError>,
        failed: Option<(Failure, Option<Seq>)>,
    ) -> Result<Option<Failure>, StorageError> {
        match (scanned, failed) {
            (Ok(()), failed) => Ok(failed.map(|(failure, _)| failure)),
            // What follows does not take back a failure, except the rest of its own transaction.
            (
                Err(StorageError::LogBroken { .. } | StorageError::EntryTooNew { .. }),
                Some((failure, None)),
            ) => Ok(Some(failure)),
            (Err(StorageError::LogBroken { what, .. }), Some((failure, Some(_)))) => {
                Err(StorageError::LogBroken {
                    what,
                    sound: self.before(failure.entry.seq),
                })
            }
            (Err(StorageError::EntryTooNew { seq, .. }), Some((failure, Some(_)))) => {
                Err(StorageError::EntryTooNew {
                    seq,
                    sound: self.before(failure.entry.seq),
                })
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn group_of(entry: &LogEntry) -> Option<Seq> {
    match &entry.change {
        Change::Write(write) => write.group,
        _ => None,
    }
}

/// Carries out an entry and tells the rules what became of the record that it is about.
fn step(
    held: &mut Held,
    schema: &Schema,
    watched: &mut [Watched<'_>],
    (entry, bytes): (&LogEntry, &[u8]),
) -> Result<(), StorageError> {
    if entry.change == Change::Cleared {
        held.clear();
        watched.iter_mut().for_each(Watched::clear);
    }
    let about = |key: &RecordKey| watched.iter().any(|watched| watched.invariant.model == key.model);
    let Some(key) = entry.change.key().filter(|key| about(key)) else {
        return Ok(());
    };
    let Some(def) = schema.model(&key.model) else {
        return Ok(());
    };
    held.change(def, key, (entry, bytes), |before, after| {
        for watched in watched.iter_mut() {
            if watched.invariant.model == key.model {
                let (before, after) = (watched.mark(before), watched.mark(after));
                watched.change(key, &before, after);
            }
        }
    })
}

/// What a row means to a rule.
#[derive(PartialEq)]
enum Mark {
    /// Whether it counts.
    Counts(bool),
    /// The values that should be its own, if it has all of them.
    Values(Option<Vec<u8>>),
}

/// An invariant with what it has to remember.
struct Watched<'i> {
    invariant: &'i Invariant,
    predicate: BoundPredicate,
    slots: Vec<Slot>,
    /// Records that count: for `Every` those that do not satisfy it.
    count: u64,
    /// How many records have these values.
    values: BTreeMap<Vec<u8>, u64>,
    /// Values that more than one record has.
    doubles: u64,
    /// The record that was last found at fault.
    culprit: Option<RecordKey>,
}

impl<'i> Watched<'i> {
    fn new(invariant: &'i Invariant, schema: &landfall_core::Schema) -> Result<Self, StorageError> {
        let def = model_of(schema, &invariant.model)?;
        let (predicate, fields): (Predicate, &[FieldName]) = match &invariant.rule {
            Rule::Every(predicate) | Rule::Count { of: predicate, .. } => (predicate.clone(), &[]),
            Rule::Unique(fields) => {
                let named = fields
                    .iter()
                    .map(|field| Predicate::field(field, landfall_core::Op::Ne(Value::Null)));
                (Predicate::And(named.collect()), fields)
            }
        };
        Ok(Self {
            predicate: predicate.bind(def)?,
            slots: fields.iter().filter_map(|field| def.slot(field)).collect(),
            invariant,
            count: 0,
            values: BTreeMap::new(),
            doubles: 0,
            culprit: None,
        })
    }

    fn clear(&mut self) {
        self.count = 0;
        self.values.clear();
        self.doubles = 0;
    }

    fn mark(&self, row: Option<&Row>) -> Mark {
        let row = row.filter(|row| {
            // What does not satisfy `Every` counts; everywhere else what satisfies the predicate.
            self.predicate.matches(*row) != matches!(self.invariant.rule, Rule::Every(_))
        });
        match self.invariant.rule {
            Rule::Unique(_) => Mark::Values(row.map(|row| {
                let mut out = Vec::new();
                for slot in &self.slots {
                    keycode::encode_value(&mut out, row.get(slot.index()).unwrap_or(&Value::Null));
                }
                out
            })),
            Rule::Every(_) | Rule::Count { .. } => Mark::Counts(row.is_some()),
        }
    }

    fn change(&mut self, key: &RecordKey, before: &Mark, after: Mark) {
        if *before == after {
            return;
        }
        match (before, after) {
            (Mark::Counts(was), Mark::Counts(is)) => {
                self.count = self.count + u64::from(is) - u64::from(*was);
                if is {
                    self.culprit = Some(key.clone());
                }
            }
            (Mark::Values(was), Mark::Values(is)) => {
                if let Some(values) = was {
                    self.drop_values(values);
                }
                if let Some(values) = is {
                    let count = self.values.entry(values).or_default();
                    *count += 1;
                    if *count == 2 {
                        self.doubles += 1;
                        self.culprit = Some(key.clone());
                    }
                }
            }
            _ => unreachable!("both marks are of the same rule"),
        }
    }

    fn drop_values(&mut self, values: &[u8]) {
        if let Some(count) = self.values.get_mut(values) {
            *count -= 1;
            self.doubles -= u64::from(*count == 1);
            if *count == 0 {
                self.values.remove(values);
            }
        }
    }

    /// What is wrong, if anything is.
    fn fault(&self) -> Option<(String, String)> {
        let culprit = self
            .culprit
            .as_ref()
            .map_or_else(|| self.invariant.model.to_string(), ToString::to_string);
        let what = match &self.invariant.rule {
            Rule::Every(_) if self.count > 0 => format!("{culprit} does not satisfy it"),
            Rule::Count { at_least, .. } if self.count < *at_least => {
                format!("there are {} and should be at least {at_least}", self.count)
            }
            Rule::Count { at_most, .. } if self.count > *at_most => {
                format!(
                    "there are {} and should be at most {at_most}; {culprit} is one too many",
                    self.count
                )
            }
            Rule::Unique(_) if self.doubles > 0 => format!("{culprit} has the values of another record"),
            _ => return None,
        };
        Some((self.invariant.name.clone(), what))
    }
}
