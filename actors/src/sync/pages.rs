//! Pages of one sync of one model: what is asked for next, and the cursor that is stored with each.
//!
//! Owns [`Pages`]. Pure. What becomes of a failure is `model.rs`.
//!
//! Invariants: 1. the cursor of a page says no more than that everything up to it is stored with it; 2. `startedAt` is
//! that of the first page; 3. no page asks for more than is left of the record limit.

use landfall_core::{ModelName, Origin, Paging, Quarantined, SyncCursor, SyncKind, SyncPlan, planted};
use landfall_wire::{BadRecord, SyncPage};

use super::machine::Effect;
use super::model::{Question, Subject, Ticket, Turn};
use crate::storage::RemoteBatch;

/// Pages of one sync of one model. A filter may make all but one empty, so this bounds only a server that never ends:
/// at 1,000 records each it would have looked at twenty million.
pub(super) const PAGES_MAX: u32 = 20_000;

/// Where a sync begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Where paging stopped.
    Stored,
    /// The first page, whatever is stored.
    FirstPage,
}

/// A sync of one model between its first and last page.
#[derive(Debug)]
pub(super) struct Pages {
    /// Where another try begins: once a page is stored, where paging stopped.
    pub(super) from: Start,
    pub(super) kind: SyncKind,
    last_sync_ms: Option<i64>,
    /// The cursor as it will be once everything handed to the store is stored.
    cursor: SyncCursor,
    /// Token of the page that is asked for, or of the first one left out; `None` for the first page.
    pub(super) token: Option<String>,
    started_at_ms: Option<i64>,
    pub(super) received: u64,
    pub(super) pages: u32,
    pub(super) fetch: Fetch,
}

/// What becomes of the next page.
#[derive(Debug)]
pub(super) enum Fetch {
    Asked(Ticket),
    Held(Box<SyncPage>),
    Over { truncated: bool },
}

impl Pages {
    /// Nothing has been asked for yet.
    pub(super) fn new(from: Start, plan: SyncPlan, cursor: SyncCursor, records_max: u64) -> Self {
        let resume = plan.resume.filter(|_| from == Start::Stored);
        // A sync that was truncated goes on with a fresh allowance.
        let received = resume.as_ref().map_or(0, |resume| resume.received);
        Self {
            from,
            kind: plan.kind,
            last_sync_ms: plan.last_sync_ms,
            cursor,
            started_at_ms: resume.as_ref().map(|resume| resume.started_at_ms),
            received: if received < records_max { received } else { 0 },
            token: resume.map(|resume| resume.next_token),
            pages: 0,
            fetch: Fetch::Over { truncated: false },
        }
    }

    /// Asks for the next page.
    pub(super) fn ask(&mut self, model: &ModelName, turn: &mut Turn<'_>) {
        let ticket = turn.tickets.next();
        let room = turn.limits.records_max.saturating_sub(self.received).max(1);
        self.fetch = Fetch::Asked(ticket);
        turn.effects.push(Effect::Ask(Question {
            ticket,
            model: model.clone(),
            limit: u32::try_from(room).map_or(turn.limits.page_size, |room| room.min(turn.limits.page_size)),
            token: self.token.clone(),
            last_sync_ms: self.last_sync_ms,
        }));
    }

    /// Hands a page to the store and asks for the next one. Returns the ticket of the store.
    pub(super) fn take(&mut self, page: SyncPage, subject: &Subject, turn: &mut Turn<'_>) -> Ticket {
        let model = &subject.model;
        self.pages += 1;
        self.received += (page.items.len() + page.bad.len()) as u64;
        if self.token.is_none() {
            self.started_at_ms = page.started_at_ms;
        }
        if !page.errors.is_empty() {
            turn.effects.push(Effect::NonApplicable {
                model: model.clone(),
                errors: page.errors,
            });
        }
        let cursor = self.advance(
            subject,
            page.next_token.clone().filter(|_| !planted("first-page-only")),
        );
        let ticket = turn.tickets.next();
        let batch = RemoteBatch {
            origin: Origin::Sync,
            model: model.clone(),
            records: page.items,
            bad: page.bad.into_iter().map(|bad| quarantined(model, bad)).collect(),
            cursor,
        };
        turn.effects.push(Effect::Store { ticket, batch });
        self.token = page.next_token.filter(|_| !planted("first-page-only"));
        if self.token.is_none() {
            self.fetch = Fetch::Over { truncated: false };
        } else if self.received >= turn.limits.records_max {
            self.fetch = Fetch::Over { truncated: true };
        } else {
            self.ask(model, turn);
        }
        ticket
    }

    /// The cursor to be stored with a page.
    ///
    /// A server that does not say when it started gives no time to go on from: nothing is claimed, and what was
    /// claimed of an earlier paging is taken back.
    fn advance(&mut self, subject: &Subject, next_token: Option<String>) -> Option<SyncCursor> {
        let expression = subject.expression.as_deref();
        let cursor = match (self.started_at_ms, next_token) {
            (Some(started_at_ms), Some(next_token)) => {
                let paging = Paging {
                    kind: self.kind,
                    next_token,
                    started_at_ms,
                    received: self.received,
                };
                self.cursor.paged(expression, paging)
            }
            (Some(started_at_ms), None) => self.cursor.finished(expression, self.kind, started_at_ms),
            (None, _) if self.cursor.paging.is_some() => SyncCursor {
                paging: None,
                ..self.cursor.clone()
            },
            (None, _) => return None,
        };
        self.cursor = cursor.clone();
        Some(cursor)
    }
}

fn quarantined(model: &ModelName, bad: BadRecord) -> Quarantined {
    Quarantined {
        model: model.clone(),
        reason: bad.to_string(),
        json: bad.json,
    }
}
