//! Whether a record of one entry can be what a query asks for, told from the entry without making the record.
//!
//! Owns [`Probe`]. Most records of a long log that a sync filled have one entry, and most records are not what is asked
//! for; reading only the fields that the query compares takes a fraction of making them.
//!
//! Invariant: it never rules out a record that matches. What it cannot read it lets pass, for the reader to tell.

use std::collections::BTreeSet;
use std::fmt;

use landfall_core::{BoundPredicate, FieldName, ModelDef, MutationKind, Row, Slot, SyncMetadata, Value};
use rmp_serde::decode::{Error, ReadRefReader};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::codec::entry::peek;
use crate::codec::nesting::NESTING_MAX;

/// The first byte of a list of three, which is how a server's record is written.
const LIST_OF_THREE: u8 = 0x93;

/// Tells which records cannot match a predicate.
pub(super) struct Probe<'q> {
    predicate: &'q BoundPredicate,
    /// The fields that it compares.
    compared: Vec<(FieldName, Slot)>,
    /// Used again for each record; holds what is compared, and null elsewhere.
    row: Row,
}

impl<'q> Probe<'q> {
    /// A probe for a predicate on a model; `None` if it compares no field, so that nothing can be ruled out.
    pub(super) fn new(predicate: &'q BoundPredicate, def: &ModelDef) -> Option<Self> {
        let mut slots = BTreeSet::new();
        compared_in(predicate, &mut slots);
        if slots.is_empty() {
            return None;
        }
        let named = slots
            .into_iter()
            .map(|slot| (def.stored_field(slot).name.clone(), slot));
        Some(Self {
            predicate,
            compared: named.collect(),
            row: vec![Value::Null; def.stored_len()],
        })
    }

    /// Whether a record of which this is the only entry cannot match; `key_length` is that of its encoded key.
    pub(super) fn rules_out(&mut self, entry: &[u8], key_length: usize) -> bool {
        self.matches(entry, key_length).is_some_and(|matches| !matches)
    }

    /// `None` if that is not known.
    fn matches(&mut self, entry: &[u8], key_length: usize) -> Option<bool> {
        let peek = peek(entry)?;
        let (_, from_key) = peek.key_from()?;
        let after_key = from_key.get(key_length..)?;
        let shown = if peek.is_write() {
            self.read_write(after_key).ok()?
        } else if peek.is_remote() {
            let (mark, record) = after_key.split_first()?;
            if *mark != LIST_OF_THREE {
                return None;
            }
            self.read_remote(record).ok()?
        } else {
            return None;
        };
        Some(shown && self.predicate.matches(&self.row))
    }

    /// Whether a write by itself makes a record that is shown. What it changes without a record there changes nothing.
    fn read_write(&mut self, from_kind: &[u8]) -> Result<bool, Error> {
        let mut reader = reader(from_kind);
        if MutationKind::deserialize(&mut reader)? != MutationKind::Create {
            return Ok(false);
        }
        self.read_fields(&mut reader)?;
        Ok(true)
    }

    fn read_remote(&mut self, from_id: &[u8]) -> Result<bool, Error> {
        let mut reader = reader(from_id);
        IgnoredAny::deserialize(&mut reader)?;
        self.read_fields(&mut reader)?;
        Ok(!SyncMetadata::deserialize(&mut reader)?.deleted)
    }

    fn read_fields(
        &mut self,
        reader: &mut rmp_serde::Deserializer<ReadRefReader<'_, [u8]>>,
    ) -> Result<(), Error> {
        for (_, slot) in &self.compared {
            self.row[slot.index()] = Value::Null;
        }
        reader.deserialize_map(Fields {
            compared: &self.compared,
            row: &mut self.row,
        })
    }
}

/// A reader that does not follow values deeper than any that is written: the entry has not been looked through yet.
fn reader(bytes: &[u8]) -> rmp_serde::Deserializer<ReadRefReader<'_, [u8]>> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(NESTING_MAX);
    reader
}

fn compared_in(predicate: &BoundPredicate, slots: &mut BTreeSet<Slot>) {
    match predicate {
        BoundPredicate::All => {}
        BoundPredicate::Field(slot, _) => {
            slots.insert(*slot);
        }
        BoundPredicate::And(members) | BoundPredicate::Or(members) => {
            members.iter().for_each(|member| compared_in(member, slots));
        }
        BoundPredicate::Not(member) => compared_in(member, slots),
        BoundPredicate::Among(among, _) => slots.extend(among),
        BoundPredicate::Computed(field, _) => slots.extend(field.slots()),
    }
}

/// Takes the fields that are compared out of a map of all.
struct Fields<'p> {
    compared: &'p [(FieldName, Slot)],
    row: &'p mut Row,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(Compared(self.compared))? {
            match slot {
                Some(slot) => self.row[slot.index()] = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The slot of a field by its name, if it is compared.
struct Compared<'p>(&'p [(FieldName, Slot)]);

impl<'de> DeserializeSeed<'de> for Compared<'_> {
    type Value = Option<Slot>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Slot>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Compared<'_> {
    type Value = Option<Slot>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<Slot>, E> {
        let found = self.0.iter().find(|(known, _)| *known == *name);
        Ok(found.map(|(_, slot)| *slot))
    }
}
