//! A record as the server stores it: attributes by name, and the sync metadata.
//!
//! Owns [`Item`] and its bytes. An attribute that is missing is not the same as one that is null: a condition can tell
//! them apart, and a create stores null where an update removes.
//!
//! Invariant: metadata is never among the attributes, so no client can write it.

use std::collections::BTreeMap;

use landfall_core::{ModelName, Value};
use serde::Serialize;
use serde::ser::SerializeMap;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, Value>;

/// `_version`.
pub(crate) const VERSION: &str = "_version";
/// `_lastChangedAt`, milliseconds.
pub(crate) const LAST_CHANGED_AT: &str = "_lastChangedAt";
/// `_deleted`.
pub(crate) const DELETED: &str = "_deleted";
/// When the row may be removed, seconds.
pub(crate) const TTL: &str = "_ttl";
/// Name of the model, which AppSync's own templates store as well.
pub(crate) const TYPE_NAME: &str = "__typename";

/// What `_deleted` compares as on tombstones; live rows have no such attribute.
const TRUE: Value = Value::Bool(true);

/// A stored record, live or tombstone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Attributes without the metadata.
    pub(crate) attributes: Attributes,
    /// `_version`: 1 on create, one more with each accepted write.
    pub(crate) version: u64,
    /// `_lastChangedAt` by the server's clock, in milliseconds.
    pub(crate) last_changed_at_ms: i64,
    /// Whether it is a tombstone.
    pub(crate) deleted: bool,
    /// When a tombstone, or a row of the delta table, may be removed, in seconds since 1970.
    pub(crate) ttl_s: Option<i64>,
}

impl Item {
    /// An attribute as filters see it: `_deleted` exists on tombstones only.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Value> {
        match name {
            DELETED => self.deleted.then_some(&TRUE),
            _ => self.attributes.get(name),
        }
    }

    /// Whether it is a tombstone whose time to live is over.
    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.deleted && self.ttl_s.is_some_and(|ttl_s| ttl_s <= now_ms.div_euclid(1_000))
    }

    /// The row's bytes: a MessagePack map of all attributes by name.
    pub(crate) fn encode(&self, model: &ModelName) -> Vec<u8> {
        self.encode_with_ttl(model, self.ttl_s)
    }

    /// The bytes of the row in the delta table, which has an end of its own; `row` is the record's.
    pub(crate) fn encode_change(&self, model: &ModelName, row: &[u8], ttl_s: i64) -> Vec<u8> {
        if self.ttl_s.is_some() {
            return self.encode_with_ttl(model, Some(ttl_s));
        }
        // The same members and one more.
        let (ttl, members) = (Ttl(ttl_s), self.members());
        let mut change = Vec::with_capacity(row.len() + CHANGE_BYTES);
        push_map_head(&mut change, members + 1);
        change.extend_from_slice(&row[map_head_len(members)..]);
        let map = rmp_serde::to_vec(&ttl).expect("maps of values can be written to memory");
        change.extend_from_slice(&map[map_head_len(1)..]);
        change
    }

    fn encode_with_ttl(&self, model: &ModelName, ttl_s: Option<i64>) -> Vec<u8> {
        let row = Row {
            item: self,
            model,
            ttl_s,
        };
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        rmp_serde::encode::write(&mut bytes, &row).expect("maps of values can be written to memory");
        bytes
    }

    /// How many members a row without an end has.
    fn members(&self) -> usize {
        self.attributes.len() + 3 + usize::from(self.deleted)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut attributes: Attributes = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
        attributes.remove(TYPE_NAME);
        let version = attributes
            .remove(VERSION)
            .and_then(|v| v.as_int())
            .and_then(|v| u64::try_from(v).ok());
        let last_changed_at_ms = attributes.remove(LAST_CHANGED_AT).and_then(|v| v.as_int());
        Ok(Self {
            version: version.ok_or("it has no version")?,
            last_changed_at_ms: last_changed_at_ms.ok_or("it has no time of change")?,
            deleted: attributes.remove(DELETED) == Some(TRUE),
            ttl_s: attributes.remove(TTL).and_then(|v| v.as_int()),
            attributes,
        })
    }
}

