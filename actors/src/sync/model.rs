//! Sync of one model: which page is asked for, what is stored with it, and what becomes of a failure.
//!
//! Owns [`ModelSync`]. Pure. When a model may begin, and what else goes on beside it, is `machine.rs`.
//!
//! | stage | begins | cursor read | page | failure, may pass | failure, will not | stored | not stored |
//! |---|---|---|---|---|---|---|---|
//! | queued | planning | | | | | - | - |
//! | planning | | paging | | waiting | | - | - |
//! | paging | | | stored, next one asked for; while another is being stored: held | waiting | page token refused: queued, from the first page; else failed | held page stored; after the last one settled, or queued if the pages began before the start | waiting |
//! | waiting | due: queued | | | | | - | - |
//! | sweeping | | | | | | listed, and what is in doubt asked for: what is not there is stored; the last portion: as after the last page | waiting |
//! | settled | due: queued | | | | | - | - |
//!
//! A settled model begins by itself again if it is polled, and if it failed for something that somebody has to mend.
//!
//! A try after a failure begins with the stored cursor like every other, so there is one way to resume. The cursor of
//! a page is stored in the transaction of the page. `startedAt` of the first page is kept and becomes `lastSync` with the
//! last one.
//!
//! A sync that reaches the record limit is truncated: its last cursor stays that of a sync between two pages, so
//! `lastSync` does not move and the next sync goes on where this one stopped, with a fresh allowance. Fetching the same
//! records again each time would never get past the limit; taking the model for synced would lose the rest for good.
//! Should the server refuse that cursor's token, what was fetched before does not count against the allowance.
//!
//! Pages that began before the start (they were cut off by an outage, the end of the process or the record limit) may
//! have been passed by what was made before anybody listened again: a scan of everything never looks back at where it
//! has been. So once they are through, the model is synced once more before it counts as settled. A try that goes on
//! within one start needs none of that, for the subscriptions listened all the while. Starting over instead would never
//! get to the end of a large model on a bad line.
//!
//! Invariants: 1. at most one page is being stored and at most one is ahead of it; 2. the cursor is read only while
//! nothing of the model is on its way to the store; 3. an answer to an older question has no effect; 4. a model is
//! synced once more at most for each start.

use std::time::Duration;

use landfall_core::{ModelName, SyncCursor, SyncKind, plan_sync};
use landfall_storage::Listing;
use landfall_wire::{Backoff, BackoffPolicy, Failure};

use super::catalog::Answer;
use super::doubts::Found;
use super::machine::{Effect, Limits};
use super::pages::{Ending, Fetch, PAGES_MAX, Pages, Start};
use super::seen::Seen;
use super::sweep::Sweep;
use super::trouble::{Remedy, Trouble, Unfit};
use crate::storage::RemoteCounts;

/// When a failed page is asked for again. A minute at most, so that a model is not long behind a server that is back.
pub(super) const RETRY_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 200,
    longest_ms: 60_000,
    attempts_max: None,
};

/// When a model is tried again that needs somebody to act, such as one that the user may not read: soon enough to be
/// noticed after a sign-in, seldom enough to be no load.
pub(super) const LATER_BACKOFF: BackoffPolicy = BackoffPolicy {
    first_ms: 2 * 60_000,
    longest_ms: 60 * 60_000,
    attempts_max: None,
};

/// Failures in a row after which nobody waits for a model any more: about half a second with the waits in between.
pub(super) const ATTEMPTS_BEFORE_BACKGROUND: u32 = 3;

/// How often a sync begins anew because its page token is refused or goes round in circles. Tokens expire, but not twice
/// in one sync.
pub(super) const RESTARTS_MAX: u32 = 2;

/// A model to be synced.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) model: ModelName,
    /// The sync expression as canonical JSON text.
    pub(super) expression: Option<String>,
    /// How often it is synced by itself, if it is.
    pub(super) poll: Option<Duration>,
    /// Why it cannot be synced, if it cannot.
    pub(super) unfit: Option<Unfit>,
}

/// Names one question, so that answers to older ones are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Makes tickets.
#[derive(Debug, Default)]
pub(super) struct Tickets(u64);

impl Tickets {
    pub(super) fn next(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}

/// A page to be asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) ticket: Ticket,
    pub(super) model: ModelName,
    pub(super) limit: u32,
    pub(super) token: Option<String>,
    pub(super) last_sync_ms: Option<i64>,
}

/// What a step of a model draws on.
pub(super) struct Turn<'a> {
    pub(super) now_ms: u64,
    pub(super) random: &'a mut dyn FnMut() -> u64,
    pub(super) limits: &'a Limits,
    pub(super) tickets: &'a mut Tickets,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// How far sync of one model has got.
