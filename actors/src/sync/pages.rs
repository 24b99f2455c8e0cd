//! Pages of one sync of one model: what is asked for next, and the cursor that is stored with each.
//!
//! Owns [`Pages`]. Pure. What becomes of a failure is `model.rs`.
//!
//! Invariants: 1. the cursor of a page says no more than that everything up to it is stored with it; 2. `startedAt` is
//! that of the first page; 3. no page asks for more than is left of the record limit; 4. a sync that was truncated gets
//! further the next time, whatever the server thinks of its token.

use landfall_core::{ModelName, Origin, Paging, Quarantined, SyncCursor, SyncKind, SyncPlan, planted};
use landfall_wire::BadRecord;

use super::catalog::Answer;
use super::machine::Effect;
use super::model::{Question, Subject, Ticket, Turn};
use super::seen::Seen;
use super::sweep::MARGIN_MS;
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
    /// Whether the store held nothing of the model when the sync began.
    fresh: bool,
    pub(super) received: u64,
    /// With how many received it is truncated.
    limit: u64,
    pub(super) pages: u32,
    pub(super) fetch: Fetch,
}

/// What becomes of the next page.
#[derive(Debug)]
pub(super) enum Fetch {
    Asked(Ticket),
    Held(Box<Answer>),
    Over { truncated: bool },
}

/// What is left to do after the last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing.
    Synced,
    /// What was not met is to leave; this is `startedAt` of the sync.
    Sweep { started_at_ms: i64 },
    /// Another full sync: what the beginning of this one has met is not known any more.
    Again,
}

impl Pages {
    /// Nothing has been asked for yet. `holds` says whether the store holds anything of the model.
    pub(super) fn new(
        from: Start,
        plan: SyncPlan,
        cursor: SyncCursor,
        records_max: u64,
        holds: bool,
    ) -> Self {
        let limit = plan.resume.as_ref().map_or(records_max, |resume| {
            let limit = resume.limit.max(records_max);
            // A sync that was truncated goes on with a fresh allowance, also if it has to begin with the first page again.
            if resume.received < limit {
                limit
            } else {
                resume.received.saturating_add(records_max)
            }
        });
        let resume = plan.resume.filter(|_| from == Start::Stored);
        Self {
            from,
            kind: plan.kind,
            last_sync_ms: plan.last_sync_ms,
            cursor,
            started_at_ms: resume.as_ref().map(|resume| resume.started_at_ms),
            fresh: resume.as_ref().map_or(!holds, |resume| resume.fresh),
            received: resume.as_ref().map_or(0, |resume| resume.received),
            limit,
            token: resume.map(|resume| resume.next_token),
            pages: 0,
            fetch: Fetch::Over { truncated: false },
        }
    }

    /// What is known of what this sync has met, given what is known of an earlier one: a sync that goes on needs what it
    /// has met before, one that begins or that removes nothing needs none of it.
    pub(super) fn memory(&self, earlier: Option<Seen>) -> Option<Seen> {
        if self.kind == SyncKind::Delta || self.fresh {
            None
        } else if self.token.is_none() {
            Some(Seen::default())
        } else {
            earlier.filter(|seen| seen.started_at_ms.is_some() && seen.started_at_ms == self.started_at_ms)
        }
    }

    /// What is left to do after the last page.
    pub(super) fn ending(&self, seen: Option<&Seen>) -> Ending {
        let (SyncKind::Base, false, Some(started_at_ms)) = (self.kind, self.fresh, self.started_at_ms) else {
            return Ending::Synced;
        };
        match seen {
            None => Ending::Again,
            Some(seen) if seen.is_whole() => Ending::Sweep { started_at_ms },
            Some(_) => Ending::Synced,
        }
    }

    /// The cursor of the sync when everything is done.
    pub(super) fn finished(&self, subject: &Subject, started_at_ms: i64) -> SyncCursor {
        self.cursor
            .finished(subject.expression.as_deref(), self.kind, started_at_ms)
    }

    /// Asks for the next page.
    pub(super) fn ask(&mut self, model: &ModelName, turn: &mut Turn<'_>) {
        let ticket = turn.tickets.next();
        let room = self.limit.saturating_sub(self.received).max(1);
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
    pub(super) fn take(
        &mut self,
        answer: Answer,
        subject: &Subject,
        mut seen: Option<&mut Seen>,
        turn: &mut Turn<'_>,
    ) -> Ticket {
        let model = &subject.model;
        if let Some(seen) = &mut seen {
            seen.note(&answer);
        }
        let Answer { page, outside } = answer;
        self.pages += 1;
        self.received += (page.items.len() + page.bad.len()) as u64;
        if self.token.is_none() {
            self.started_at_ms = page.started_at_ms;
            if let Some(seen) = &mut seen {
                seen.started_at_ms = page.started_at_ms;
            }
        }
        if !page.errors.is_empty() {
            turn.effects.push(Effect::NonApplicable {
                model: model.clone(),
                errors: page.errors,
            });
        }
        let next_token = page.next_token.clone().filter(|_| !planted("first-page-only"));
        let cursor_token = next_token.filter(|_| !planted("cursor-ahead-of-pages"));
        let cursor = self.advance(subject, seen.as_deref(), cursor_token);
        let ticket = turn.tickets.next();
        let batch = RemoteBatch {
            records: if self.pages == 2 && planted("second-page-dropped") {
                Vec::new()
            } else {
                page.items
            },
            outside,
            bad: page.bad.into_iter().map(|bad| quarantined(model, bad)).collect(),
            as_of_ms: self.as_of_ms(),
            cursor,
            ..RemoteBatch::new(Origin::Sync, model.clone())
        };
        turn.effects.push(Effect::Store { ticket, batch });
        self.token = page.next_token.filter(|_| !planted("first-page-only"));
        if self.token.is_none() {
            self.fetch = Fetch::Over { truncated: false };
        } else if self.received >= self.limit {
            self.fetch = Fetch::Over { truncated: true };
        } else {
            self.ask(model, turn);
        }
        ticket
    }

    /// Up to when what changed must show on the pages; `None` for a delta sync, which tells of old versions as well.
    fn as_of_ms(&self) -> Option<i64> {
        let started_at_ms = self.started_at_ms.filter(|_| self.kind == SyncKind::Base)?;
        Some(started_at_ms.saturating_sub(MARGIN_MS))
    }

    /// The cursor to be stored with a page.
    ///
    /// A server that does not say when it started gives no time to go on from: nothing is claimed, and what was
    /// claimed of an earlier paging is taken back.
    fn advance(
        &mut self,
        subject: &Subject,
        seen: Option<&Seen>,
        next_token: Option<String>,
    ) -> Option<SyncCursor> {
        let expression = subject.expression.as_deref();
        let cursor = match (self.started_at_ms, next_token) {
            (Some(started_at_ms), Some(next_token)) => {
                let paging = Paging {
                    kind: self.kind,
                    next_token,
                    started_at_ms,
                    received: self.received,
                    fresh: self.fresh,
                    limit: self.limit,
                };
                self.cursor.paged(expression, paging)
            }
            (Some(started_at_ms), None) if self.ending(seen) == Ending::Synced => {
                self.cursor.finished(expression, self.kind, started_at_ms)
            }
            (Some(started_at_ms), None) => self.cursor.fetched(expression, started_at_ms),
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
