//! Switches by name, for command lines and configuration files.
//!
//! Owns the words: the field's name and the reading's, in lower case with hyphens, such as `list-merge=union`.

use std::fmt::Debug;

use crate::config::{
    BadLimit, ConditionOrder, DeltaBoundary, ExpiredTombstones, FutureLastSync, HigherVersion, IdleMerge,
    KindMismatch, LimitErrors, ListMerge, MergedUpdatedAt, NullInCreate, StartBeforeInit, Switches,
    TombstoneUpdate, UnknownStop, VersionInCreate,
};

/// A switch that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no switch; write {expected}")]
pub struct BadSwitch {
    /// What was given.
    given: String,
    /// What would be accepted.
    expected: String,
}

/// `StaysDeleted` becomes `stays-deleted`.
fn word(reading: impl Debug) -> String {
    let mut text = String::new();
    for c in format!("{reading:?}").chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn words<T: Debug>(readings: &[T]) -> String {
    let words: Vec<String> = readings.iter().map(word).collect();
    words.join("|")
}

macro_rules! switches {
    ($($name:literal => $field:ident: $ty:ty,)+) => {
        impl Switches {
            /// Sets one switch from text such as `list-merge=union`.
            ///
            /// ```
            /// # use landfall_backend::{ListMerge, Switches};
            /// let mut switches = Switches::default();
            /// switches.set("list-merge=union")?;
            /// assert_eq!(switches.list_merge, ListMerge::Union);
            /// # Ok::<(), landfall_backend::BadSwitch>(())
            /// ```
            ///
            /// # Errors
            /// [`BadSwitch`] with what would be accepted.
            pub fn set(&mut self, text: &str) -> Result<(), BadSwitch> {
                let refused = |expected: String| BadSwitch {
                    given: text.to_owned(),
                    expected,
                };
                let (name, reading) = text.split_once('=').unwrap_or((text, ""));
                match name {
                    $($name => {
                        let found = <$ty>::ALL.iter().find(|known| word(known) == reading);
                        self.$field = *found
                            .ok_or_else(|| refused(format!("{}={}", $name, words(<$ty>::ALL))))?;
                        Ok(())
                    })+
                    _ => Err(refused(format!("one of {}", [$($name),+].join(", ")))),
                }
            }

            /// Every text that [`Switches::set`] takes, each switch's default first.
            pub fn texts() -> Vec<String> {
                let mut texts = Vec::new();
                $(texts.extend(<$ty>::ALL.iter().map(|reading| format!("{}={}", $name, word(reading))));)+
                texts
            }
        }
    };
}

switches! {
    "higher-version" => higher_version: HigherVersion,
    "condition-order" => condition_order: ConditionOrder,
    "tombstone-update" => tombstone_update: TombstoneUpdate,
    "version-in-create" => version_in_create: VersionInCreate,
    "list-merge" => list_merge: ListMerge,
    "kind-mismatch" => kind_mismatch: KindMismatch,
    "idle-merge" => idle_merge: IdleMerge,
    "merged-updated-at" => merged_updated_at: MergedUpdatedAt,
    "null-in-create" => null_in_create: NullInCreate,
    "delta-boundary" => delta_boundary: DeltaBoundary,
    "future-last-sync" => future_last_sync: FutureLastSync,
    "bad-limit" => bad_limit: BadLimit,
    "expired-tombstones" => expired_tombstones: ExpiredTombstones,
    "unknown-stop" => unknown_stop: UnknownStop,
    "limit-errors" => limit_errors: LimitErrors,
    "start-before-init" => start_before_init: StartBeforeInit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_is_set_by_its_text() {
        let mut seen = Vec::new();
        for text in Switches::texts() {
            let mut switches = Switches::default();
            switches.set(&text).unwrap();
            let shown = format!("{switches:?}");
            if !seen.contains(&shown) {
                seen.push(shown);
            }
        }
        // The default, and one for each reading that is none.
        assert_eq!(seen.len(), 1 + Switches::texts().len() - 16);
    }

    #[test]
    fn what_is_no_switch_is_told_what_would_be() {
        let mut switches = Switches::default();
        let refused = |switches: &mut Switches, text: &str| switches.set(text).unwrap_err().to_string();
        assert_eq!(
            refused(&mut switches, "list-merge=sum"),
            "`list-merge=sum` is no switch; write list-merge=append|replace|union"
        );
        assert!(refused(&mut switches, "nope").contains("one of higher-version, condition-order"));
        assert_eq!(switches, Switches::default());
    }
}
