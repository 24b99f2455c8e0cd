//! What a server counts, in the text form that Prometheus reads.
//!
//! Owns the counters of calls and the page of all metrics. Invariant: labels come from the schema and from the lists in
//! this file, never from what callers send, so that the page has a bound.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::http::HttpReply;
use crate::service::{Backend, Job};

/// Upper bounds of the buckets of durations, in seconds; a call lasts 30 seconds at most.
const BUCKETS_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// What was called: its kind, and the root field if it has only one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operation {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

impl Operation {
    pub(super) fn of(job: &Job) -> Self {
        Self {
            kind: if job.is_mutation() { "mutation" } else { "query" },
            name: job.operation(),
        }
    }
}

impl Default for Operation {
    /// What was refused before it was understood.
    fn default() -> Self {
        Self {
            kind: "none",
            name: "none".to_owned(),
        }
    }
}

/// What became of a call.
pub(super) fn outcome(reply: &HttpReply, timed_out: bool) -> &'static str {
    match reply.status {
        _ if timed_out => "timeout",
        _ if reply.lost => "lost",
        200 if reply.errors == 0 => "ok",
        200 => "errors",
        401 | 403 => "unauthorized",
        408 => "timeout",
        429 => "throttled",
        400..=499 => "refused",
        _ => "failed",
    }
}

/// Counters of calls.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    by_outcome: BTreeMap<(Operation, &'static str), u64>,
    by_kind: BTreeMap<&'static str, Durations>,
}

/// Durations of the calls of a kind.
#[derive(Debug, Default)]
struct Durations {
    /// How many fell into each bucket; the last holds those beyond all bounds.
    buckets: [u64; BUCKETS_S.len() + 1],
    sum_s: f64,
}

impl Metrics {
    pub(super) fn called(&self, operation: Operation, outcome: &'static str, took: Duration) {
        let took_s = took.as_secs_f64();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = calls.by_kind.entry(operation.kind).or_default();
        let bucket = BUCKETS_S.partition_point(|bound_s| *bound_s < took_s);
        durations.buckets[bucket] += 1;
        durations.sum_s += took_s;
        *calls.by_outcome.entry((operation, outcome)).or_default() += 1;
    }

    /// The page of all metrics; `sockets` is the number of open ones.
    pub(super) fn page(&self, backend: &Backend, sockets: usize) -> String {
        let mut page = Page::default();
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        page.describe(
            "landfall_requests_total",
            "counter",
            "Calls by operation and outcome.",
        );
        for ((operation, outcome), count) in &calls.by_outcome {
            let Operation { kind, name } = operation;
            page.line(
                "landfall_requests_total",
                &format!(r#"{{kind="{kind}",operation="{name}",outcome="{outcome}"}}"#),
                count,
            );
        }
        page.durations(&calls.by_kind);
        drop(calls);
        page.number("landfall_sockets", "gauge", "Open sockets.", sockets);
        page.backend(backend);
        page.text
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        let written = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        written.expect("memory takes text");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        writeln!(self.text, "{name}{labels} {value}").expect("memory takes text");
    }

    fn number(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.describe(name, kind, help);
        self.line(name, "", value);
    }

    fn durations(&mut self, by_kind: &BTreeMap<&'static str, Durations>) {
        const NAME: &str = "landfall_request_duration_seconds";
        self.describe(NAME, "histogram", "Time from the head of a call to its reply.");
        for (kind, durations) in by_kind {
            let mut count = 0;
            for (bound_s, here) in BUCKETS_S.iter().zip(durations.buckets) {
                count += here;
                self.line(
                    "landfall_request_duration_seconds_bucket",
                    &format!(r#"{{kind="{kind}",le="{bound_s}"}}"#),
                    count,
                );
            }
            count += durations.buckets[BUCKETS_S.len()];
            let labels = format!(r#"{{kind="{kind}"}}"#);
            self.line(
                "landfall_request_duration_seconds_bucket",
                &format!(r#"{{kind="{kind}",le="+Inf"}}"#),
                count,
            );
            self.line("landfall_request_duration_seconds_sum", &labels, durations.sum_s);
            self.line("landfall_request_duration_seconds_count", &labels, count);
        }
    }

    fn backend(&mut self, backend: &Backend) {
        let (connections, subscriptions) = backend.realtime_population();
        let realtime = backend.realtime_tally();
        let rows = backend.row_tally();
        for (name, kind, help, value) in [
            (
                "landfall_realtime_connections",
                "gauge",
                "Realtime connections.",
                connections as u64,
            ),
            (
                "landfall_realtime_subscriptions",
                "gauge",
                "Subscriptions.",
                subscriptions as u64,
            ),
            (
                "landfall_realtime_messages_total",
                "counter",
                "Messages for subscribers that were queued.",
                realtime.messages,
            ),
            (
                "landfall_realtime_oversize_total",
                "counter",
                "Messages for subscribers that were too long to be sent.",
                realtime.oversize,
            ),
            (
                "landfall_realtime_slow_total",
                "counter",
                "Connections that were cut because they did not keep up.",
                realtime.slow,
            ),
            (
                "landfall_rows_read_total",
                "counter",
                "Rows that queries evaluated.",
                rows.read,
            ),
            (
                "landfall_rows_written_total",
                "counter",
                "Records that mutations wrote.",
                rows.written,
            ),
        ] {
            self.number(name, kind, help, value);
        }
        self.stored(backend);
    }

    fn stored(&mut self, backend: &Backend) {
        let rows = backend.row_tally();
        self.describe(
            "landfall_conflicts_total",
            "counter",
            "Writes on an old version, by what became of them.",
        );
        for (resolution, count) in [
            ("merged", rows.merged),
            ("handled", rows.handled),
            ("refused", rows.refused),
        ] {
            self.line(
                "landfall_conflicts_total",
                &format!(r#"{{resolution="{resolution}"}}"#),
                count,
            );
        }
        // A store that cannot be read shows in its health; the other figures are still of use.
        if let Ok(stored) = backend.stored_rows() {
            self.describe(
                "landfall_rows",
                "gauge",
                "Rows that are stored, tombstones included.",
            );
            for (table, count) in stored {
                self.line("landfall_rows", &format!(r#"{{table="{table}"}}"#), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_of_the_next_bound_and_are_added_up() {
        let metrics = Metrics::default();
        for took_ms in [1, 2, 40_000] {
            metrics.called(Operation::default(), "ok", Duration::from_millis(took_ms));
        }
        let mut page = Page::default();
        page.durations(&metrics.calls.lock().unwrap().by_kind);
        for line in [
            r#"landfall_request_duration_seconds_bucket{kind="none",le="0.0005"} 0"#,
            r#"landfall_request_duration_seconds_bucket{kind="none",le="0.001"} 1"#,
            r#"landfall_request_duration_seconds_bucket{kind="none",le="0.0025"} 2"#,
            r#"landfall_request_duration_seconds_bucket{kind="none",le="30"} 2"#,
            r#"landfall_request_duration_seconds_bucket{kind="none",le="+Inf"} 3"#,
            r#"landfall_request_duration_seconds_sum{kind="none"} 40.003"#,
            r#"landfall_request_duration_seconds_count{kind="none"} 3"#,
        ] {
            assert!(page.text.lines().any(|own| own == line), "{line}\n{}", page.text);
        }
    }
}
