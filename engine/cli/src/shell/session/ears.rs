//! What a session hears of its store while nobody asks: changes, results of observed queries, Hub events.
//!
//! Owns [`Ears`]. The store keeps little for those who do not read; here it waits for as long as a script is busy with
//! something else. That holds only while [`Ears::listen`] is polled, so it runs beside whatever else the session waits for.
//!
//! Invariants: 1. each kind is kept in the order in which it came, [`KEPT_MAX`] items of it at most, and the oldest give way;
//! 2. what is missing is told, with its number where that is known, before anything that came after it; 3. a commit that a
//! command waited for is a result of its own of each observed query that it changes.

use std::convert::Infallible;

use futures_util::future::{pending, select_all};
use landfall::{Change, Error, HubEvent, HubEvents, Observer, QueryObserver, QuerySnapshot, Record};

use super::super::kept::Kept;
use super::super::values::Fault;

/// Items of each kind that are kept for later questions: a script that leaves more of them unread has lost track of it. Of
/// results of queries the records are counted, since each result has all of them.
const KEPT_MAX: usize = 100_000;

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
            Heard::Change(_, Some(Err(error))) => self.changes.miss(error.to_string()),
            Heard::Change(index, None) => drop(self.observers.swap_remove(index)),
            Heard::Result(_, Some(Ok(result))) => {
                let weight = result.items.len().max(1);
                self.results.push(result, weight);
            }
            Heard::Result(_, Some(Err(error))) => self.results.miss(error.to_string()),
            Heard::Result(index, None) => drop(self.queries.swap_remove(index)),
        }
    }

    /// The next event that was heard; if some before it had to give way, how many.
    pub(super) fn next_event(&mut self) -> Option<HubEvent> {
        let lost = self.events.take_missed();
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

#[cfg(test)]
mod tests;
