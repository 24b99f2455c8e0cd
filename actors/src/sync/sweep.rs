//! The end of a full sync: what it has not met leaves the store, portion by portion.
//!
//! Owns [`Sweep`]. Pure. Which records stay because something of them waits is the storage's business; what has to be asked
//! for before it leaves is `doubts.rs`.
//!
//! Invariants: 1. the cursor that says that a full sync is over is stored with the last portion, so that a sweep that
//! was cut off is made up for by another full sync; 2. one portion at a time is listed, asked about or stored; 3. after the
//! last portion the store holds nothing that the sync expression is known not to select, but for what waits.
//!
//! The third is for another expression than before: what it does not select was not met, but may have changed lately. A
//! sweep does not know whether it is the first one with its expression, since one before it may have been cut off, so
//! each of them looks.

use landfall_core::{ModelName, Origin, RecordId, SyncCursor};
use landfall_storage::Listing;
use landfall_wire::Failure;

use super::doubts::{Doubts, Found, Told};
use super::machine::Effect;
use super::model::{Ticket, Turn};
use super::seen::Seen;
use crate::storage::{LeftOver, RemoteBatch};

/// Records that are looked at in one portion; what of it leaves is one transaction, which other writers wait for.
pub(super) const PORTION: usize = 1_000;

/// What changed so shortly before the sync began stays, in milliseconds of the server's clock: a read that is only
/// eventually consistent may not have shown it yet. The next full sync has it. Only what the sync expression does not
/// select, as the store knows it, leaves all the same: no read would show that.
pub(super) const MARGIN_MS: i64 = 60_000;

/// A portion of records to be listed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Portion {
    pub(super) ticket: Ticket,
    pub(super) model: ModelName,
    pub(super) after: Option<RecordId>,
    pub(super) before_ms: i64,
}

/// A sweep that goes on.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The cursor of the sync when it is over.
    cursor: SyncCursor,
    before_ms: i64,
    /// The portion that is being listed.
    pub(super) listing: Option<Ticket>,
    next: Option<RecordId>,
    /// Whether the last portion is listed.
    pub(super) is_over: bool,
    /// `None` if what was not met is certainly gone.
    doubts: Option<Doubts>,
}

impl Sweep {
    /// A sweep at the end of a sync that began at that time of the server's clock and has met that.
    pub(super) fn new(cursor: SyncCursor, started_at_ms: i64, seen: Option<&Seen>) -> Self {
        Self {
            cursor,
            before_ms: started_at_ms.saturating_sub(MARGIN_MS),
            listing: None,
            next: None,
            is_over: false,
            doubts: seen.and_then(Seen::nameless).map(Doubts::new),
        }
    }

    /// Has the next portion listed.
    pub(super) fn list(&mut self, model: &ModelName, turn: &mut Turn<'_>) {
        let ticket = turn.tickets.next();
        self.listing = Some(ticket);
        turn.effects.push(Effect::List(Portion {
            ticket,
            model: model.clone(),
            after: self.next.clone(),
            before_ms: self.before_ms,
        }));
    }

    /// Takes a portion; returns the ticket of the store if there is something to be stored.
    pub(super) fn take(
        &mut self,
        listing: Listing,
        seen: &Seen,
        model: &ModelName,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        self.listing = None;
        self.next.clone_from(&listing.next);
        self.is_over = self.next.is_none();
        let Listing {
            mut ids, mut outside, ..
        } = listing;
        ids.retain(|id| !seen.has(id));
        outside.retain(|(id, _)| !seen.has(id));
        let (old, known_outside): (Vec<_>, Vec<_>) = outside
            .into_iter()
            .partition(|(_, sync)| sync.last_changed_at_ms < self.before_ms);
        let mut told = Told {
            // Of these it does not matter whether the server has them.
            gone: old.into_iter().map(|(id, _)| id).collect(),
            known_outside,
            ..Told::default()
        };
        match &mut self.doubts {
            Some(doubts) => {
                doubts.add(ids);
                doubts.told = told;
                self.look(model, turn)
            }
            None => {
                told.gone.extend(ids);
                self.hand_over(told, model, turn)
            }
        }
    }

    /// The server answered what it has of a record, or will not. `None` if nobody asked, else the ticket of the store if
    /// there is something to be stored.
    pub(super) fn inquired(
        &mut self,
        ticket: Ticket,
        found: Result<Found, Box<Failure>>,
        model: &ModelName,
        turn: &mut Turn<'_>,
    ) -> Option<Option<Ticket>> {
        let was_asked = self.doubts.as_mut()?.answered(ticket, found);
        was_asked.then(|| self.look(model, turn))
    }

    /// Asks for what is in doubt, and hands over what is known once nothing is.
    fn look(&mut self, model: &ModelName, turn: &mut Turn<'_>) -> Option<Ticket> {
        let doubts = self.doubts.as_mut()?;
        if doubts.ask(model, turn) {
            return None;
        }
        let told = std::mem::take(&mut doubts.told);
        self.hand_over(told, model, turn)
    }

    /// Hands over what a portion has come to, or has the next one listed if that is nothing.
    fn hand_over(&mut self, told: Told, model: &ModelName, turn: &mut Turn<'_>) -> Option<Ticket> {
        let Told {
            gone,
            known_outside,
            records,
            outside,
        } = told;
        let leaves = !(gone.is_empty() && known_outside.is_empty());
        let is_nothing = !leaves && records.is_empty() && outside.is_empty();
        if is_nothing && !self.is_over {
            self.list(model, turn);
            return None;
        }
        let ticket = turn.tickets.next();
        let left_over = LeftOver {
            ids: gone,
            before_ms: self.before_ms,
            outside: known_outside,
        };
        let batch = RemoteBatch {
            records,
            outside,
            left_over: leaves.then(|| Box::new(left_over)),
            cursor: self.is_over.then(|| self.cursor.clone()),
            ..RemoteBatch::new(Origin::Sync, model.clone())
        };
        turn.effects.push(Effect::Store { ticket, batch });
        Some(ticket)
    }

    /// How many records stay although nothing says that the server has them; `None` if there are none.
    pub(super) fn unexplained(&self) -> Option<u64> {
        self.doubts.as_ref()?.unexplained()
    }
}
