//! Log entries in a versioned envelope.
//!
//! Owns the envelope. The numbers of the kinds, their versions and the upcasts from older ones are `form.rs`. Kinds are
//! never renumbered. Unknown kinds and newer versions come back as [`Change::Opaque`].
//!
//! ```text
//! envelope u8 = 1 · kind u16 · version u8 · origin u8 · time i64 · cause u64 (0: none) · payload · check u32
//! ```
//!
//! The check is a CRC-32 over the check of the entry before, the sequence number and everything that precedes it: it
//! finds damaged, missing and swapped entries. It is no protection against somebody who means harm.

use std::io::Cursor;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use landfall_core::{Change, LogEntry, Opaque, Origin, RecordId, RecordKey, Seq};

use super::form::{self, kind};
use super::nesting::nests_too_deep;
use crate::error::StorageError;

const ENVELOPE: u8 = 1;
const HEADER_LEN: usize = 21;
/// Where in the header the version of the payload is.
const VERSION_AT: usize = 3;
const CHECK_LEN: usize = 4;

/// Lists that lie in each other in an encoded key, one more than there are: the key, and the parts of its identifier.
const KEY_NESTING_MAX: usize = 4;

/// Encodes an entry whose predecessor has the given check. Returns the check of this one.
pub(crate) fn encode(out: &mut Vec<u8>, entry: &LogEntry, previous_check: u32) -> u32 {
    let (kind, version) = match &entry.change {
        Change::Opaque(opaque) => (opaque.kind, opaque.version),
        change => (kind_of(change), version_of(change)),
    };
    let start = out.len();
    out.push(ENVELOPE);
    out.extend_from_slice(&kind.to_le_bytes());
    out.push(version);
    out.push(origin_number(entry.origin));
    out.extend_from_slice(&entry.at_ms.to_le_bytes());
    out.extend_from_slice(&entry.cause.unwrap_or(Seq::ZERO).0.to_le_bytes());
    payload(out, &entry.change);
    if let Change::Write(write) = &entry.change
        && write.took_along.is_none()
    {
        // All that it says was said in an older form already, in which programs of before read it too, and by which their
        // recordings tell it. Every delete takes the newest: whether there is something to fold into it is not known before
        // it is carried out.
        out[start + VERSION_AT] = form::write_as_oldest(out, start + HEADER_LEN);
    }
    let check = check_of(previous_check, entry.seq, &out[start..]);
    out.extend_from_slice(&check.to_le_bytes());
    check
}

/// Decodes an entry.
///
/// Whether its check fits its predecessor's is asked separately by [`verify`], since single reads need not.
pub(crate) fn decode(seq: Seq, bytes: &[u8]) -> Result<LogEntry, StorageError> {
    let damaged = || StorageError::corrupt(format!("entry {seq} is cut short"));
    if bytes.len() < HEADER_LEN + CHECK_LEN {
        return Err(damaged());
    }
    if bytes[0] != ENVELOPE {
        return Err(StorageError::corrupt(format!(
            "entry {seq} has the unknown envelope {}",
            bytes[0]
        )));
    }
    let kind = u16::from_le_bytes([bytes[1], bytes[2]]);
    let version = bytes[3];
    let origin = origin_of(bytes[4])
        .ok_or_else(|| StorageError::corrupt(format!("entry {seq} has the unknown origin {}", bytes[4])))?;
    let at_ms = i64::from_le_bytes(*bytes[5..].first_chunk().ok_or_else(damaged)?);
    let cause = Seq(u64::from_le_bytes(
        *bytes[13..].first_chunk().ok_or_else(damaged)?,
    ));
    let payload = &bytes[HEADER_LEN..bytes.len() - CHECK_LEN];
    if nests_too_deep(payload) {
        return Err(StorageError::corrupt(format!(
            "entry {seq} nests deeper than any that is written"
        )));
    }
    let change = change(kind, version, payload).map_err(|error| {
        if form::has_more_values(kind, version, payload) {
            StorageError::EntryTooNew { seq, sound: None }
        } else {
            StorageError::corrupt(format!("entry {seq} cannot be read: {error}"))
        }
    })?;
    Ok(LogEntry {
        seq,
        at_ms,
        origin,
        cause: (cause != Seq::ZERO).then_some(cause),
        change,
    })
}

