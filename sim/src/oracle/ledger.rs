//! What the app was promised: an account of its writes that knows nothing of the engine.
//!
//! Owns [`Ledger`]. A write that was tried and not answered may be there or not; one that was answered must be there.

use std::collections::BTreeMap;

use landfall::{RecordKey, Value};

/// A write that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt(u64);

/// Writes of records that belong to one client alone, each with a text of its own; `None` is a delete.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<RecordKey, Account>,
    next: u64,
    acknowledged: u64,
}

#[derive(Debug, Default)]
struct Account {
    /// The newest acknowledged write.
    acknowledged: Option<(Attempt, Option<Value>)>,
    /// Writes that were begun after it and not answered.
    open: BTreeMap<Attempt, Option<Value>>,
    /// Every write that was ever begun.
    all: Vec<Option<Value>>,
    /// Whether the app gave its claim up: by clearing, or because the server refused a write and it was told.
    released: bool,
}

impl Ledger {
    /// A write begins.
    pub(crate) fn begin(&mut self, key: &RecordKey, text: Option<Value>) -> Attempt {
        self.next += 1;
        let attempt = Attempt(self.next);
        let account = self.accounts.entry(key.clone()).or_default();
        account.all.push(text.clone());
        account.open.insert(attempt, text);
        attempt
    }

    /// A write was answered with success.
    pub(crate) fn acknowledge(&mut self, key: &RecordKey, attempt: Attempt) {
        self.acknowledged += 1;
        let Some(account) = self.accounts.get_mut(key) else {
            return;
        };
        let Some(text) = account.open.remove(&attempt) else {
            return;
        };
        if account
            .acknowledged
            .as_ref()
            .is_none_or(|(newest, _)| *newest < attempt)
        {
            account.acknowledged = Some((attempt, text));
            account.open.retain(|open, _| *open > attempt);
        }
    }

    /// A write was refused before anything was changed.
    pub(crate) fn withdraw(&mut self, key: &RecordKey, attempt: Attempt) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.open.remove(&attempt);
        }
    }

    /// A write of something that is not kept account of was answered.
    pub(crate) fn acknowledge_other(&mut self) {
        self.acknowledged += 1;
    }

    /// The app has no claim to what it wrote so far.
    pub(crate) fn release(&mut self, key: &RecordKey) {
        if let Some(account) = self.accounts.get_mut(key) {
            account.released = true;
        }
    }

    /// As [`Ledger::release`], for everything.
    pub(crate) fn release_all(&mut self) {
        for account in self.accounts.values_mut() {
            account.released = true;
        }
    }

    /// Writes that were answered with success.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Every record that is kept account of.
    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        self.accounts.keys().cloned().collect()
    }

    /// Whether the app still has a claim to a record.
    pub(crate) fn claims(&self, key: &RecordKey) -> bool {
        self.accounts.get(key).is_some_and(|account| !account.released)
    }

    /// How many writes of a record were begun: each makes at most one version on the server.
    pub(crate) fn attempts(&self, key: &RecordKey) -> u64 {
        self.accounts
            .get(key)
            .map_or(0, |account| account.all.len() as u64)
    }

    /// What is wrong with a record that reads so, if something is.
    pub(crate) fn objection(&self, key: &RecordKey, text: Option<&Value>) -> Option<String> {
        let account = self.accounts.get(key)?;
        let is_text = |one: &Option<Value>| one.as_ref() == text;
        let allowed = if account.released {
            text.is_none() || account.all.iter().any(is_text)
        } else {
            account.open.values().any(is_text)
                || match &account.acknowledged {
                    Some((_, acknowledged)) => is_text(acknowledged),
                    // Nothing acknowledged: the record may never have come to be.
                    None => text.is_none(),
                }
        };
        (!allowed).then(|| {
            let newest = account.acknowledged.as_ref().map(|(_, text)| show(text.as_ref()));
            format!(
                "{key} is {}, acknowledged was {}, not answered {:?}",
                show(text),
                newest.unwrap_or_else(|| "nothing".to_owned()),
                account
                    .open
                    .values()
                    .map(|text| show(text.as_ref()))
                    .collect::<Vec<_>>()
            )
        })
    }
}

fn show(text: Option<&Value>) -> String {
    text.map_or_else(|| "gone".to_owned(), |text| format!("`{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_write_must_be_there_and_an_unanswered_one_may() {
        let (mut ledger, key) = (Ledger::default(), RecordKey::new("Note", "1"));
        let text = |text: &str| Some(Value::from(text));
        let first = ledger.begin(&key, text("a"));
        assert_eq!(ledger.objection(&key, None), None);
        assert_eq!(ledger.objection(&key, text("a").as_ref()), None);
        ledger.acknowledge(&key, first);
        assert!(ledger.objection(&key, None).is_some());
        let second = ledger.begin(&key, text("b"));
        for allowed in ["a", "b"] {
            assert_eq!(ledger.objection(&key, text(allowed).as_ref()), None);
        }
        ledger.acknowledge(&key, second);
        assert!(ledger.objection(&key, text("a").as_ref()).is_some());
        ledger.release(&key);
        assert_eq!(ledger.objection(&key, text("a").as_ref()), None);
        assert!(ledger.objection(&key, text("c").as_ref()).is_some());
    }
}
