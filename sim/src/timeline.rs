//! A run as a picture: one HTML file without anything from outside.
//!
//! Owns [`timeline`]. Time goes down; clients and the server are lanes, messages arrows, faults bands, a violation a red
//! line. Everything that comes from a run is escaped.

use std::fmt::Write as _;

use crate::plan::{Fault, Plan};
use crate::run::Outcome;
use crate::trace::{Arrow, Line};

/// Width of a lane, in pixels.
const LANE: u64 = 260;

/// Pixels a simulated second takes, before the picture would become too high.
const SECOND: u64 = 60;

/// Highest picture, in pixels; longer runs are drawn closer.
const HEIGHT_MAX: u64 = 60_000;

/// Most arrows and most lines that are drawn; a browser does not like more.
const DRAWN_MAX: usize = 20_000;

struct Scale {
    height: u64,
    span_ms: u64,
    clients: Vec<String>,
}

impl Scale {
    fn y(&self, at_ms: u64) -> u64 {
        40 + at_ms * self.height / self.span_ms.max(1)
    }

    fn x(&self, lane: usize) -> u64 {
        100 + LANE / 2 + LANE * lane as u64
    }

    /// The server is the lane behind the last client.
    fn server_x(&self) -> u64 {
        self.x(self.clients.len())
    }

    fn lane(&self, who: &str) -> Option<usize> {
        self.clients.iter().position(|client| client == who)
    }
}

/// Draws a run that was kept ([`RunOptions::record`](crate::RunOptions)).
pub fn timeline(plan: &Plan, outcome: &Outcome) -> String {
    let empty = crate::trace::Recording::default();
    let recording = outcome.recording.as_ref().unwrap_or(&empty);
    let span_ms = outcome.elapsed_ms.min(
        outcome
            .violations
            .first()
            .map_or(plan.busy_ms + 60_000, |violation| violation.at_ms + 2_000),
    );
    let scale = Scale {
        height: (span_ms * SECOND / 1_000).clamp(400, HEIGHT_MAX),
        span_ms,
        clients: plan.clients.iter().map(|client| client.name.clone()).collect(),
    };
    let mut svg = String::new();
    bands(&mut svg, plan, &scale);
    lanes(&mut svg, &scale);
    for arrow in newest(&recording.arrows, |arrow| {
        arrow.sent_ms <= span_ms && scale.lane(&arrow.client).is_some()
    }) {
        draw_arrow(&mut svg, arrow, &scale);
    }
    for line in newest(&recording.lines, |line| {
        line.at_ms <= span_ms && scale.lane(&line.who).is_some()
    }) {
        draw_line(&mut svg, line, &scale);
    }
    for violation in &outcome.violations {
        let y = scale.y(violation.at_ms);
        put(
            &mut svg,
            &format!(
                "<line x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\" class=\"violation\"/><text x=\"8\" y=\"{}\" \
                 class=\"violation\">{}</text>",
                y.saturating_sub(4),
                escape(&violation.to_string())
            ),
        );
    }
    page(plan, outcome, &scale, &svg)
}

/// The newest of those that are to be drawn, oldest first: what led to a violation is near the end.
fn newest<T>(all: &[T], is_drawn: impl Fn(&T) -> bool) -> impl Iterator<Item = &T> {
    let mut newest: Vec<&T> = all
        .iter()
        .rev()
        .filter(|one| is_drawn(one))
        .take(DRAWN_MAX)
        .collect();
    newest.reverse();
    newest.into_iter()
}

fn put(svg: &mut String, more: &str) {
    // Writing into a string cannot fail.
    let _: Result<(), std::fmt::Error> = writeln!(svg, "{more}");
}

fn bands(svg: &mut String, plan: &Plan, scale: &Scale) {
    for step in plan.faults.iter().filter(|step| step.at_ms <= scale.span_ms) {
        let json = serde_json::to_value(&step.fault).unwrap_or_default();
        let number = |name: &str| json.get(name).and_then(serde_json::Value::as_u64);
        let ms = match &step.fault {
            Fault::Bursts { times, ms, .. } => 2 * u64::from(*times) * ms,
            Fault::Swizzle {
                clients, step_ms, ms, ..
            } => ms + 2 * step_ms * clients.len() as u64,
            _ => number("ms").or_else(|| number("offMs")).unwrap_or(0),
        };
        let (left, width) = match step.fault.client() {
            Some(client) => (scale.x(client) - LANE / 2 + 4, LANE - 8),
            None => (scale.server_x() - LANE / 2 + 4, LANE - 8),
        };
        let (top, bottom) = (scale.y(step.at_ms), scale.y((step.at_ms + ms).min(scale.span_ms)));
        put(
            svg,
            &format!(
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{}\" class=\"fault {}\"><title>{}</title></rect>\
                 <text x=\"{}\" y=\"{}\" class=\"fault\">{} {}</text>",
                (bottom - top).max(3),
                step.fault.id().chars().next().unwrap_or('x'),
                escape(&json.to_string()),
                left + 3,
                top + 10,
                step.fault.id(),
                step.fault.name()
            ),
        );
    }
}

fn lanes(svg: &mut String, scale: &Scale) {
    let names = scale.clients.iter().map(String::as_str).chain(["server"]);
    for (lane, name) in names.enumerate() {
        let x = scale.x(lane);
        put(
            svg,
            &format!(
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"30\" y2=\"{}\" class=\"lane\"/><text x=\"{x}\" y=\"20\" \
                 class=\"name\">{}</text>",
                scale.y(scale.span_ms),
                escape(name)
            ),
        );
    }
    let step = (scale.span_ms / 200).max(1_000).next_multiple_of(1_000);
    let mut at_ms = 0;
    while at_ms <= scale.span_ms {
        put(
            svg,
            &format!(
                "<text x=\"8\" y=\"{}\" class=\"time\">{} s</text>",
                scale.y(at_ms) + 4,
                at_ms / 1_000
            ),
        );
        at_ms += step;
    }
}

