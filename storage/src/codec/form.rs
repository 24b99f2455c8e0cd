//! The forms of payloads: which version of each kind is written, and how older ones are brought up to it.
//!
//! Owns the numbers of the kinds, their newest versions, and the chain of upcasts. What the fields mean is the core's.
//!
//! Invariants: 1. a form that was ever written is not changed: what is written otherwise gets the next version, a step
//! here, and a line of `kept_forms.txt`, which a test compares with what is written now; 2. every form of a kind that
//! changes a record is a list that begins with the record's key, so that entries are found without being decoded.

use std::borrow::Cow;

/// Numbers of the kinds; part of the file format.
pub(super) mod kind {
    pub(in super::super) const WRITE: u16 = 1;
    pub(in super::super) const SENT: u16 = 2;
    pub(in super::super) const OUTCOME_UNKNOWN: u16 = 3;
    pub(in super::super) const NOT_APPLIED: u16 = 4;
    pub(in super::super) const ACKNOWLEDGED: u16 = 5;
    pub(in super::super) const CONFLICT: u16 = 6;
    pub(in super::super) const REFUSED: u16 = 7;
    pub(in super::super) const RETRIED: u16 = 8;
    pub(in super::super) const DISCARDED: u16 = 9;
    pub(in super::super) const REMOTE: u16 = 10;
    pub(in super::super) const EVICTED: u16 = 11;
    pub(in super::super) const QUARANTINED: u16 = 12;
    pub(in super::super) const CHECKPOINT: u16 = 13;
    pub(in super::super) const SCHEMA_CHANGED: u16 = 14;
    pub(in super::super) const CLEARED: u16 = 15;
    pub(in super::super) const EDITED: u16 = 16;
    pub(in super::super) const BASE: u16 = 17;
}

/// What is written of a kind.
struct Form {
    kind: u16,
    /// The newest version, which is the one that is written.
    version: u8,
    /// How many values the list of that version has; `None` if it is no list.
    values: Option<u32>,
}

const fn form(kind: u16, version: u8, values: u32) -> Form {
    Form {
        kind,
        version,
        values: Some(values),
    }
}

/// The newest form of each kind, in the order of their numbers, without a gap.
const FORMS: [Form; 17] = [
    form(kind::WRITE, 3, 10),
    form(kind::SENT, 1, 3),
    form(kind::OUTCOME_UNKNOWN, 1, 2),
    form(kind::NOT_APPLIED, 1, 2),
    form(kind::ACKNOWLEDGED, 1, 3),
    form(kind::CONFLICT, 2, 5),
    form(kind::REFUSED, 1, 4),
    form(kind::RETRIED, 1, 2),
    form(kind::DISCARDED, 1, 2),
    form(kind::REMOTE, 1, 2),
    form(kind::EVICTED, 1, 3),
    form(kind::QUARANTINED, 1, 3),
    form(kind::CHECKPOINT, 1, 2),
    form(kind::SCHEMA_CHANGED, 1, 2),
    Form {
        kind: kind::CLEARED,
        version: 1,
        values: None,
    },
    form(kind::EDITED, 1, 5),
    form(kind::BASE, 1, 6),
];

fn form_of(kind: u16) -> Option<&'static Form> {
    let form = FORMS.get(usize::from(kind.checked_sub(1)?))?;
    (form.kind == kind).then_some(form)
}

/// The version in which a kind is written; `None` if this program does not know the kind.
pub(super) fn newest(kind: u16) -> Option<u8> {
    form_of(kind).map(|form| form.version)
}

/// Whether a payload has more values than the form that its version says: a newer program wrote it, under a number that
/// it should not have used.
pub(super) fn has_more_values(kind: u16, version: u8, payload: &[u8]) -> bool {
    let known = form_of(kind).filter(|form| form.version == version);
    let known = known.and_then(|form| form.values);
    known.is_some_and(|known| rmp::decode::read_array_len(&mut &payload[..]).is_ok_and(|there| there > known))
}

/// One step of a chain: makes a payload of one version into one of the next; `None` if it has not the form of its version.
struct Upcast {
    kind: u16,
    from: u8,
    step: fn(&[u8]) -> Option<Vec<u8>>,
}

/// Every step that there is. Together they lead from every version that was ever written to the newest.
const UPCASTS: [Upcast; 3] = [
    Upcast {
        kind: kind::WRITE,
        from: 1,
        step: write_1_to_2,
    },
    Upcast {
        kind: kind::WRITE,
        from: 2,
        step: write_2_to_3,
    },
    Upcast {
        kind: kind::CONFLICT,
        from: 1,
        step: conflict_1_to_2,
    },
];

/// A payload in the newest form of its kind; `None` if it has not the form of its version.
pub(super) fn upcast(kind: u16, version: u8, payload: &[u8]) -> Option<Cow<'_, [u8]>> {
    through(&UPCASTS, (kind, version), newest(kind)?, payload)
}

fn through<'p>(
    steps: &[Upcast],
    (kind, from): (u16, u8),
    to: u8,
    payload: &'p [u8],
) -> Option<Cow<'p, [u8]>> {
    let mut payload = Cow::Borrowed(payload);
    for version in from..to {
        let step = steps
            .iter()
            .find(|step| (step.kind, step.from) == (kind, version))?;
        payload = Cow::Owned((step.step)(&payload)?);
    }
    Some(payload)
}

/// Mark of a MessagePack list of so many values, up to 15.
const fn list_of(values: u8) -> u8 {
    0x90 | values
}

/// A MessagePack map with nothing in it.
const EMPTY_MAP: u8 = 0x80;

/// MessagePack's `false`.
const FALSE: u8 = 0xc2;

/// MessagePack's nothing.
const NIL: u8 = 0xc0;

/// Version 2 says whether a delete waits at the end of the queue; those of version 1 took the place of what they folded into.
fn write_1_to_2(payload: &[u8]) -> Option<Vec<u8>> {
    let (mark, rest) = payload.split_first()?;
    (*mark == list_of(8)).then(|| [&[list_of(9)], rest, &[FALSE]].concat())
}

/// Version 3 says of a delete how many records it took along; those of version 2 do not know.
fn write_2_to_3(payload: &[u8]) -> Option<Vec<u8>> {
    let (mark, rest) = payload.split_first()?;
    (*mark == list_of(9)).then(|| [&[list_of(10)], rest, &[NIL]].concat())
}

/// Makes a write at the end of `out`, which begins at `start`, one of the oldest version that can say all that it says.
/// Returns that version.
pub(super) fn write_as_oldest(out: &mut Vec<u8>, start: usize) -> u8 {
    let (mut version, mut values) = (3, 10);
    for left_out in [NIL, FALSE] {
        if out.last() != Some(&left_out) {
            break;
        }
        out.pop();
        version -= 1;
        values -= 1;
    }
    out[start] = list_of(values);
    version
}

/// Version 2 says which fields of the change are given up; entries of version 1 do not know. For some hours the longer form
/// was written under the number 1, so that is read as well.
fn conflict_1_to_2(payload: &[u8]) -> Option<Vec<u8>> {
    let (mark, rest) = payload.split_first()?;
    if *mark == list_of(5) {
        return Some(payload.to_vec());
    }
    (*mark == list_of(4)).then(|| [&[list_of(5)], rest, &[EMPTY_MAP]].concat())
}

#[cfg(test)]
mod tests;
