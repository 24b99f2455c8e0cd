//! What a session hears of its store while nobody asks: changes, results of observed queries, Hub events.
//!
//! Owns [`Ears`]. The store keeps little for those who do not read; here it waits for as long as a script is busy with
//! something else. That holds only while [`Ears::listen`] is polled, so it runs beside whatever else the session waits for.
//!
//! Invariants: 1. each kind is kept in the order in which it came, [`KEPT_MAX`] items of it at most, and the oldest give way;
//! 2. what is missing is told, with its number where that is known, before anything that came after it; 3. a commit that a
//! command waited for is a result of its own of each observed query that it changes.

use std::collections::VecDeque;
use std::convert::Infallible;

use futures_util::future::{pending, select_all};
use landfall::{Change, Error, HubEvent, HubEvents, Observer, QueryObserver, QuerySnapshot, Record};

use super::super::values::Fault;

/// Items of each kind that are kept for later questions: a script that leaves more of them unread has lost track of it. Of
/// results of queries the records are counted, since each result has all of them.
const KEPT_MAX: usize = 100_000;

/// Errors of observers that are kept until they are told; each says that something is missing, and one says enough.
const ERRORS_MAX: usize = 100;

/// What is heard of a store, until it is asked for.
pub(super) struct Ears {
    hub: HubEvents,
    /// Whether the store is open, so that events may come.
    is_open: bool,
    observers: Vec<Observer<Record>>,
    queries: Vec<QueryObserver<Record>>,
    events: Kept<HubEvent>,
    changes: Kept<Change<Record>>,
    results: Kept<QuerySnapshot<Record>>,
}

/// What was heard at one time. `None` if there will be no more of it; observers and queries are named by their place.
enum Heard {
    Event(Option<HubEvent>),
    Change(usize, Option<Result<Change<Record>, Error>>),
    Result(usize, Option<Result<QuerySnapshot<Record>, Error>>),
}

impl Ears {
    pub(super) fn new(hub: HubEvents) -> Self {
        Self {
            hub,
            is_open: true,
            observers: Vec::new(),
            queries: Vec::new(),
            events: Kept::new(KEPT_MAX),
            changes: Kept::new(KEPT_MAX),
            results: Kept::new(KEPT_MAX),
        }
    }

    /// Keeps the changes of an observer, too, from here on.
    pub(super) fn observe(&mut self, observer: Observer<Record>) {
        self.observers.push(observer);
    }

    /// Keeps the results of a query, too; the first one is there now.
    pub(super) fn observe_query(&mut self, query: QueryObserver<Record>) {
        self.queries.push(query);
        self.catch_up();
    }

    /// Keeps what comes, for as long as it is polled. Nothing is lost if it is dropped.
    pub(super) async fn listen(&mut self) -> Infallible {
        loop {
            self.hear().await;
        }
    }

    /// Waits for the next thing of any kind and keeps it; for ever once the store is closed. Nothing is lost if it is
    /// dropped before.
    pub(super) async fn hear(&mut self) {
        let heard = tokio::select! {
            biased;
            event = self.hub.next(), if self.is_open => Heard::Event(event),
            (index, change) = first(self.observers.iter_mut().map(|observer| Box::pin(observer.next()))) => {
                Heard::Change(index, change)
            }
            (index, result) = first(self.queries.iter_mut().map(|query| Box::pin(query.next()))) => {
                Heard::Result(index, result)
            }
        };
        self.keep(heard);
    }

    /// Keeps what is there already.
    pub(super) fn catch_up(&mut self) {
        while let Some(event) = self.hub.try_next() {
            self.keep(Heard::Event(Some(event)));
        }
        for index in 0..self.observers.len() {
            while let Some(change) = self.observers[index].try_next() {
                self.keep(Heard::Change(index, Some(change)));
            }
        }
        // All that waits is one result, so there is no second one.
        for index in 0..self.queries.len() {
            if let Some(result) = self.queries[index].try_next() {
                self.keep(Heard::Result(index, Some(result)));
            }
        }
    }

    fn keep(&mut self, heard: Heard) {
        match heard {
            Heard::Event(Some(event)) => self.events.push(event, 1),
            Heard::Event(None) => self.is_open = false,
            Heard::Change(_, Some(Ok(change))) => self.changes.push(change, 1),
            Heard::Change(_, Some(Err(error))) => self.changes.miss(&error),
            Heard::Change(index, None) => drop(self.observers.swap_remove(index)),
            Heard::Result(_, Some(Ok(result))) => {
                let weight = result.items.len().max(1);
                self.results.push(result, weight);
            }
            Heard::Result(_, Some(Err(error))) => self.results.miss(&error),
            Heard::Result(index, None) => drop(self.queries.swap_remove(index)),
        }
    }

    /// The next event that was heard; if some before it had to give way, how many.
    pub(super) fn next_event(&mut self) -> Option<HubEvent> {
        let lost = std::mem::take(&mut self.events.missed);
        if lost > 0 {
            return Some(HubEvent::Lagged { lost });
        }
        self.events.pop()
    }

    /// Whether events may still come.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The changes that were heard, in the order in which they were made.
    ///
    /// # Errors
    /// What is missing before them. It is told once, and they are there the next time.
    pub(super) fn take_changes(&mut self) -> Result<Vec<Change<Record>>, Fault> {
        self.changes.complete("changes", "observed")?;
        let mut changes = self.changes.take();
        // Those of different observers come in any order.
        changes.sort_by_key(|change| change.seq);
        Ok(changes)
    }

    /// The results that were heard.
    ///
    /// # Errors
    /// As for [`take_changes`](Self::take_changes).
    pub(super) fn take_results(&mut self) -> Result<Vec<QuerySnapshot<Record>>, Fault> {
        self.results.complete("snapshots", "snapshots")?;
        Ok(self.results.take())
    }
}

/// The first of these to be done, and its place; waits for ever if there is none.
async fn first<F: Future + Unpin>(futures: impl ExactSizeIterator<Item = F>) -> (usize, F::Output) {
    if futures.len() == 0 {
        return pending().await;
    }
    let (output, index, _) = select_all(futures).await;
    (index, output)
}

/// Items that wait to be asked for, the oldest first.
struct Kept<T> {
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
    fn new(weight_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            weight: 0,
            weight_max,
            missed: 0,
            errors: VecDeque::new(),
        }
    }

    fn push(&mut self, item: T, weight: usize) {
        while self.weight + weight > self.weight_max && self.pop().is_some() {
            self.missed += 1;
        }
        self.items.push_back((item, weight));
        self.weight += weight;
    }

    fn miss(&mut self, error: &Error) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push_back(error.to_string());
        }
    }

    fn pop(&mut self) -> Option<T> {
        let (item, weight) = self.items.pop_front()?;
        self.weight -= weight;
        Some(item)
    }

    fn take(&mut self) -> Vec<T> {
        self.weight = 0;
        self.items.drain(..).map(|(item, _)| item).collect()
    }

    /// Tells what is missing, once.
    fn complete(&mut self, what: &str, op: &str) -> Result<(), Fault> {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            return Err(format!(
                "the {missed} oldest {what} gave way to newer ones, as they were not asked for; ask more often. Those \
                 that were kept come with the next `{op}`"
            ));
        }
        self.errors.pop_front().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
