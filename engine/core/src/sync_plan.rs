//! When a model needs a base sync, when a delta sync will do, and where paging resumes.
//!
//! Owns [`SyncCursor`] and [`plan`]. Does not talk to the server.
//!
//! Invariants: 1. `last_sync_ms` is a time of the server's clock, never of ours; 2. it only moves when a sync reached
//! its last page; 3. a sync that was cut off by the record limit does not move it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::planted::planted;

/// How far sync of a model has got (Amplify's `ModelMetadata`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCursor {
    /// `startedAt` of the last finished sync, in milliseconds of the server's clock; sent as `lastSync`.
    pub last_sync_ms: Option<i64>,
    /// `startedAt` of the last finished base sync.
    pub last_full_sync_ms: Option<i64>,
    /// The sync expression in force then, as canonical JSON text; `None` for everything.
    pub expression: Option<String>,
    /// Set while a sync is between its first and last page.
    pub paging: Option<Paging>,
}

/// A sync between its first and last page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// Base or delta.
    pub kind: SyncKind,
    /// Token of the next page.
    pub next_token: String,
    /// `startedAt` of the first page.
    pub started_at_ms: i64,
    /// Records received since the first page.
    pub received: u64,
    /// Whether the store held nothing of the model when the first page was asked for, so that nothing can be left
    /// over when the last one is stored.
    #[serde(default)]
    pub fresh: bool,
    /// With how many records received the record limit cuts it off; moves on each time that it does, so that a sync whose
    /// token is refused afterwards gets further than the last time. 0 if nothing is known of it.
    #[serde(default)]
    pub limit: u64,
}

/// How old what is known of a model may be before everything is fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncAges {
    /// Since the last full sync (Amplify's `fullSyncInterval`).
    pub full_sync_interval: Duration,
    /// Since the last sync of any kind: how long the server remembers what was deleted. After that a delta sync would
    /// not mention everything that has gone.
    pub tombstone_life: Duration,
    /// Since the last sync of any kind, for a model with a sync expression: how far back the server's list of changes
    /// goes. It answers an older delta sync with everything, so that a full one costs no more and also tells what
    /// no longer satisfies the expression.
    pub delta_life: Duration,
}

/// Which kind of sync the client asks for; the server may answer a delta request with everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncKind {
    /// Everything.
    Base,
    /// What changed since `lastSync`.
    Delta,
}

/// What the next sync of a model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPlan {
    /// Base or delta.
    pub kind: SyncKind,
    /// `lastSync` to send; `None` for a base sync.
    pub last_sync_ms: Option<i64>,
    /// Page to resume at.
    pub resume: Option<Paging>,
}

/// Plans the next sync of a model.
///
/// A base sync is due if there was none, if the sync expression changed, if the last one is older than
/// [`SyncAges`] allow, or if the stored time lies in the future (a restored backup, a changed server).
///
/// Source: the JavaScript client counts the interval from the last full sync; the native ones from any sync, which
/// lets a full one never happen. `now_ms` is our wall clock and decides only *when*, never *what since*.
pub fn plan(cursor: &SyncCursor, expression: Option<&str>, ages: &SyncAges, now_ms: i64) -> SyncPlan {
    let base = SyncPlan {
        kind: SyncKind::Base,
        last_sync_ms: None,
        resume: None,
    };
    if cursor.expression.as_deref() != expression {
        return base;
    }
    let is_over = |since_ms: i64, age: Duration| {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_sub(since_ms) >= age_ms
    };
    let full_is_due = match (cursor.last_full_sync_ms, cursor.last_sync_ms) {
        (Some(full), Some(any)) => {
            full > now_ms.saturating_add(CLOCK_SKEW_MAX_MS)
                || is_over(full, ages.full_sync_interval)
                || is_over(any, ages.tombstone_life)
                || (expression.is_some() && is_over(any, ages.delta_life))
        }
        _ => true,
    };
    match (&cursor.paging, full_is_due) {
        // A page token outlives neither a change of kind nor of expression.
        (Some(paging), true) if paging.kind == SyncKind::Base => SyncPlan {
            resume: Some(paging.clone()),
            ..base
        },
        (_, true) => base,
        (paging, false) => SyncPlan {
            kind: SyncKind::Delta,
            last_sync_ms: cursor.last_sync_ms,
            resume: paging.clone().filter(|paging| paging.kind == SyncKind::Delta),
        },
    }
}

/// How far the server's clock may run ahead of ours before a stored time counts as coming from another server.
const CLOCK_SKEW_MAX_MS: i64 = 24 * 60 * 60 * 1_000;

impl SyncCursor {
    /// The cursor after a page that has a successor.
    #[must_use]
    pub fn paged(&self, expression: Option<&str>, paging: Paging) -> Self {
        let mut cursor = self.clone();
        if cursor.expression.as_deref() != expression {
            // Times of another expression say nothing about this one.
            cursor = Self {
                expression: expression.map(str::to_owned),
                ..Self::default()
            };
        }
        cursor.paging = Some(paging);
        cursor
    }

