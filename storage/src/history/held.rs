//! What many records have come to, in little memory.
//!
//! Owns [`Held`]. A state in memory is some ten times as long as the entries that made it, most of it names and empty
//! places. So a record that one entry has made is held as that entry, and any other as its state, encoded; each is made
//! again when an entry about it comes.
//!
//! Invariant: what is handed over is what [`PastState`](super::PastState) has.

use std::collections::BTreeMap;

use landfall_core::{
    LogEntry, ModelDef, Mutation, RecordKey, RecordState, RecordVersion, Row, Seq, SyncMetadata,
};
use serde::{Deserialize, Serialize};

use crate::codec::entry::{decode, key_bytes};
use crate::error::StorageError;

/// The records that something is known of.
#[derive(Default)]
pub(super) struct Held {
    /// By the encoded key.
    records: BTreeMap<Box<[u8]>, Kept>,
}

enum Kept {
    /// The only entry about it.
    Entry(Seq, Box<[u8]>),
    /// Its state.
    State(Box<[u8]>),
}

/// A state as it is encoded. The schema is the same throughout, so fields need no names.
#[derive(Serialize, Deserialize)]
struct Encoded<R, P> {
    row: Option<R>,
    sync: Option<SyncMetadata>,
    own_since: Option<RecordVersion>,
    shadow: Option<R>,
    pending: P,
}

impl Held {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    /// Carries out an entry about a record, and shows what the app saw of it before and sees after.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the entry does not fit its record.
    pub(super) fn change(
        &mut self,
        def: &ModelDef,
        key: &RecordKey,
        (entry, bytes): (&LogEntry, &[u8]),
        show: impl FnOnce(Option<&Row>, Option<&Row>),
    ) -> Result<(), StorageError> {
        let encoded_key = key_bytes(key).into_boxed_slice();
        let before = self
            .records
            .get(&encoded_key)
            .map(|kept| kept.state(def))
            .transpose()?;
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        let mut after = before.clone();
        after.apply(def, entry.seq, &entry.change)?;
        show(before.row.as_ref(), after.row.as_ref());
        if after == RecordState::default() {
            self.records.remove(&encoded_key);
        } else if is_first {
            self.records
                .insert(encoded_key, Kept::Entry(entry.seq, bytes.into()));
        } else {
            self.records.insert(encoded_key, Kept::State(encoded(&after)));
        }
        Ok(())
    }
}

impl Kept {
    fn state(&self, def: &ModelDef) -> Result<RecordState, StorageError> {
        match self {
            Self::Entry(seq, bytes) => {
                let mut state = RecordState::default();
                state.apply(def, *seq, &decode(*seq, bytes)?.change)?;
                Ok(state)
            }
            Self::State(bytes) => {
                let held: Encoded<Row, Vec<Mutation>> =
                    rmp_serde::from_slice(bytes).expect("what was encoded here can be decoded");
                Ok(RecordState {
                    row: held.row,
                    sync: held.sync,
                    own_since: held.own_since,
                    shadow: held.shadow,
                    pending: held.pending,
                })
            }
        }
    }
}

fn encoded(state: &RecordState) -> Box<[u8]> {
    let held = Encoded {
        row: state.row.as_ref(),
        sync: state.sync,
        own_since: state.own_since,
        shadow: state.shadow.as_ref(),
        pending: &state.pending,
    };
    rmp_serde::to_vec(&held)
        .expect("writing MessagePack to memory cannot fail")
        .into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use proptest::prelude::*;

    use super::*;
    use crate::history::tests::{deeds, history, random_store};
    use crate::history::{PastState, Scope};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_held_is_what_a_fold_has(deeds in deeds(60)) {
            let history = history(&random_store(&deeds));
            let (first, _) = history.bounds();
            let mut past: PastState = history.as_of(Seq(first.0 - 1), &Scope::All).unwrap();
            past.schema = history.schema().unwrap().clone();
            let mut held = Held::default();
            history.scan_unbroken(history.bounds().1, &mut |seq, bytes| {
                let entry = decode(seq, bytes)?;
                if let Some(key) = entry.change.key() {
                    let def = past.schema.model(&key.model).unwrap().clone();
                    let before = past.state(key).cloned().unwrap_or_default();
                    past.apply(&entry)?;
                    let after = past.state(key).cloned().unwrap_or_default();
                    held.change(&def, key, (&entry, bytes), |old, new| {
                        assert_eq!((old, new), (before.row.as_ref(), after.row.as_ref()), "{seq}");
                    })?;
                    let kept = held.records.get(key_bytes(key).as_slice());
                    let state = kept.map(|kept| kept.state(&def).unwrap()).unwrap_or_default();
                    assert_eq!(state, after, "{seq}");
                }
                Ok(ControlFlow::Continue(()))
            }).unwrap();
            prop_assert_eq!(held.records.len(), past.states().count());
        }
    }
}