fn draw_arrow(svg: &mut String, arrow: &Arrow, scale: &Scale) {
    let Some(lane) = scale.lane(&arrow.client) else {
        return;
    };
    if arrow.sent_ms > scale.span_ms {
        return;
    }
    let (client, server) = (scale.x(lane), scale.server_x());
    let title = escape(&format!(
        "{} of {} at {} ms",
        arrow.label, arrow.client, arrow.sent_ms
    ));
    let mut leg = |from: u64, to: u64, sent: u64, arrived: Option<u64>, class: &str| {
        let (end, class, at_ms) = match arrived {
            Some(at_ms) => (to, class, at_ms),
            // A message that never arrived ends half way.
            None => (from.midpoint(to), "lost", sent + 300),
        };
        put(
            svg,
            &format!(
                "<line x1=\"{from}\" y1=\"{}\" x2=\"{end}\" y2=\"{}\" class=\"{class}\" \
                 marker-end=\"url(#head)\"><title>{title}</title></line>",
                scale.y(sent),
                scale.y(at_ms.min(scale.span_ms))
            ),
        );
    };
    if arrow.from_server {
        return leg(server, client, arrow.sent_ms, arrow.arrived_ms, "message");
    }
    leg(
        client,
        server,
        arrow.sent_ms,
        arrow.arrived_ms.or(arrow.back_ms),
        "request",
    );
    if let Some(arrived) = arrow.arrived_ms {
        leg(server, client, arrived, arrow.back_ms, "reply");
    }
}

/// What a client's user did, and what became of the client; what its actors handle is too much for a picture.
fn draw_line(svg: &mut String, line: &Line, scale: &Scale) {
    let Some(lane) = scale.lane(&line.who) else { return };
    put(
        svg,
        &format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"3\" class=\"act\"/><text x=\"{}\" y=\"{}\" class=\"act\">{}</text>",
            scale.x(lane),
            scale.y(line.at_ms),
            scale.x(lane) + 6,
            scale.y(line.at_ms) + 3,
            escape(&line.what)
        ),
    );
}

fn page(plan: &Plan, outcome: &Outcome, scale: &Scale, svg: &str) -> String {
    let verdict = match outcome.violations.first() {
        Some(violation) => format!("violated: {violation}"),
        None => "nothing was violated".to_owned(),
    };
    let width = 100 + LANE * (scale.clients.len() as u64 + 1);
    let story: Vec<String> = outcome.story.iter().map(|line| escape(line)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Landfall, seed {seed}</title>\n\
         <style>{STYLE}</style></head>\n<body><h1>Seed {seed}, profile {profile}</h1>\n<p>{verdict}</p>\n\
         <p>{writes} writes, {crashes} power cuts, {lines} trace lines, trace {hash}. Hover over arrows and bands.</p>\n\
         <pre>{story}</pre>\n<svg width=\"{width}\" height=\"{height}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <defs><marker id=\"head\" markerWidth=\"7\" markerHeight=\"7\" refX=\"6\" refY=\"3\" orient=\"auto\">\
         <path d=\"M0,0 L6,3 L0,6 z\"/></marker></defs>\n{svg}</svg></body></html>\n",
        seed = plan.seed,
        profile = plan.profile.name(),
        verdict = escape(&verdict),
        writes = outcome.acknowledged,
        crashes = outcome.crashes,
        lines = outcome.trace_lines,
        hash = outcome.trace_hash,
        story = story.join("\n"),
        height = scale.height + 80,
    )
}

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:1.5rem;color:#222;background:#fff}\
svg{border:1px solid #ddd}.lane{stroke:#999;stroke-width:1.5}.name{font-weight:600;text-anchor:middle}\
.time{fill:#888;font-size:10px}.request{stroke:#2563a8}.reply{stroke:#3a8f4d}.message{stroke:#8a5cb8}\
.lost{stroke:#c33;stroke-dasharray:4 3}rect.fault{fill:#f2c14e;opacity:.35}rect.S{fill:#d98e5f}rect.C{fill:#888}\
rect.U{fill:#7fb3d5}text.fault{font-size:9px;fill:#7a5a00}.act{font-size:9px;fill:#222}\
line.violation{stroke:#d00;stroke-width:2}text.violation{fill:#d00;font-weight:600;font-size:12px}\
pre{background:#f6f6f6;padding:.5rem;overflow:auto;max-height:20rem}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Profile, generate};
    use crate::run::{RunOptions, run};

    #[test]
    fn a_timeline_shows_lanes_arrows_and_faults_and_loads_nothing() {
        let plan = generate(3, Profile::Net, None, 10_000);
        let options = RunOptions {
            record: true,
            ..RunOptions::default()
        };
        let page = timeline(&plan, &run(&plan, options));
        for part in ["anna", "server", "class=\"request\"", "rect", "</html>"] {
            assert!(page.contains(part), "{part} is missing");
        }
        for outside in ["<script", "src=", "href="] {
            assert!(!page.contains(outside), "{outside} must not be there");
        }
        assert_eq!(escape("<a&\">"), "&lt;a&amp;&quot;&gt;");
    }
}
