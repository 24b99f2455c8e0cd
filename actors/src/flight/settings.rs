//! The settings of sync as a recording has them.
//!
//! Owns [`SettingsInput`] and its translation from and to [`SyncSettings`]. Invariant: a setting that is added there does not
//! compile until it is recorded here, or left out by name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use landfall_core::{ModelName, Predicate};

use crate::config::{Leaving, Listen, SyncSettings};

/// The settings of sync, without the app's handlers: what those answer is recorded when they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingsInput {
    page_size: u32,
    records_max: u64,
    full_sync_interval: Duration,
    expressions: BTreeMap<ModelName, Predicate>,
    tombstone_life: Duration,
    delta_life: Duration,
    /// How each model listens: nothing for live, zero for off, else the time between polls.
    listening: BTreeMap<ModelName, Option<Duration>>,
    leaves_at_once: bool,
    models_in_parallel: u64,
    lanes: u64,
    conflict_timeout: Duration,
    // Recordings of before have neither; what is added goes to the end, since fields are told apart by their places.
    #[serde(default)]
    owner: Option<String>,
    #[serde(default = "one")]
    mutations_per_request: u64,
}

/// How many mutations a request has if nothing is said of it.
fn one() -> u64 {
    1
}

impl From<&SyncSettings> for SettingsInput {
    fn from(settings: &SyncSettings) -> Self {
        let SyncSettings {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening,
            owner,
            leaving,
            models_in_parallel,
            lanes,
            mutations_per_request,
            // What it answers is recorded when it does.
            conflict_handler: _,
            conflict_timeout,
            // Nothing comes back from it.
            error_handler: _,
        } = settings;
        let listening = listening.iter().map(|(model, listen)| {
            let every = match listen {
                Listen::Live => None,
                Listen::Polling(every) => Some((*every).max(Duration::from_millis(1))),
                Listen::Off => Some(Duration::ZERO),
            };
            (model.clone(), every)
        });
        Self {
            page_size: *page_size,
            records_max: *records_max,
            full_sync_interval: *full_sync_interval,
            expressions: expressions.clone(),
            tombstone_life: *tombstone_life,
            delta_life: *delta_life,
            listening: listening.collect(),
            leaves_at_once: *leaving == Leaving::AtOnce,
            models_in_parallel: *models_in_parallel as u64,
            lanes: *lanes as u64,
            conflict_timeout: *conflict_timeout,
            owner: owner.clone(),
            mutations_per_request: *mutations_per_request as u64,
        }
    }
}

impl From<SettingsInput> for SyncSettings {
    fn from(input: SettingsInput) -> Self {
        let SettingsInput {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening,
            leaves_at_once,
            models_in_parallel,
            lanes,
            conflict_timeout,
            owner,
            mutations_per_request,
        } = input;
        let listening = listening.into_iter().map(|(model, every)| {
            let listen = match every {
                None => Listen::Live,
                Some(Duration::ZERO) => Listen::Off,
                Some(every) => Listen::Polling(every),
            };
            (model, listen)
        });
        let handlers = Self::default();
        Self {
            page_size,
            records_max,
            full_sync_interval,
            expressions,
            tombstone_life,
            delta_life,
            listening: listening.collect(),
            owner,
            leaving: if leaves_at_once {
                Leaving::AtOnce
            } else {
                Leaving::WithNextSync
            },
            models_in_parallel: usize::try_from(models_in_parallel).unwrap_or(1),
            lanes: usize::try_from(lanes).unwrap_or(1),
            mutations_per_request: usize::try_from(mutations_per_request).unwrap_or(1),
            conflict_handler: handlers.conflict_handler,
            conflict_timeout,
            error_handler: handlers.error_handler,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of which none is the default, named one by one so that a new one has to be thought of.
    fn unusual() -> SyncSettings {
        let handlers = SyncSettings::default();
        SyncSettings {
            page_size: 7,
            records_max: 70,
            full_sync_interval: Duration::from_secs(1),
            expressions: BTreeMap::from([("A".into(), Predicate::All)]),
            tombstone_life: Duration::from_secs(2),
            delta_life: Duration::from_secs(3),
            listening: BTreeMap::from([
                ("A".into(), Listen::Off),
                ("B".into(), Listen::Polling(Duration::from_secs(4))),
                ("C".into(), Listen::Live),
            ]),
            owner: Some("anna".to_owned()),
            leaving: Leaving::WithNextSync,
            models_in_parallel: 5,
            lanes: 6,
            mutations_per_request: 8,
            conflict_handler: handlers.conflict_handler,
            conflict_timeout: Duration::from_secs(9),
            error_handler: handlers.error_handler,
        }
    }

    #[test]
    fn settings_survive_being_written_down() {
        let settings = unusual();
        let written = serde_json::to_value(SettingsInput::from(&settings)).unwrap();
        let usual = serde_json::to_value(SettingsInput::from(&SyncSettings::default())).unwrap();
        for (name, value) in written.as_object().unwrap() {
            assert_ne!(value, &usual[name], "{name} has its default");
        }
        let back = SyncSettings::from(serde_json::from_value::<SettingsInput>(written).unwrap());
        // All that can be compared.
        let shown = |settings: SyncSettings| {
            let SyncSettings {
                page_size,
                records_max,
                full_sync_interval,
                expressions,
                tombstone_life,
                delta_life,
                listening,
                owner,
                leaving,
                models_in_parallel,
                lanes,
                mutations_per_request,
                conflict_handler: _,
                conflict_timeout,
                error_handler: _,
            } = settings;
            (
                (page_size, records_max, full_sync_interval, expressions),
                (tombstone_life, delta_life, listening, owner, leaving),
                (models_in_parallel, lanes, mutations_per_request, conflict_timeout),
            )
        };
        assert_eq!(shown(back), shown(settings));
    }

    #[test]
    fn settings_of_before_there_were_owners_are_read() {
        let mut written = serde_json::to_value(SettingsInput::from(&unusual())).unwrap();
        let fields = written.as_object_mut().unwrap();
        assert!(fields.remove("owner").is_some() && fields.remove("mutations_per_request").is_some());
        let back = SyncSettings::from(serde_json::from_value::<SettingsInput>(written).unwrap());
        assert_eq!((back.owner, back.mutations_per_request, back.lanes), (None, 1, 6));
    }
}