    /// The cursor after the last page of a base sync that has not removed what is left over.
    ///
    /// Delta syncs may go on from there, but a base sync stays due.
    #[must_use]
    pub fn fetched(&self, expression: Option<&str>, started_at_ms: i64) -> Self {
        let same = self.expression.as_deref() == expression;
        Self {
            last_sync_ms: Some(started_at_ms),
            last_full_sync_ms: self.last_full_sync_ms.filter(|_| same),
            expression: expression.map(str::to_owned),
            paging: None,
        }
    }

    /// The cursor after the last page.
    #[must_use]
    pub fn finished(&self, expression: Option<&str>, kind: SyncKind, started_at_ms: i64) -> Self {
        let last_full_sync_ms = match kind {
            SyncKind::Base => Some(started_at_ms),
            SyncKind::Delta => self.last_full_sync_ms,
        };
        Self {
            last_sync_ms: Some(started_at_ms + if planted("cursor-too-far") { 20_000 } else { 0 }),
            last_full_sync_ms,
            expression: expression.map(str::to_owned),
            paging: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SyncAges = SyncAges {
        full_sync_interval: Duration::from_secs(24 * 60 * 60),
        tombstone_life: Duration::from_secs(30 * 24 * 60 * 60),
        delta_life: Duration::from_secs(30 * 60),
    };
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    fn synced(at: i64) -> SyncCursor {
        SyncCursor::default().finished(None, SyncKind::Base, at)
    }

    #[test]
    fn the_first_sync_is_a_base_sync() {
        assert_eq!(plan(&SyncCursor::default(), None, &DAY, 5).kind, SyncKind::Base);
    }

    #[test]
    fn a_delta_sync_starts_from_the_servers_time() {
        let plan = plan(&synced(1_000), None, &DAY, 2_000);
        assert_eq!((plan.kind, plan.last_sync_ms), (SyncKind::Delta, Some(1_000)));
    }

    #[test]
    fn deltas_do_not_postpone_the_next_full_sync() {
        let cursor = synced(0).finished(None, SyncKind::Delta, DAY_MS - 1);
        assert_eq!(plan(&cursor, None, &DAY, DAY_MS - 1).kind, SyncKind::Delta);
        assert_eq!(plan(&cursor, None, &DAY, DAY_MS).kind, SyncKind::Base);
    }

    #[test]
    fn a_changed_expression_forces_a_base_sync() {
        assert_eq!(plan(&synced(1_000), Some("x"), &DAY, 2_000).kind, SyncKind::Base);
        let narrowed = SyncCursor::default().finished(Some("x"), SyncKind::Base, 1_000);
        assert_eq!(plan(&narrowed, None, &DAY, 2_000).kind, SyncKind::Base);
        assert_eq!(plan(&narrowed, Some("x"), &DAY, 2_000).kind, SyncKind::Delta);
    }

    #[test]
    fn a_time_far_in_the_future_is_not_believed() {
        assert_eq!(plan(&synced(3 * DAY_MS), None, &DAY, 0).kind, SyncKind::Base);
    }

    #[test]
    fn paging_resumes_where_it_stopped() {
        let paging = Paging {
            kind: SyncKind::Base,
            next_token: "t".into(),
            started_at_ms: 7,
            received: 1_000,
            fresh: true,
            limit: 0,
        };
        let cursor = SyncCursor::default().paged(None, paging.clone());
        assert_eq!(plan(&cursor, None, &DAY, 10).resume, Some(paging.clone()));
        assert_eq!(plan(&cursor, Some("x"), &DAY, 10).resume, None);
        let stale_delta = Paging {
            kind: SyncKind::Delta,
            ..paging
        };
        assert_eq!(
            plan(&SyncCursor::default().paged(None, stale_delta), None, &DAY, 10).resume,
            None
        );
    }

    #[test]
    fn what_the_server_forgets_makes_a_full_sync_due() {
        let patient = SyncAges {
            full_sync_interval: Duration::from_secs(365 * 24 * 60 * 60),
            ..DAY
        };
        let cursor = synced(0).finished(None, SyncKind::Delta, DAY_MS);
        let at = |now_ms| plan(&cursor, None, &patient, now_ms).kind;
        assert_eq!(at(31 * DAY_MS - 1), SyncKind::Delta);
        assert_eq!(at(31 * DAY_MS), SyncKind::Base, "tombstones may be gone");
        let narrow = synced(0).finished(Some("x"), SyncKind::Base, 0);
        let at = |now_ms| plan(&narrow, Some("x"), &patient, now_ms).kind;
        assert_eq!(at(30 * 60_000 - 1), SyncKind::Delta);
        assert_eq!(at(30 * 60_000), SyncKind::Base, "the list of changes ends there");
    }

    #[test]
    fn a_base_sync_that_left_something_over_stays_due() {
        let fetched = synced(1_000).fetched(None, 2_000);
        assert_eq!(
            (fetched.last_sync_ms, fetched.last_full_sync_ms),
            (Some(2_000), Some(1_000))
        );
        assert_eq!(SyncCursor::default().fetched(None, 2_000).last_full_sync_ms, None);
        assert_eq!(synced(1_000).fetched(Some("x"), 2_000).last_full_sync_ms, None);
    }
}
