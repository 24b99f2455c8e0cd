//! Transactions drawn by chance, and what rows must be found after which of them: known apart from the store.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Dice;
use crate::kv::{KvError, KvRange, KvRead, KvStore, KvTable, KvTxn};

const LETTERS: KvTable = KvTable::new("letters-1");

/// A row for each transaction that took effect.
const DONE: KvTable = KvTable::new("done-1");

/// Different keys.
const KEYS: usize = 12;

/// One step of a transaction.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>),
    Remove(u8),
}

/// A transaction of a script.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    number: u64,
    steps: Vec<Step>,
}

/// What a store holds, and after which transactions.
pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The transactions that took effect.
pub(super) type Took = BTreeSet<u64>;

/// Transactions of different sizes: most take a few sectors of the journal, some a third of it, some do not fit.
pub(super) fn script(dice: &mut Dice, count: u64) -> Vec<Transaction> {
    (1..=count)
        .map(|number| {
            let steps = (0..=dice.below(3)).map(|_| {
                let key = u8::try_from(dice.below(KEYS)).unwrap();
                match dice.below(12) {
                    0..3 => Step::Remove(key),
                    3..9 => Step::Put(key, value(dice, 600)),
                    9..11 => Step::Put(key, value(dice, 24_000)),
                    _ => Step::Put(key, value(dice, 90_000)),
                }
            });
            Transaction {
                number,
                steps: steps.collect(),
            }
        })
        .collect()
}

fn value(dice: &mut Dice, max: usize) -> Vec<u8> {
    let byte = u8::try_from(dice.below(256)).unwrap();
    vec![byte; dice.below(max)]
}

/// Has a store carry out a transaction.
pub(super) fn run(store: &KvStore, transaction: &Transaction) -> Result<(), KvError> {
    store.write(|txn: &mut KvTxn<'_>| {
        for step in &transaction.steps {
            match step {
                Step::Put(key, value) => txn.put(LETTERS, &[*key], value)?,
                Step::Remove(key) => drop(txn.remove(LETTERS, &[*key])?),
            }
        }
        txn.put(DONE, &transaction.number.to_be_bytes(), b"")
    })
}

/// The rows after those transactions.
pub(super) fn foresee(script: &[Transaction], took: &Took) -> Rows {
    let mut rows = Rows::new();
    for transaction in script.iter().filter(|one| took.contains(&one.number)) {
        for step in &transaction.steps {
            match step {
                Step::Put(key, value) => drop(rows.insert(vec![*key], value.clone())),
                Step::Remove(key) => drop(rows.remove([*key].as_slice())),
            }
        }
    }
    rows
}

/// Which transactions a store shows; its rows must be what they make.
pub(super) fn shown(store: &KvStore, script: &[Transaction]) -> Result<Took, KvError> {
    let read = store.read()?;
    let took: Took = read
        .rows(DONE, &KvRange::all(), usize::MAX)?
        .into_iter()
        .map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap()))
        .collect();
    let rows: Rows = read
        .rows(LETTERS, &KvRange::all(), usize::MAX)?
        .into_iter()
        .collect();
    assert!(
        rows == foresee(script, &took),
        "the rows are not those of {took:?}"
    );
    Ok(took)
}

/// Number of [`last`].
pub(super) const LAST: u64 = u64::MAX;

/// A transaction that changes none of the rows that are compared.
pub(super) fn last() -> Transaction {
    Transaction {
        number: LAST,
        steps: Vec::new(),
    }
}
