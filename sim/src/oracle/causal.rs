//! Causal order, as each client has it.
//!
//! Owns [`Reads`] (what a client has read is not taken back) and [`Causality`] (what a client writes follows what it had
//! read). That a client reads what it wrote is `ledger.rs`; that the server sees the changes of a record in order and
//! parents before children is `server.rs` and `log.rs`. Across unrelated records the engine promises no order: they are
//! sent in parallel.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{RecordKey, Snapshot, SyncMetadata};
use serde_json::{Map, Value as Json};

use super::Fault;
use super::server::{Version, mark};

/// The newest version of each record that a client has shown to its app.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    seen: BTreeMap<RecordKey, SyncMetadata>,
}

impl Reads {
    /// Nothing was read: all local data was cleared.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Reads records as the app would; none may show an older version than before, unless it began a new life.
    pub(crate) fn check(&mut self, snapshot: &Snapshot, touched: &BTreeSet<RecordKey>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for key in touched {
            // A disk that cannot be read now says nothing about what is on it.
            let Ok(Some(record)) = snapshot.get(&key.model, &key.id) else {
                continue;
            };
            let Some(now) = record.sync() else { continue };
            let before = self.seen.insert(key.clone(), now);
            if let Some(before) = before
                && now.version < before.version
                && now.last_changed_at_ms <= before.last_changed_at_ms
            {
                let what = format!(
                    "the app read version {} of {key}, and now reads version {}",
                    before.version.0, now.version.0
                );
                faults.push(Fault::new("I8", key, what));
            }
        }
        faults
    }
}

/// What authors had read when they wrote, by the text of the write: each text is written once.
#[derive(Debug, Default)]
pub(crate) struct Causality {
    read: BTreeMap<String, u64>,
    /// Texts that were sent again because a conflict was decided so.
    decided: BTreeSet<String>,
}

impl Causality {
    /// A text is about to be written by somebody who has read this version of its record; none if the server had none.
    pub(crate) fn read_before(&mut self, text: &str, version: Option<u64>) {
        self.read.insert(text.to_owned(), version.unwrap_or(0));
    }

    /// A conflict was decided for this text: it may go out on a version that its author has not read.
    pub(crate) fn decided(&mut self, text: &str) {
        self.decided.insert(text.to_owned());
    }

    /// Whether a conflict was decided for this text.
    pub(crate) fn was_decided(&self, text: &str) -> bool {
        self.decided.contains(text)
    }

    /// An update was applied: had its author read what it overwrites? An update names the version that it is made on, so
    /// that the server notices what its author has not seen; it must not name one that its author has not seen either.
    pub(crate) fn applied(
        &self,
        client: &str,
        key: &RecordKey,
        input: &Map<String, Json>,
        history: Option<&Vec<Version>>,
    ) -> Option<Fault> {
        let base = input.get("_version").and_then(Json::as_u64)?;
        let (field, text) = input
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?)))
            .find(|(_, text)| mark(text).is_some())?;
        let read = self.read.get(text).filter(|_| !self.decided.contains(text))?;
        // Only the newest change up to that version is overwritten: what came before it was judged when that came.
        let mut overwritten: Option<&Version> = None;
        for version in history?.iter().filter(|version| version.version <= base) {
            let value = |version: &&Version| version.fields.get(field).cloned();
            let before = overwritten.as_ref().and_then(value);
            if value(&version) != before {
                overwritten = Some(version);
            }
        }
        let theirs = overwritten.filter(|version| version.version > *read && version.by != client)?;
        let what = format!(
            "{client} had read version {read} of {key} and wrote {field} `{text}` on version {base}, over what {} made of it \
             in version {}",
            theirs.by, theirs.version
        );
        Some(Fault::new("I23", key, what))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(version: u64, by: &str, title: &str) -> Version {
        let Json::Object(fields) = json!({ "title": title }) else {
            unreachable!("it is an object")
        };
        Version {
            version,
            changed_at_ms: 0,
            deleted: false,
            fields,
            by: by.to_owned(),
        }
    }

    #[test]
    fn only_what_an_author_has_not_read_must_be_left_to_the_server() {
        let key = RecordKey::new("Board", "b");
        let history = vec![
            version(1, "anna", "anna#1"),
            version(2, "berta", "berta#1"),
            version(3, "berta", "berta#1"),
        ];
        let mut causality = Causality::default();
        causality.read_before("anna#2", Some(1));
        let update = |base: u64| json!({ "id": "b", "title": "anna#2", "_version": base });
        let judged = |causality: &Causality, client: &str, base: u64| {
            let input = update(base);
            let input = input.as_object().expect("it is an object");
            causality.applied(client, &key, input, Some(&history)).is_some()
        };
        assert!(judged(&causality, "anna", 2) && judged(&causality, "anna", 3));
        assert!(!judged(&causality, "anna", 1), "the server notices");
        let over = [history.clone(), vec![version(4, "anna", "anna#3")]].concat();
        let input = update(4);
        let input = input.as_object().expect("it is an object");
        let found = causality.applied("anna", &key, input, Some(&over));
        assert!(found.is_none(), "what berta made is gone already");
        assert!(!judged(&causality, "berta", 3), "it is the author's own");
        causality.decided("anna#2");
        assert!(!judged(&causality, "anna", 3), "a conflict was decided");
    }
}