/// Decodes an entry to carry it out, which cannot be done without knowing what it says.
///
/// # Errors
/// [`StorageError::EntryTooNew`] if a newer program wrote it in a form of its own; as [`decode`].
pub(crate) fn decode_known(seq: Seq, bytes: &[u8]) -> Result<LogEntry, StorageError> {
    if peek(bytes).is_some_and(|peek| peek.is_newer()) {
        return Err(StorageError::EntryTooNew { seq, sound: None });
    }
    decode(seq, bytes)
}

/// Version of a payload that tells of a model which was removed by a migration.
const RETIRED: u8 = u8::MAX;

/// What an encoded entry says, kept as it was written but without effect: nobody can read its version.
///
/// # Panics
/// If the bytes are no entry; they must have been decoded before.
pub(crate) fn retired(bytes: &[u8]) -> Change {
    Change::Opaque(Opaque {
        kind: u16::from_le_bytes([bytes[1], bytes[2]]),
        version: RETIRED,
        payload: bytes[HEADER_LEN..bytes.len() - CHECK_LEN].to_vec(),
    })
}

/// What an entry says of itself before its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peek<'a> {
    /// Name of its kind; `opaque` for those that this version does not know.
    pub(crate) kind: &'static str,
    pub(crate) origin: Option<Origin>,
    pub(crate) at_ms: i64,
    pub(crate) cause: Option<Seq>,
    number: u16,
    version: u8,
    /// Whether this program reads the kind in this version.
    known: bool,
    payload: &'a [u8],
}

/// Reads an entry as far as that costs nothing; `None` if it is no entry of this envelope.
pub(crate) fn peek(bytes: &[u8]) -> Option<Peek<'_>> {
    if bytes.len() < HEADER_LEN + CHECK_LEN || bytes[0] != ENVELOPE {
        return None;
    }
    let number = u16::from_le_bytes([bytes[1], bytes[2]]);
    let version = bytes[3];
    let cause = Seq(u64::from_le_bytes(*bytes[13..].first_chunk()?));
    let known = is_known(number, version);
    Some(Peek {
        kind: if known { kind_name(number) } else { OPAQUE },
        origin: origin_of(bytes[4]),
        at_ms: i64::from_le_bytes(*bytes[5..].first_chunk()?),
        cause: (cause != Seq::ZERO).then_some(cause),
        number,
        version,
        known,
        payload: &bytes[HEADER_LEN..bytes.len() - CHECK_LEN],
    })
}

/// Whether this program reads a kind in a version.
fn is_known(kind: u16, version: u8) -> bool {
    form::newest(kind).is_some_and(|newest| (1..=newest).contains(&version))
}

