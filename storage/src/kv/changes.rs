//! What a frame of the journal holds of rows, and where the database notes how far it is.
//!
//! Owns the form of a change and the table that is the store's own. Each frame is one transaction, and one link: its number, and
//! its checksum, which covers that of the transaction before.
//!
//! ```text
//! item of a frame: 1 for a put, 2 for a remove · bytes of the table's name u8 · name · bytes of the key u32 · key
//!                  · then for a put the value
//! table `landfall journal-1`, key `newest`: number of the newest transaction u64 · its check u32
//! ```
//!
//! Invariant: each transaction of the database writes its own number, so that what is in it and the number agree whatever
//! of it reaches the disk.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};

use super::KvTable;
use crate::error::StorageError;
use crate::journal::{Framed, Link};

/// First byte of an item that writes a value.
const PUT: u8 = 1;

/// First byte of an item that removes a row.
const REMOVE: u8 = 2;

/// Table: see above. No [`KvTable`] has a blank in its name.
const JOURNAL: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("landfall journal-1");

/// Its only key.
const NEWEST: &str = "newest";

type Rows<'name> = TableDefinition<'name, &'static [u8], &'static [u8]>;

/// Writes a put.
pub(super) fn put(out: &mut Vec<u8>, table: KvTable, key: &[u8], value: &[u8]) {
    begin(out, PUT, table, key);
    out.extend_from_slice(value);
}

/// Writes a remove.
pub(super) fn remove(out: &mut Vec<u8>, table: KvTable, key: &[u8]) {
    begin(out, REMOVE, table, key);
}

fn begin(out: &mut Vec<u8>, kind: u8, table: KvTable, key: &[u8]) {
    let name = table.name().as_bytes();
    let name_len = u8::try_from(name.len()).expect("names are no longer than 255 bytes");
    let key_len = u32::try_from(key.len()).expect("the database takes no key of 4 GiB");
    out.push(kind);
    out.push(name_len);
    out.extend_from_slice(name);
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(key);
}

/// A change that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    table: String,
    key: Vec<u8>,
    /// `None` if the row is removed.
    value: Option<Vec<u8>>,
}

impl Change {
    fn decode(item: &[u8]) -> Option<Self> {
        let (kind, rest) = item.split_first()?;
        let (name_len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*name_len))?;
        let (key_len, rest) = rest.split_first_chunk::<4>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let value = match *kind {
            PUT => Some(value.to_vec()),
            REMOVE if value.is_empty() => None,
            _ => return None,
        };
        Some(Self {
            table: std::str::from_utf8(name).ok()?.to_owned(),
            key: key.to_vec(),
            value,
        })
    }
}

/// A transaction that was found in the journal.
#[derive(Debug)]
pub(super) struct Found {
    changes: Vec<Change>,
    pub(super) link: Link,
}

/// The transaction in a frame; `None` if it is none.
pub(super) fn transaction_in(frame: &Framed) -> Option<(Found, Link)> {
    let link = Link {
        number: frame.first(),
        check: frame.checksum(),
    };
    let items = frame.items()?;
    let changes = items.into_iter().map(Change::decode).collect::<Option<_>>()?;
    Some((Found { changes, link }, link))
}

/// Does transactions again, in their order.
pub(super) fn do_again(transaction: &WriteTransaction, found: &[Found]) -> Result<(), StorageError> {
    let mut tables = BTreeMap::new();
    for Change { table, key, value } in found.iter().flat_map(|found| &found.changes) {
        if !tables.contains_key(table) {
            let open = transaction.open_table(Rows::new(table))?;
            tables.insert(table.clone(), open);
        }
        let rows = tables.get_mut(table).expect("it was opened just now");
        match value {
            Some(value) => drop(rows.insert(key.as_slice(), value.as_slice())?),
            None => drop(rows.remove(key.as_slice())?),
        }
    }
    Ok(())
}

/// Notes with a transaction that it is the newest.
pub(super) fn note_newest(transaction: &WriteTransaction, link: Link) -> Result<(), StorageError> {
    let mut value = link.number.to_le_bytes().to_vec();
    value.extend_from_slice(&link.check.to_le_bytes());
    transaction
        .open_table(JOURNAL)?
        .insert(NEWEST, value.as_slice())?;
    Ok(())
}

/// The newest transaction that a database holds.
///
/// [`StorageError::Foreign`] if it has tables and is not one of rows.
pub(super) fn newest_in(database: &Database, place: &Path) -> Result<Link, StorageError> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(JOURNAL) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            let is_new = transaction.list_tables()?.next().is_none()
                && transaction.list_multimap_tables()?.next().is_none();
            return if is_new {
                Ok(Link::default())
            } else {
                Err(StorageError::Foreign {
                    path: place.to_owned(),
                })
            };
        }
        Err(error) => return Err(error.into()),
    };
    let bad = || StorageError::corrupt("the number of the newest transaction cannot be read");
    let value = table.get(NEWEST)?.ok_or_else(bad)?;
    let (number, check) = value.value().split_first_chunk::<8>().ok_or_else(bad)?;
    Ok(Link {
        number: u64::from_le_bytes(*number),
        check: u32::from_le_bytes(check.try_into().map_err(|_| bad())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: KvTable = KvTable::new("letters-1");

    #[test]
    fn changes_are_read_back_and_cut_off_ones_are_not() {
        for (key, value) in [
            (b"k".as_slice(), Some(b"value".as_slice())),
            (b"", Some(b"")),
            (b"key", None),
        ] {
            let mut bytes = Vec::new();
            match value {
                Some(value) => put(&mut bytes, TABLE, key, value),
                None => remove(&mut bytes, TABLE, key),
            }
            let change = Change {
                table: "letters-1".to_owned(),
                key: key.to_vec(),
                value: value.map(<[u8]>::to_vec),
            };
            assert_eq!(Change::decode(&bytes), Some(change));
            let fixed = bytes.len() - value.map_or(0, <[u8]>::len);
            for end in 0..fixed {
                assert_eq!(Change::decode(&bytes[..end]), None, "cut to {end}");
            }
        }
        let mut bytes = Vec::new();
        remove(&mut bytes, TABLE, b"k");
        bytes.push(0);
        assert_eq!(Change::decode(&bytes), None, "a remove has no value");
        bytes[0] = 3;
        assert_eq!(Change::decode(&bytes), None, "there is no third kind");
    }
}
