//! What a full sync has not met although the server may have it: each such record is asked for before it leaves.
//!
//! Owns [`Doubts`]. Pure. A page may hold items without a name, such as null for a record that lacks a field which the
//! server's schema demands. Any record may be behind one of them, so what was not met is not gone for certain.
//!
//! Bounds: [`INQUIRIES_MAX`] questions for one sync, [`AT_A_TIME`] of them at once. The rest stays until the next full sync,
//! and the app is told. Asking ends early once more answers say nothing than there were items without a name: a server
//! that does not tell will not begin to.

use std::collections::VecDeque;

use landfall_core::{ModelName, RecordId, RemoteRecord, SyncMetadata};
use landfall_wire::{Failure, FailureCause, FailureClass};

use super::machine::Effect;
use super::model::{Ticket, Turn};

/// Records that one sync asks for: some ten seconds on a slow line, which nobody waits for longer than for a page or two.
pub(super) const INQUIRIES_MAX: usize = 1_000;

/// Questions that are open at the same time; as many as do not crowd out the pages of other models.
pub(super) const AT_A_TIME: usize = 8;

/// What the server has of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The record, perhaps a tombstone.
    Record(RemoteRecord),
    /// The record, which the sync expression does not select.
    Outside(RemoteRecord),
    /// Something that cannot be read.
    Unreadable,
}

/// What is asked, and what the answers say.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Items without a name that the sync has met.
    nameless: u64,
    inquiries: usize,
    waiting: VecDeque<RecordId>,
    asked: Vec<(Ticket, RecordId)>,
    /// Records that were asked for, and of which nothing is known all the same.
    unknown: u64,
    /// Records beyond the bound.
    beyond: u64,
    gave_up: bool,
    /// What is known since the last portion.
    pub(super) told: Told,
}

/// What has come out of a portion.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) gone: Vec<RecordId>,
    /// Not from answers: what the store itself knows to be outside of the expression, though it changed lately.
    pub(super) known_outside: Vec<(RecordId, SyncMetadata)>,
    pub(super) records: Vec<RemoteRecord>,
    pub(super) outside: Vec<RemoteRecord>,
}

impl Doubts {
    /// No doubts yet, of a sync that has met so many items without a name.
    pub(super) fn new(nameless: u64) -> Self {
        Self {
            nameless,
            ..Self::default()
        }
    }

    /// Has these asked for, as far as that is allowed.
    pub(super) fn add(&mut self, ids: Vec<RecordId>) {
        let room = if self.gave_up {
            0
        } else {
            INQUIRIES_MAX - self.inquiries
        };
        let asked = ids.len().min(room);
        self.inquiries += asked;
        self.beyond += (ids.len() - asked) as u64;
        self.waiting.extend(ids.into_iter().take(asked));
    }

    /// Asks for more. Returns whether an answer is waited for.
    pub(super) fn ask(&mut self, model: &ModelName, turn: &mut Turn<'_>) -> bool {
        while self.asked.len() < AT_A_TIME
            && let Some(id) = self.waiting.pop_front()
        {
            let ticket = turn.tickets.next();
            turn.effects.push(Effect::Inquire {
                ticket,
                model: model.clone(),
                id: id.clone(),
            });
            self.asked.push((ticket, id));
        }
        !self.asked.is_empty()
    }

    /// An answer came, or a failure. Returns whether it was asked for.
    pub(super) fn answered(&mut self, ticket: Ticket, found: Result<Found, Box<Failure>>) -> bool {
        let Some(position) = self.asked.iter().position(|(asked, _)| *asked == ticket) else {
            return false;
        };
        let (_, id) = self.asked.swap_remove(position);
        match found {
            Ok(Found::Nothing) => self.told.gone.push(id),
            Ok(Found::Record(record)) if record.id == id => self.told.records.push(record),
            Ok(Found::Outside(record)) if record.id == id => self.told.outside.push(record),
            // It is there, and stays as it is known.
            Ok(Found::Unreadable) => {}
            Ok(Found::Record(_) | Found::Outside(_)) => self.unknown += 1,
            Err(failure) => {
                self.unknown += 1;
                self.gave_up |= !is_about_one(&failure);
            }
        }
        self.gave_up |= self.unknown > self.nameless;
        if self.gave_up {
            self.beyond += self.waiting.len() as u64;
            self.waiting.clear();
        }
        true
    }

    /// How many records stay for which no item without a name stands; `None` if there are none.
    pub(super) fn unexplained(&self) -> Option<u64> {
        Some(self.unknown + self.beyond).filter(|stay| *stay > self.nameless)
    }
}

/// Whether a failure is about the record that was asked for, and says nothing of others.
fn is_about_one(failure: &Failure) -> bool {
    let is_answer = matches!(
        failure.cause,
        FailureCause::Errors {
            status: 200..=299,
            ..
        }
    );
    is_answer && !matches!(failure.class, FailureClass::Transient { .. })
}