impl Peek<'_> {
    pub(crate) fn is_schema(&self) -> bool {
        self.is(kind::SCHEMA_CHANGED)
    }

    pub(crate) fn is_cleared(&self) -> bool {
        self.is(kind::CLEARED)
    }

    pub(crate) fn is_checkpoint(&self) -> bool {
        self.is(kind::CHECKPOINT)
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.is(kind::QUARANTINED)
    }

    pub(crate) fn is_write(&self) -> bool {
        self.is(kind::WRITE)
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.is(kind::REMOTE)
    }

    /// Whether it is what trimmed entries had come to.
    pub(crate) fn is_base(&self) -> bool {
        self.is(kind::BASE)
    }

    /// Whether a base may hold it: what trimmed entries had come to, or what is left of a model that was removed.
    pub(crate) fn is_of_base(&self) -> bool {
        self.is_base() || self.is_checkpoint() || !self.known && self.version == RETIRED
    }

    /// Whether only a newer program knows what it does, whether this one knows the kind or not.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.known && self.version != RETIRED
    }

    /// Whether a newer program wrote what this one knows in an older form: what it does cannot be told, though it is
    /// something. A kind that is not known at all is passed over, and so is what tells of a model that was removed.
    pub(crate) fn is_newer(&self) -> bool {
        !self.known
            && self.version != RETIRED
            && form::newest(self.number).is_some_and(|newest| self.version > newest)
    }

    fn is(&self, number: u16) -> bool {
        self.known && self.number == number
    }

    /// Whether it changes a record: then its payload is a list that begins with the record's key.
    pub(crate) fn is_of_record(&self) -> bool {
        self.known
            && matches!(
                self.number,
                kind::WRITE..=kind::EVICTED | kind::EDITED | kind::BASE
            )
    }

    /// The key, if it changes a record.
    pub(crate) fn key(&self) -> Option<RecordKey> {
        if !self.is_of_record() {
            return None;
        }
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(self.payload.get(1..)?);
        RecordKey::deserialize(&mut deserializer).ok()
    }

    /// The identifier, if it changes a record of the model, which is from [`model_bytes`].
    pub(crate) fn id_in(&self, model: &[u8]) -> Option<RecordId> {
        if !self.is_of_record() || !self.is_of_model(model) {
            return None;
        }
        // What follows the model in the list that the key is.
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(self.payload.get(2 + model.len()..)?);
        RecordId::deserialize(&mut deserializer).ok()
    }

    /// Where the key begins in the entry, and what follows from there, if it changes a record.
    pub(crate) fn key_from(&self) -> Option<(usize, &[u8])> {
        let from = self.is_of_record().then_some(self.payload)?.get(1..)?;
        Some((HEADER_LEN + 1, from))
    }

    /// Where the encoded key is in an entry that changes a record, and how long it is.
    pub(crate) fn key_place(&self) -> Option<(usize, usize)> {
        let (at, from) = self.key_from()?;
        let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(from));
        deserializer.set_max_depth(KEY_NESTING_MAX);
        IgnoredAny::deserialize(&mut deserializer).ok()?;
        let length = usize::try_from(deserializer.get_ref().position()).ok()?;
        Some((at, length))
    }

    /// Whether its payload begins with these bytes, the mark of its list aside: see [`key_bytes`] and [`model_bytes`].
    pub(crate) fn begins_with(&self, bytes: &[u8]) -> bool {
        self.payload
            .get(1..)
            .is_some_and(|payload| payload.starts_with(bytes))
    }

    /// Whether it is about a model or one of its records; `model` is from [`model_bytes`].
    pub(crate) fn is_of_model(&self, model: &[u8]) -> bool {
        if self.is_of_record() {
            // The key is a list of two, the first of which is the model.
            self.payload.get(2..).is_some_and(|key| key.starts_with(model))
        } else {
            (self.is(kind::QUARANTINED) || self.is(kind::CHECKPOINT)) && self.begins_with(model)
        }
    }
}

/// A key as it stands in the payload of what changes its record.
pub(crate) fn key_bytes(key: &RecordKey) -> Vec<u8> {
    rmp_serde::to_vec(key).expect("writing MessagePack to memory cannot fail")
}

/// The name of a model as it stands in payloads.
pub(crate) fn model_bytes(model: &str) -> Vec<u8> {
    rmp_serde::to_vec(model).expect("writing MessagePack to memory cannot fail")
}

const OPAQUE: &str = "opaque";

/// Names of the kinds that a log has, as [`Change::name`] gives them: all but the base, which stands before it.
pub(crate) const LOG_KIND_NAMES: [&str; 17] = [
    OPAQUE,
    "write",
    "sent",
    "outcome unknown",
    "not applied",
    "acknowledged",
    "conflict",
    "refused",
    "retried",
    "discarded",
    "remote",
    "evicted",
    "quarantined",
    "checkpoint",
    "schema changed",
    "cleared",
    "edited",
];

fn kind_name(number: u16) -> &'static str {
    let name = LOG_KIND_NAMES.get(usize::from(number)).copied();
    name.unwrap_or(if number == kind::BASE { "base" } else { OPAQUE })
}

/// The check stored in an entry.
pub(crate) fn stored_check(bytes: &[u8]) -> Option<u32> {
    bytes
        .last_chunk::<CHECK_LEN>()
        .map(|check| u32::from_le_bytes(*check))
}

