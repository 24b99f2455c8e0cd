//! What is kept for later questions, within a bound.
//!
//! Owns [`Kept`]. Invariant: what is missing is told once, with its number, before anything that came after it.

use std::collections::VecDeque;

use super::values::Fault;

/// Errors that are kept until they are told; each says that something is missing, and one says enough.
const ERRORS_MAX: usize = 100;

/// Items that wait to be asked for, the oldest first.
#[derive(Debug)]
pub(super) struct Kept<T> {
    items: VecDeque<(T, usize)>,
    /// What all of them weigh.
    weight: usize,
    /// What they may weigh together; the newest is kept whatever it weighs.
    weight_max: usize,
    /// Items that gave way since that was told.
    missed: u64,
    /// What went wrong since that was told.
    errors: VecDeque<Fault>,
}

impl<T> Kept<T> {
    pub(super) fn new(weight_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            weight: 0,
            weight_max,
            missed: 0,
            errors: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, item: T, weight: usize) {
        while self.weight + weight > self.weight_max && self.pop().is_some() {
            self.missed += 1;
        }
        self.items.push_back((item, weight));
        self.weight += weight;
    }

    /// Something is missing for another reason.
    pub(super) fn miss(&mut self, fault: Fault) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push_back(fault);
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (item, weight) = self.items.pop_front()?;
        self.weight -= weight;
        Some(item)
    }

    pub(super) fn take(&mut self) -> Vec<T> {
        self.weight = 0;
        self.items.drain(..).map(|(item, _)| item).collect()
    }

    /// The number of items that gave way since it was asked for.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Tells what is missing, once; `op` is what asks for the items.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn complete(&mut self, what: &str, op: &str) -> Result<(), Fault> {
        let missed = self.take_missed();
        if missed > 0 {
            return Err(format!(
                "the {missed} oldest {what} gave way to newer ones, as they were not asked for; ask more often. Those \
                 that were kept come with the next `{op}`"
            ));
        }
        self.errors.pop_front().map_or(Ok(()), Err)
    }
}
