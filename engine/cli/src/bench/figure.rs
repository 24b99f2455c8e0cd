//! A measured figure with its floor, and how figures are printed.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value as Json, json};

/// One measured figure.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// What the machine does without Landfall, in the same unit.
    pub(super) floor: f64,
    /// How the two compare; larger is better.
    pub(super) ratio: f64,
    /// The least that the ratio should be.
    pub(super) target: f64,
}

impl Figure {
    /// A figure of which more is better, such as rows per second.
    pub(super) fn rate(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        floor: f64,
        target: f64,
    ) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            floor,
            ratio: value / floor,
            target,
        }
    }

    /// A figure of which less is better, such as a duration.
    pub(super) fn cost(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        floor: f64,
        target: f64,
    ) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            floor,
            ratio: floor / value,
            target,
        }
    }

    /// Whether the target is met.
    pub(super) fn is_met(&self) -> bool {
        self.ratio >= self.target
    }
}

/// The names of the figures that miss their target.
pub(super) fn missed(figures: &[Figure]) -> Vec<&str> {
    let missed = figures.iter().filter(|figure| !figure.is_met());
    missed.map(|figure| figure.name.as_str()).collect()
}

pub(super) fn json(figures: &[Figure]) -> Json {
    let figures: Vec<Json> = figures
        .iter()
        .map(|figure| {
            json!({
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "floor": figure.floor,
                "ratio": figure.ratio,
                "target": figure.target,
                "met": figure.is_met(),
            })
        })
        .collect();
    json!({ "figures": figures })
}

pub(super) fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["figure", "value", "floor", "unit", "ratio", "at least", ""]);
    for figure in figures {
        table.add_row([
            figure.name.clone(),
            number(figure.value),
            number(figure.floor),
            figure.unit.to_owned(),
            format!("{:.2}", figure.ratio),
            format!("{:.2}", figure.target),
            if figure.is_met() {
                "met".to_owned()
            } else {
                "missed".to_owned()
            },
        ]);
    }
    for column in [1, 2, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_no_number_is_missed_as_one_below_its_target_is() {
        let figures = [
            Figure::rate("fast", "rows/s", 8.0, 10.0, 0.8),
            Figure::rate("slow", "rows/s", 7.9, 10.0, 0.8),
            Figure::cost("late", "ms", 2.0, 1.0, 1.0),
            Figure::cost("never", "ms", 0.0, 0.0, 1.0),
        ];
        assert_eq!(missed(&figures), ["slow", "late", "never"]);
        assert_eq!(json(&figures)["figures"][0]["met"], true);
        assert_eq!(json(&figures)["figures"][1]["met"], false);
    }
}