/// Whether an entry is whole and follows one with the given check. Returns its own check.
pub(crate) fn verify(seq: Seq, bytes: &[u8], previous_check: u32) -> Result<u32, StorageError> {
    let stored = stored_check(bytes);
    let computed = check_of(
        previous_check,
        seq,
        &bytes[..bytes.len().saturating_sub(CHECK_LEN)],
    );
    if stored == Some(computed) {
        Ok(computed)
    } else {
        Err(StorageError::corrupt(format!(
            "entry {seq} does not follow the entry before it, or was altered"
        )))
    }
}

fn check_of(previous: u32, seq: Seq, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&previous.to_le_bytes());
    hasher.update(&seq.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn version_of(change: &Change) -> u8 {
    form::newest(kind_of(change)).expect("every kind that is written has a form")
}

fn kind_of(change: &Change) -> u16 {
    match change {
        Change::Write(_) => kind::WRITE,
        Change::Sent(_) => kind::SENT,
        Change::OutcomeUnknown(_) => kind::OUTCOME_UNKNOWN,
        Change::NotApplied(_) => kind::NOT_APPLIED,
        Change::Acknowledged(_) => kind::ACKNOWLEDGED,
        Change::Conflict(_) => kind::CONFLICT,
        Change::Refused(_) => kind::REFUSED,
        Change::Retried(_) => kind::RETRIED,
        Change::Edited(_) => kind::EDITED,
        Change::Base(_) => kind::BASE,
        Change::Discarded(_) => kind::DISCARDED,
        Change::Remote(_) => kind::REMOTE,
        Change::Evicted(_) => kind::EVICTED,
        Change::Quarantined(_) => kind::QUARANTINED,
        Change::Checkpoint(_) => kind::CHECKPOINT,
        Change::SchemaChanged(_) => kind::SCHEMA_CHANGED,
        Change::Cleared => kind::CLEARED,
        Change::Opaque(opaque) => opaque.kind,
        other => unreachable!("`{}` was added to Change without a number here", other.name()),
    }
}

fn payload(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(c) => write(out, c),
        Change::Sent(c) => write(out, c),
        Change::OutcomeUnknown(c) | Change::NotApplied(c) | Change::Retried(c) | Change::Discarded(c) => {
            write(out, c);
        }
        Change::Edited(c) => write(out, c),
        Change::Base(c) => write(out, c),
        Change::Acknowledged(c) => write(out, c),
        Change::Conflict(c) => write(out, c),
        Change::Refused(c) => write(out, c),
        Change::Remote(c) => write(out, c),
        Change::Evicted(c) => write(out, c),
        Change::Quarantined(c) => write(out, c),
        Change::Checkpoint(c) => write(out, c),
        Change::SchemaChanged(c) => write(out, c),
        Change::Opaque(c) => out.extend_from_slice(&c.payload),
        _ => {}
    }
}

fn write(out: &mut Vec<u8>, payload: &impl Serialize) {
    rmp_serde::encode::write(out, payload).expect("writing MessagePack to memory cannot fail");
}

fn change(kind: u16, version: u8, payload: &[u8]) -> Result<Change, rmp_serde::decode::Error> {
    fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, rmp_serde::decode::Error> {
        rmp_serde::from_slice(payload)
    }
    if !is_known(kind, version) {
        return Ok(Change::Opaque(Opaque {
            kind,
            version,
            payload: payload.to_vec(),
        }));
    }
    let payload = &*form::upcast(kind, version, payload).ok_or_else(|| {
        rmp_serde::decode::Error::Uncategorized(format!("it has not the form of its version {version}"))
    })?;
    Ok(match kind {
        kind::WRITE => Change::Write(read(payload)?),
        kind::SENT => Change::Sent(read(payload)?),
        kind::OUTCOME_UNKNOWN => Change::OutcomeUnknown(read(payload)?),
        kind::NOT_APPLIED => Change::NotApplied(read(payload)?),
        kind::ACKNOWLEDGED => Change::Acknowledged(read(payload)?),
        kind::CONFLICT => Change::Conflict(read(payload)?),
        kind::REFUSED => Change::Refused(read(payload)?),
        kind::RETRIED => Change::Retried(read(payload)?),
        kind::EDITED => Change::Edited(read(payload)?),
        kind::BASE => Change::Base(read(payload)?),
        kind::DISCARDED => Change::Discarded(read(payload)?),
        kind::REMOTE => Change::Remote(read(payload)?),
        kind::EVICTED => Change::Evicted(read(payload)?),
        kind::QUARANTINED => Change::Quarantined(read(payload)?),
        kind::CHECKPOINT => Change::Checkpoint(read(payload)?),
        kind::SCHEMA_CHANGED => Change::SchemaChanged(read(payload)?),
        kind::CLEARED => Change::Cleared,
        _ => Change::Opaque(Opaque {
            kind,
            version,
            payload: payload.to_vec(),
        }),
    })
}

