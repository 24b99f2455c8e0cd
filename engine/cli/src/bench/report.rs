//! The report of a benchmark as one HTML file that needs nothing else: figures in a table, curves as plots.
//!
//! Owns the page and its plots. Both axes are logarithmic; a plot shows rates, so that higher is better.

use std::fmt::Write as _;

use super::curves::{Curve, Point};
use super::figure::{Figure, number};

/// Size of a plot and of the space around its field, in pixels.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;\
color:#1b1f24;background:#fff}h1,h2{line-height:1.2}table{border-collapse:collapse;margin:1rem 0}\
td,th{padding:.25rem .75rem;border-bottom:1px solid #d0d7de;text-align:right}\
td:first-child,th:first-child{text-align:left}.missed{color:#b42318}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:1rem}figure{margin:0}\
svg{width:100%;height:auto}.axis{stroke:#8c959f}.grid{stroke:#eaeef2}.ours{stroke:#0969da;fill:#0969da}\
.sqlite{stroke:#bc4c00;fill:#bc4c00}.line{fill:none;stroke-width:2}text{font-size:12px;fill:#57606a;stroke:none}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}td,th{border-color:#30363d}\
.grid{stroke:#21262d}text{fill:#8d96a0}.ours{stroke:#4493f8;fill:#4493f8}.sqlite{stroke:#f0883e;fill:#f0883e}}";

/// The page.
pub(super) fn html(figures: &[Figure], curves: &[Curve], quick: bool) -> String {
    let mut page = String::new();
    let warning = if quick {
        "<p>Measured with few rows: a check that everything runs, not a measurement.</p>"
    } else {
        ""
    };
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Landfall: benchmark</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Landfall: benchmark</h1>{warning}\
         <p>Landfall {} on {} ({}). A floor is what this machine does with the same rows and without Landfall; more of \
         a ratio is better.</p>",
        env!("CARGO_PKG_VERSION"),
        escaped(std::env::consts::OS),
        escaped(std::env::consts::ARCH),
    );
    if !figures.is_empty() {
        page.push_str(&table(figures));
    }
    if !curves.is_empty() {
        page.push_str(
            "<h2>Over the number of records</h2><p>Beside SQLite in WAL mode with synchronous FULL, which has one writer: its \
             line under concurrent savers is that of one transaction after another.</p><div class=\"plots\">",
        );
        for curve in curves {
            page.push_str(&plot(curve));
        }
        page.push_str("</div>");
    }
    page.push_str("</body></html>\n");
    page
}

fn table(figures: &[Figure]) -> String {
    let mut out = String::from(
        "<h2>Figures</h2><table><tr><th>figure</th><th>value</th><th>floor</th><th>unit</th><th>ratio</th>\
         <th>at least</th><th></th></tr>",
    );
    for figure in figures {
        let (class, word) = if figure.is_met() {
            ("met", "met")
        } else {
            ("missed", "missed")
        };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td class=\"{class}\">{word}</td></tr>",
            escaped(&figure.name),
            number(figure.value),
            number(figure.floor),
            escaped(figure.unit),
            figure.ratio,
            figure.target,
        );
    }
    out.push_str("</table>");
    out
}

/// Where things are in a plot.
struct Scale {
    columns: (f64, f64),
    rows: (f64, f64),
}

impl Scale {
    fn of(points: &[Point]) -> Self {
        let log = |value: f64| value.max(1e-9).log10();
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let columns = bounds(&mut points.iter().map(|point| log(point.rows as f64)));
        let rows = bounds(
            &mut points
                .iter()
                .flat_map(|point| [log(point.ours), log(point.sqlite)]),
        );
        Self {
            columns: (columns.0, columns.1.max(columns.0 + 1.0)),
            rows: (rows.0.floor(), rows.1.ceil().max(rows.0.floor() + 1.0)),
        }
    }

    fn x(&self, records: f64) -> f64 {
        let share = (records.max(1e-9).log10() - self.columns.0) / (self.columns.1 - self.columns.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, rate: f64) -> f64 {
        let share = (rate.max(1e-9).log10() - self.rows.0) / (self.rows.1 - self.rows.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

fn plot(curve: &Curve) -> String {
    let scale = Scale::of(&curve.points);
    let mut out = format!(
        "<figure><figcaption><strong>{}</strong>, {}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{}\">",
        escaped(curve.name),
        escaped(curve.unit),
        escaped(curve.name),
    );
    axes(&mut out, curve, &scale);
    line(&mut out, curve, &scale, "ours", "Landfall", |point| point.ours);
    line(&mut out, curve, &scale, "sqlite", "SQLite", |point| point.sqlite);
    out.push_str("</svg></figure>");
    out
}

fn axes(out: &mut String, curve: &Curve, scale: &Scale) {
    let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut exponent = scale.rows.0;
    while exponent <= scale.rows.1 {
        let y = scale.y(10_f64.powf(exponent));
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + 4.0,
            number(10_f64.powf(exponent)),
        );
        exponent += 1.0;
    }
    for point in &curve.points {
        let x = scale.x(point.rows as f64);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} records</text>",
            bottom + 16.0,
            point.rows,
        );
    }
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <line class=\"axis\" x1=\"{left}\" x2=\"{left}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
    );
}

fn line(out: &mut String, curve: &Curve, scale: &Scale, class: &str, label: &str, of: fn(&Point) -> f64) {
    let places: Vec<(f64, f64, f64)> = curve
        .points
        .iter()
        .map(|point| (scale.x(point.rows as f64), scale.y(of(point)), of(point)))
        .collect();
    let path: Vec<String> = places.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(
        out,
        "<polyline class=\"line {class}\" points=\"{}\"/>",
        path.join(" ")
    );
    for ((x, y, rate), point) in places.iter().zip(&curve.points) {
        let _ = write!(
            out,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{label}: {} {} at {} records</title></circle>",
            number(*rate),
            escaped(curve.unit),
            point.rows,
        );
    }
    if let Some((x, y, _)) = places.first() {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            x + 8.0,
            y - 8.0
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let points = [1_000, 100_000, 1_000_000].map(|rows| Point {
            rows,
            ours: 2e6 / rows as f64,
            sqlite: 1e6 / rows as f64,
        });
        let curve = Curve {
            name: "scan <all> & more",
            unit: "queries/s",
            points: points.to_vec(),
        };
        let figures = [
            Figure::rate("saves", "saves/s", 9.0, 10.0, 0.8),
            Figure::rate("gets", "gets/s", 1.0, 10.0, 0.8),
        ];
        html(&figures, &[curve], false)
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page();
        for foreign in ["http", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("scan &lt;all&gt; &amp; more") && !page.contains("<all>"));
        assert_eq!(page.matches("class=\"missed\"").count(), 1);
    }

    #[test]
    fn every_point_lies_in_its_plot() {
        let page = page();
        assert_eq!(
            (page.matches("<polyline").count(), page.matches("<circle").count()),
            (2, 6)
        );
        let numbers = |mark: &str| -> Vec<f64> {
            let after = page.split(mark).skip(1);
            after
                .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
                .collect()
        };
        let (xs, ys) = (numbers("cx=\""), numbers("cy=\""));
        assert!(xs.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{xs:?}");
        assert!(ys.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)), "{ys:?}");
        // Slower with more records, and twice as fast is higher up.
        assert!(ys[0] < ys[1] && ys[1] < ys[2] && ys[0] < ys[3]);
        for tag in ["svg", "figure", "table", "div", "body", "html"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            let opened =
                page.matches(&format!("{opened}>")).count() + page.matches(&format!("{opened} ")).count();
            assert_eq!(opened, page.matches(&closed).count(), "{tag}");
        }
    }

    #[test]
    fn one_size_and_equal_rates_are_drawn_as_well() {
        let point = Point {
            rows: 1,
            ours: 1.0,
            sqlite: 1.0,
        };
        let curve = Curve {
            name: "n",
            unit: "u",
            points: vec![point],
        };
        assert!(!html(&[], &[curve], true).contains("NaN"));
    }
}