#[derive(Debug)]
pub(super) struct ModelSync {
    subject: Subject,
    stage: Stage,
    /// The page that is on its way to the store.
    storing: Option<Ticket>,
    backoff: Backoff,
    /// Waits between tries of a model that needs somebody to act.
    later: Backoff,
    restarts: u32,
    /// What the full sync that goes on has met; kept while it is interrupted.
    seen: Option<Seen>,
    /// When a settled model begins by itself again.
    again_ms: Option<u64>,
    /// Whether nobody waits for it any more.
    background: bool,
    /// Whether the pages began before the start, so that nobody listened all the while.
    carried: bool,
    /// Whether everything was fetched since the model began.
    full: bool,
    counts: RemoteCounts,
    /// When everything is to be fetched again.
    full_due_ms: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    Queued { from: Start },
    Planning { from: Start, ticket: Ticket },
    Paging(Box<Pages>),
    Sweeping(Box<Sweep>),
    Waiting { from: Start, until_ms: u64 },
    Settled,
}

impl ModelSync {
    /// A model that has not begun.
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            stage: Stage::Settled,
            storing: None,
            backoff: Backoff::new(RETRY_BACKOFF),
            later: Backoff::new(LATER_BACKOFF),
            restarts: 0,
            seen: None,
            again_ms: None,
            background: false,
            carried: true,
            full: false,
            counts: RemoteCounts::default(),
            full_due_ms: None,
        }
    }

    /// Begins anew; what is on its way to the store is waited for.
    pub(super) fn queue(&mut self) {
        let (subject, storing, seen) = (self.subject.clone(), self.storing, self.seen.take());
        *self = Self {
            stage: Stage::Queued { from: Start::Stored },
            storing,
            seen,
            ..Self::new(subject)
        };
    }

    /// Gives up; what is on its way to the store is still noted when it arrives there.
    pub(super) fn cancel(&mut self) {
        self.stage = Stage::Settled;
        self.again_ms = None;
    }

    pub(super) fn model(&self) -> &ModelName {
        &self.subject.model
    }

    /// Whether nobody has to wait for it: synced, truncated, failed, or tried again in the background.
    pub(super) fn is_settled(&self) -> bool {
        self.background || matches!(self.stage, Stage::Settled)
    }

    /// Whether it could begin.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Queued { .. }) && self.storing.is_none()
    }

    /// Whether it takes a place among those that go on at the same time.
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self.stage,
            Stage::Planning { .. } | Stage::Paging(_) | Stage::Sweeping(_)
        )
    }

    /// When it wants to hear that time has passed.
    pub(super) fn due_ms(&self) -> Option<u64> {
        if let Stage::Waiting { until_ms, .. } = self.stage {
            Some(until_ms)
        } else {
            None
        }
    }

    /// When it begins by itself again, once all are settled.
    pub(super) fn again_ms(&self) -> Option<u64> {
        self.again_ms.filter(|_| matches!(self.stage, Stage::Settled))
    }

    /// Time has passed since all were settled.
    pub(super) fn wake_again(&mut self, now_ms: u64) {
        if self.again_ms().is_some_and(|again_ms| again_ms <= now_ms) {
            self.again_ms = None;
            self.counts = RemoteCounts::default();
            self.restarts = 0;
            self.full = false;
            self.stage = Stage::Queued { from: Start::Stored };
        }
    }

    /// When everything is to be fetched again; `None` unless it was synced.
    pub(super) fn full_due_ms(&self) -> Option<u64> {
        self.full_due_ms
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now_ms: u64) {
        if let Stage::Waiting { from, until_ms } = self.stage
            && until_ms <= now_ms
        {
            self.stage = Stage::Queued { from };
        }
    }

    /// Begins, if it is queued.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>) {
        let Stage::Queued { from } = self.stage else {
            return;
        };
        if let Some(unfit) = self.subject.unfit.clone() {
            return self.fail(Trouble::Unfit(unfit), turn);
        }
        let ticket = turn.tickets.next();
        self.stage = Stage::Planning { from, ticket };
        turn.effects.push(Effect::ReadCursor {
            ticket,
            model: self.model().clone(),
        });
    }

    /// The cursor was read. Returns whether it was asked for.
    pub(super) fn planned(
        &mut self,
        ticket: Ticket,
        cursor: Result<(SyncCursor, bool), String>,
        wall_ms: i64,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Stage::Planning {
            from,
            ticket: awaited,
        } = self.stage
        else {
            return false;
        };
        if awaited != ticket {
            return false;
        }
        match cursor {
            Ok((cursor, holds)) => self.plan(from, cursor, holds, wall_ms, turn),
            Err(reason) => self.fail(Trouble::Store(reason), turn),
        }
        true
    }

    fn plan(&mut self, from: Start, cursor: SyncCursor, holds: bool, wall_ms: i64, turn: &mut Turn<'_>) {
        let expression = self.subject.expression.as_deref();
        let plan = plan_sync(&cursor, expression, &turn.limits.ages, wall_ms);
        self.full_due_ms = match (plan.kind, cursor.last_full_sync_ms) {
            (SyncKind::Delta, Some(last_full_ms)) => {
                let elapsed_ms = u64::try_from(wall_ms.saturating_sub(last_full_ms)).unwrap_or(0);
                Some(
                    turn.now_ms
                        .saturating_add(turn.limits.interval_ms().saturating_sub(elapsed_ms)),
                )
            }
            _ => None,
        };
        let mut pages = Pages::new(from, plan, cursor, turn.limits.records_max, holds);
        self.carried &= pages.token.is_some();
        self.seen = pages.memory(self.seen.take());
        pages.ask(&self.subject.model, turn);
        self.stage = Stage::Paging(Box::new(pages));
    }

    /// A page came, or a failure. Returns whether it was asked for.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Result<Answer, Box<Failure>>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Stage::Paging(pages) = &mut self.stage else {
            return false;
        };
        if !matches!(pages.fetch, Fetch::Asked(awaited) if awaited == ticket) {
            return false;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                self.fail(Trouble::Server(failure), turn);
                return true;
            }
        };
        self.backoff.reset();
        self.later.reset();
        let next_token = &answer.page.next_token;
        if next_token.is_some() && *next_token == pages.token {
            self.fail(Trouble::Circle, turn);
        } else if pages.pages >= PAGES_MAX {
            self.fail(Trouble::Endless, turn);
        } else if self.storing.is_some() {
            pages.fetch = Fetch::Held(Box::new(answer));
        } else {
            self.storing = Some(pages.take(answer, &self.subject, self.seen.as_mut(), turn));
        }
        true
    }

    /// A page is stored, or could not be. Returns whether it was handed to the store.
    pub(super) fn stored(
        &mut self,
        ticket: Ticket,
        stored: Result<RemoteCounts, String>,
        turn: &mut Turn<'_>,
    ) -> bool {
        if self.storing != Some(ticket) {
            return false;
        }
        self.storing = None;
        if !matches!(self.stage, Stage::Paging(_) | Stage::Sweeping(_)) {
            return true;
        }
        let counts = match stored {
            Ok(counts) => counts,
            Err(reason) => {
                self.fail(Trouble::Store(reason), turn);
                return true;
            }
        };
        self.counts.new += counts.new;
        self.counts.updated += counts.updated;
        self.counts.deleted += counts.deleted;
        let pages = match &mut self.stage {
            Stage::Paging(pages) => pages,
            Stage::Sweeping(sweep) if sweep.is_over => {
                if let Some(records) = sweep.unexplained() {
                    turn.effects.push(Effect::Kept {
                        model: self.subject.model.clone(),
                        records: Some(records),
                    });
                }
                self.synced(SyncKind::Base, turn);
                return true;
            }
            Stage::Sweeping(sweep) => {
                sweep.list(&self.subject.model, turn);
                return true;
            }
            Stage::Queued { .. } | Stage::Planning { .. } | Stage::Waiting { .. } | Stage::Settled => {
                return true;
            }
        };
        pages.from = Start::Stored;
        turn.effects.push(Effect::Progress {
            model: self.subject.model.clone(),
            received: pages.received,
        });
        match std::mem::replace(&mut pages.fetch, Fetch::Over { truncated: false }) {
            Fetch::Held(answer) => {
                self.storing = Some(pages.take(*answer, &self.subject, self.seen.as_mut(), turn));
            }
            Fetch::Asked(ticket) => pages.fetch = Fetch::Asked(ticket),
            Fetch::Over { truncated } => self.settle(truncated, turn),
        }
        true
    }

    fn settle(&mut self, truncated: bool, turn: &mut Turn<'_>) {
        let Stage::Paging(pages) = std::mem::replace(&mut self.stage, Stage::Settled) else {
            return;
        };
        let model = self.subject.model.clone();
        if truncated {
            self.full_due_ms = None;
            self.poll(turn);
            turn.effects.push(Effect::Truncated {
                model,
                received: pages.received,
            });
            return;
        }
        match pages.ending(self.seen.as_ref()) {
            Ending::Synced => {
                if self.seen.as_ref().is_some_and(|seen| !seen.is_whole()) {
                    turn.effects.push(Effect::Kept { model, records: None });
                }
                self.synced(pages.kind, turn);
            }
            Ending::Again => {
                // The full sync that follows finds what these pages were passed by.
                self.carried = false;
                self.synced(pages.kind, turn);
                self.full_due_ms = Some(turn.now_ms);
            }
            Ending::Sweep { started_at_ms } => {
                let cursor = pages.finished(&self.subject, started_at_ms);
                let mut sweep = Sweep::new(cursor, started_at_ms, self.seen.as_ref());
                sweep.list(&model, turn);
                self.stage = Stage::Sweeping(Box::new(sweep));
            }
        }
    }

    fn synced(&mut self, kind: SyncKind, turn: &mut Turn<'_>) {
        self.seen = None;
        if kind == SyncKind::Base {
            self.full = true;
            self.full_due_ms = Some(turn.now_ms.saturating_add(turn.limits.interval_ms()));
        }
        if std::mem::take(&mut self.carried) {
            self.restarts = 0;
            self.stage = Stage::Queued { from: Start::Stored };
            return;
        }
        self.stage = Stage::Settled;
        self.poll(turn);
        turn.effects.push(Effect::Synced {
            model: self.subject.model.clone(),
            kind: if self.full { SyncKind::Base } else { kind },
            counts: self.counts,
        });
    }

    /// Begins by itself again if it is polled.
    fn poll(&mut self, turn: &Turn<'_>) {
        let interval_ms = self
            .subject
            .poll
            .map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        self.again_ms = interval_ms.map(|interval_ms| turn.now_ms.saturating_add(interval_ms));
    }

    /// A portion of what the store holds is listed, or could not be. Returns whether it was asked for.
    pub(super) fn listed(
        &mut self,
        ticket: Ticket,
        listed: Result<Listing, String>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let (Stage::Sweeping(sweep), Some(seen)) = (&mut self.stage, &self.seen) else {
            return false;
        };
        if sweep.listing != Some(ticket) {
            return false;
        }
        match listed {
            Ok(listing) => self.storing = sweep.take(listing, seen, &self.subject.model, turn),
            Err(reason) => self.fail(Trouble::Store(reason), turn),
        }
        true
    }

    /// The server answered what it has of a record that was not met, or will not. Returns whether it was asked.
    pub(super) fn inquired(
        &mut self,
        ticket: Ticket,
        found: Result<Found, Box<Failure>>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Stage::Sweeping(sweep) = &mut self.stage else {
            return false;
        };
        let Some(storing) = sweep.inquired(ticket, found, &self.subject.model, turn) else {
            return false;
        };
        self.storing = storing;
        true
    }

    fn fail(&mut self, trouble: Trouble, turn: &mut Turn<'_>) {
        let model = self.subject.model.clone();
        let (from, mid_way) = match &self.stage {
            Stage::Paging(pages) => (pages.from, pages.token.is_some()),
            Stage::Queued { from } | Stage::Planning { from, .. } | Stage::Waiting { from, .. } => {
                (*from, false)
            }
            Stage::Sweeping(_) | Stage::Settled => (Start::Stored, false),
        };
        match trouble.remedy() {
            Remedy::Wait { retry_after_ms } => {
                let wait_ms = self
                    .backoff
                    .next(retry_after_ms, turn.random)
                    .unwrap_or(RETRY_BACKOFF.longest_ms);
                self.stage = Stage::Waiting {
                    from,
                    until_ms: turn.now_ms.saturating_add(wait_ms),
                };
                if self.backoff.attempts() == ATTEMPTS_BEFORE_BACKGROUND {
                    self.background = true;
                    turn.effects.push(Effect::Failed {
                        model,
                        trouble,
                        tried_again: true,
                    });
                }
            }
            Remedy::FirstPage if mid_way && self.restarts < RESTARTS_MAX => {
                self.restarts += 1;
                self.stage = Stage::Queued {
                    from: Start::FirstPage,
                };
            }
            Remedy::FirstPage | Remedy::Later => {
                self.stage = Stage::Settled;
                self.full_due_ms = None;
                let wait_ms = self
                    .later
                    .next(None, turn.random)
                    .unwrap_or(LATER_BACKOFF.longest_ms);
                self.again_ms = Some(turn.now_ms.saturating_add(wait_ms));
                if self.later.attempts() == 1 {
                    turn.effects.push(Effect::Failed {
                        model,
                        trouble,
                        tried_again: true,
                    });
                }
            }
            Remedy::None => {
                self.stage = Stage::Settled;
                self.full_due_ms = None;
                turn.effects.push(Effect::Failed {
                    model,
                    trouble,
                    tried_again: false,
                });
            }
        }
    }
}