/// Origins with their numbers; part of the file format.
const ORIGINS: [(Origin, u8); 6] = [
    (Origin::App, 1),
    (Origin::Outbox, 2),
    (Origin::Response, 3),
    (Origin::Subscription, 4),
    (Origin::Sync, 5),
    (Origin::Recovery, 6),
];

fn origin_number(origin: Origin) -> u8 {
    ORIGINS
        .iter()
        .find(|(known, _)| *known == origin)
        .map_or(0, |(_, number)| *number)
}

fn origin_of(number: u8) -> Option<Origin> {
    ORIGINS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(origin, _)| *origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_core::{MutationKind, RecordKey, RecordVersion, Write};

    fn entry(seq: u64) -> LogEntry {
        let write = Write {
            key: RecordKey::new("Post", "p1"),
            kind: MutationKind::Update,
            patch: [("title".into(), "t".into())].into(),
            condition: None,
            base_version: Some(RecordVersion(2)),
            queued: true,
            parents: vec![RecordKey::new("Blog", "b1")],
            group: Some(Seq(4)),
            at_end: false,
            took_along: None,
        };
        LogEntry {
            seq: Seq(seq),
            at_ms: 5,
            origin: Origin::App,
            cause: Some(Seq(3)),
            change: Change::Write(write),
        }
    }

    #[test]
    fn entries_come_back() {
        let mut bytes = Vec::new();
        let check = encode(&mut bytes, &entry(9), 77);
        assert_eq!(decode(Seq(9), &bytes).expect("readable"), entry(9));
        assert_eq!(verify(Seq(9), &bytes, 77).expect("fits"), check);
    }

    #[test]
    fn a_peek_tells_what_decoding_tells() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &entry(9), 77);
        let peek = peek(&bytes).expect("an entry");
        let entry = entry(9);
        let key = entry.change.key().expect("a write has one");
        assert_eq!(
            (peek.kind, peek.origin),
            (entry.change.name(), Some(entry.origin))
        );
        assert_eq!((peek.at_ms, peek.cause), (entry.at_ms, entry.cause));
        assert_eq!(peek.key().as_ref(), Some(key));
        assert!(peek.begins_with(&key_bytes(key)));
        assert!(!peek.begins_with(&key_bytes(&RecordKey::new("Post", "p2"))));
        assert!(peek.is_of_model(&model_bytes("Post")) && !peek.is_of_model(&model_bytes("Pos")));
    }

    #[test]
    fn unknown_kinds_survive_a_round_trip() {
        let opaque = Change::Opaque(Opaque {
            kind: 900,
            version: 3,
            payload: vec![1, 2, 3],
        });
        let entry = LogEntry {
            seq: Seq(1),
            at_ms: 0,
            origin: Origin::Sync,
            cause: None,
            change: opaque,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, &entry, 0);
        assert_eq!(decode(Seq(1), &bytes).expect("readable"), entry);
    }

    #[test]
    fn the_chain_finds_altered_missing_and_swapped_entries() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &entry(9), 77);
        assert!(verify(Seq(9), &bytes, 78).is_err(), "the entry before is another");
        assert!(verify(Seq(8), &bytes, 77).is_err(), "it stands in another place");
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            assert!(verify(Seq(9), &altered, 77).is_err(), "byte {index} altered");
        }
        for cut in 0..bytes.len() {
            assert!(verify(Seq(9), &bytes[..cut], 77).is_err());
            assert!(decode(Seq(9), &bytes[..cut]).is_err() || cut > HEADER_LEN + CHECK_LEN);
        }
    }
}
