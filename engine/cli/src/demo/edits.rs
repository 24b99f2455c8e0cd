//! The edits that the two boats made of one record while neither was online, and what became of them.
//!
//! Owns [`Edits`]. What it says is found in the record that came of them, not taken from the story.

use landfall::{Record, Value};

use super::story::Story;

/// Edits of one record, each by somebody.
#[derive(Default)]
pub(super) struct Edits(Vec<(&'static str, &'static str, Value)>);

impl Edits {
    /// Takes note of what somebody set.
    pub(super) fn by(&mut self, who: &'static str, fields: &[(&'static str, Value)]) {
        let edits = fields.iter().map(|(name, value)| (who, *name, value.clone()));
        self.0.extend(edits);
    }

    /// Tells which of them gave way to what; answers with the words for how many are in the record.
    pub(super) fn tell(&self, story: &Story, record: &Record) -> String {
        let gave_way = self.gave_way(record);
        for line in &gave_way {
            story.tell(line);
        }
        match (self.0.len(), gave_way.len()) {
            (_, 0) => "every edit".to_owned(),
            (all, lost) => format!("{} of {all} edits", all - lost),
        }
    }

    fn gave_way(&self, record: &Record) -> Vec<String> {
        let now = |field: &str| record.get(field).cloned().unwrap_or(Value::Null);
        let gave_way = self.0.iter().filter(|(_, field, value)| now(field) != *value);
        let lines = gave_way.map(|(who, field, value)| {
            let contested = self.0.iter().any(|(other, name, _)| other != who && name == field);
            let why = if contested {
                ""
            } else {
                ", which nobody had changed: automerge keeps what the server has of each field that a late change sets"
            };
            format!("{who}'s {field} {value} gave way to {}{why}.", now(field))
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_edit_that_is_not_in_the_record_gave_way() {
        let sdl = "type Buoy @model { condition: String depthMetres: Float notes: String }";
        let schema = landfall_codegen::parse_sdl("s.graphql", sdl).unwrap();
        let mut record = Record::new(Arc::clone(schema.model("Buoy").unwrap()), Vec::new());
        record.set("condition", "DAMAGED".into());
        record.set("depthMetres", 12.5.into());
        record.set("notes", "worn".into());
        let mut edits = Edits::default();
        edits.by(
            "Anna",
            &[("condition", "DAMAGED".into()), ("notes", "worn".into())],
        );
        assert_eq!(edits.tell(&Story::new(), &record), "every edit");
        edits.by(
            "Berta",
            &[("condition", "LOST".into()), ("depthMetres", 14.0.into())],
        );
        assert_eq!(edits.tell(&Story::new(), &record), "2 of 4 edits");
        let [contested, alone] = &edits.gave_way(&record)[..] else {
            panic!("two edits are not there");
        };
        assert_eq!(contested, "Berta's condition \"LOST\" gave way to \"DAMAGED\".");
        assert!(
            alone.starts_with("Berta's depthMetres 14.0 gave way to 12.5, which nobody"),
            "{alone}"
        );
    }
}