/// Room that a row begins with, in bytes: enough for a dozen short attributes.
const ROW_BYTES: usize = 512;

/// What the row of a change is longer by than that of its record, at most.
const CHANGE_BYTES: usize = 32;

/// Most members of a map whose head is one byte, in MessagePack.
const SHORT_MAP_MAX: usize = 15;

/// Length of what MessagePack writes before the members of a map.
fn map_head_len(members: usize) -> usize {
    match members {
        ..=SHORT_MAP_MAX => 1,
        _ if u16::try_from(members).is_ok() => 3,
        _ => 5,
    }
}

fn push_map_head(out: &mut Vec<u8>, members: usize) {
    match (
        u8::try_from(members),
        u16::try_from(members),
        u32::try_from(members),
    ) {
        (Ok(few), ..) if members <= SHORT_MAP_MAX => out.push(0x80 | few),
        (_, Ok(many), _) => {
            out.push(0xde);
            out.extend_from_slice(&many.to_be_bytes());
        }
        (_, _, members) => {
            out.push(0xdf);
            out.extend_from_slice(&members.expect("a record has fewer members").to_be_bytes());
        }
    }
}

/// The one member that a change has and its record has not.
struct Ttl(i64);

impl Serialize for Ttl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(TTL, &self.0)?;
        map.end()
    }
}

struct Row<'a> {
    item: &'a Item,
    model: &'a ModelName,
    ttl_s: Option<i64>,
}

impl Serialize for Row<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = self.item;
        let members = item.members() + usize::from(self.ttl_s.is_some());
        let mut map = serializer.serialize_map(Some(members))?;
        map.serialize_entry(TYPE_NAME, self.model.as_str())?;
        for (name, value) in &item.attributes {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(VERSION, &item.version)?;
        map.serialize_entry(LAST_CHANGED_AT, &item.last_changed_at_ms)?;
        if item.deleted {
            map.serialize_entry(DELETED, &true)?;
        }
        if let Some(ttl_s) = self.ttl_s {
            map.serialize_entry(TTL, &ttl_s)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_with_null_kept_apart_from_missing() {
        let item = Item {
            attributes: Attributes::from([
                ("id".to_owned(), Value::from("p1")),
                ("rating".to_owned(), Value::Null),
                ("tags".to_owned(), Value::from(vec!["a", "b"])),
                ("score".to_owned(), Value::from(1.5)),
            ]),
            version: 3,
            last_changed_at_ms: 1_700_000_000_123,
            deleted: true,
            ttl_s: Some(1_702_592_000),
        };
        let back = Item::decode(&item.encode(&"Post".into())).unwrap();
        assert_eq!(back, item);
        assert_eq!(back.attribute("rating"), Some(&Value::Null));
        assert_eq!(back.attribute("title"), None);
        assert_eq!(back.attribute("_deleted"), Some(&Value::Bool(true)));
        assert_eq!(
            Item {
                deleted: false,
                ..back
            }
            .attribute("_deleted"),
            None
        );
    }

    #[test]
    fn the_row_of_a_change_is_that_of_the_record_with_another_end() {
        let model = "Post".into();
        // Around the numbers of members at which MessagePack writes their number otherwise.
        for count in [0, 1, 11, 12, 13, 14, 70_000] {
            for (deleted, ttl_s) in [(false, None), (true, Some(5)), (true, None)] {
                let attributes = (0..count).map(|n| (format!("f{n:05}"), Value::from(n)));
                let item = Item {
                    attributes: attributes.collect(),
                    version: 1,
                    last_changed_at_ms: 2,
                    deleted,
                    ttl_s,
                };
                let change = item.encode_change(&model, &item.encode(&model), 1_702_592_000);
                assert_eq!(
                    change,
                    item.encode_with_ttl(&model, Some(1_702_592_000)),
                    "{count}"
                );
                let back = Item::decode(&change).unwrap();
                assert_eq!(
                    back,
                    Item {
                        ttl_s: Some(1_702_592_000),
                        ..item
                    }
                );
            }
        }
    }

    #[test]
    fn damaged_rows_are_refused() {
        assert!(Item::decode(&[0xc1]).is_err());
        assert_eq!(Item::decode(&[0x80]), Err("it has no version".to_owned()));
    }
}
