//! The account of what realtime connections hold in memory together.
//!
//! Owns [`Account`] and [`Charge`]. Invariant: what is charged is given back when the charge is dropped, so that nothing is
//! counted that is not held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<AtomicUsize>);

impl Account {
    /// How many bytes there are.
    pub(super) fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A charge of so many bytes.
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        let mut charge = Charge {
            account: self.clone(),
            bytes: 0,
        };
        charge.set(bytes);
        charge
    }
}

/// A part of an account.
#[derive(Debug)]
pub(super) struct Charge {
    account: Account,
    bytes: usize,
}

impl Charge {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn set(&mut self, bytes: usize) {
        self.account.0.fetch_add(bytes, Ordering::Relaxed);
        self.account.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The payload of a message, written once for all who are sent it.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) text: String,
    _charge: Charge,
}

impl Payload {
    pub(super) fn new(text: String, account: &Account) -> Arc<Self> {
        let charge = account.charge(text.len());
        Arc::new(Self {
            text,
            _charge: charge,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_what_is_shared_counts_once() {
        let account = Account::default();
        let mut charge = account.charge(5);
        let payload = Payload::new("1234".to_owned(), &account);
        let again = Arc::clone(&payload);
        charge.set(7);
        assert_eq!((account.total(), charge.bytes()), (11, 7));
        drop((charge, payload));
        assert_eq!(account.total(), 4);
        drop(again);
        assert_eq!(account.total(), 0);
    }
}
