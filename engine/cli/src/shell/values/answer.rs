//! What a session answers of records: their fields under the names that the line protocol gives them.
//!
//! Owns [`Form`]. A foreign key that somebody wrote into the schema is a field like any other; one that a relation implies
//! is known by the relation alone, in records and in what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall::{Error, FieldName, InvalidRecord, ModelDef, ModelName, Record, Schema, WriteRefused};
use landfall_core::FieldType;
use serde_json::Value as Json;

use super::Fault;

/// The form of answers, which the source of a schema decides.
#[derive(Debug)]
pub(crate) struct Form {
    schema: Arc<Schema>,
    /// Foreign keys that relations imply, by model.
    implied: BTreeMap<ModelName, BTreeSet<FieldName>>,
}

impl Form {
    /// That of a schema with these implied foreign keys.
    pub(crate) fn new(schema: &Arc<Schema>, implied: BTreeMap<ModelName, BTreeSet<FieldName>>) -> Self {
        Self {
            schema: Arc::clone(schema),
            implied,
        }
    }

    /// A record: its own fields, related records as their id under the relation's name, and the server's metadata.
    pub(crate) fn record(&self, record: &Record) -> Json {
        let mut json = landfall::record_json(record);
        let def = record.def();
        if let (Json::Object(members), Some(implied)) = (&mut json, self.implied.get(&def.name)) {
            members.retain(|name, _| !implied.contains(name.as_str()));
        }
        for (field, association) in def.relations() {
            let targets = association.targets();
            let FieldType::Model(other) = &field.ty else {
                continue;
            };
            let Some(other) = self.schema.model(other).filter(|_| !targets.is_empty()) else {
                continue;
            };
            let values: Vec<Json> = targets
                .iter()
                .map(|target| record.get(target).map_or(Json::Null, Json::from))
                .collect();
            json[field.name.as_str()] = match values.as_slice() {
                [only] => only.clone(),
                many if many.iter().any(Json::is_null) => Json::Null,
                many => {
                    let names = other.key.fields.iter().map(ToString::to_string);
                    Json::Object(names.zip(many.iter().cloned()).collect())
                }
            };
        }
        json
    }

    /// Why a write was refused, in words.
    pub(crate) fn refused(&self, def: &ModelDef, error: Error) -> Fault {
        match error {
            Error::Refused(WriteRefused::Invalid(invalid)) => self.named(def, invalid).to_string(),
            error => error.to_string(),
        }
    }

    /// The same faults, where a foreign key that a relation implies has the relation's name.
    fn named(&self, def: &ModelDef, mut invalid: InvalidRecord) -> InvalidRecord {
        let Some(implied) = self.implied.get(&def.name) else {
            return invalid;
        };
        for fault in &mut invalid.faults {
            let Some(key) = implied.get(fault.path.as_str()) else {
                continue;
            };
            let relation = def
                .relations()
                .find(|(_, association)| association.targets().contains(key));
            if let Some((field, _)) = relation {
                fault.path = field.name.to_string();
            }
        }
        // A key of several fields lacks each of them.
        invalid.faults.dedup();
        invalid
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SDL: &str = "
        type Blog @model { posts: [Post]! @hasMany notes: [Note] @hasMany }
        type Post @model { title: String! blog: Blog! @belongsTo editorId: ID! editor: Blog! @belongsTo(fields: [\"editorId\"]) }
        type Note @model { text: String }
        type Device @model { org: ID! @primaryKey(sortKeyFields: [\"serial\"]) serial: Int! readings: [Reading!]! @hasMany }
        type Reading @model { device: Device! @belongsTo }";

    fn form() -> Form {
        let schema = Arc::new(landfall_codegen::parse_sdl("s.graphql", SDL).unwrap());
        let implied = landfall_codegen::implied_keys(SDL, &schema);
        Form::new(&schema, implied)
    }

    fn record(form: &Form, model: &str, fields: &[(&str, landfall::Value)]) -> Record {
        let def = Arc::clone(form.schema.model(model).unwrap());
        let mut record = Record::new(def, Vec::new());
        for (name, value) in fields {
            record.set(name, value.clone());
        }
        record
    }

    #[test]
    fn a_key_that_a_relation_implies_is_answered_under_the_name_of_the_relation_alone() {
        let form = form();
        let post = record(
            &form,
            "Post",
            &[
                ("id", "p".into()),
                ("title", "t".into()),
                ("blogPostsId", "b".into()),
                ("editorId", "e".into()),
            ],
        );
        let stamps = json!(null);
        assert_eq!(
            form.record(&post),
            json!({"id": "p", "title": "t", "editorId": "e", "createdAt": stamps, "updatedAt": stamps,
                   "blog": "b", "editor": "e"})
        );
        let reading = [
            ("id", "r".into()),
            ("deviceReadingsOrg", "o".into()),
            ("deviceReadingsSerial", 1.into()),
        ];
        assert_eq!(
            form.record(&record(&form, "Reading", &reading)),
            json!({"id": "r", "createdAt": stamps, "updatedAt": stamps, "device": {"org": "o", "serial": 1}})
        );
        // Only the other side knows the relation, so that there is no other name.
        let note = record(&form, "Note", &[("id", "n".into()), ("blogNotesId", "b".into())]);
        assert_eq!(form.record(&note)["blogNotesId"], "b");
    }

    #[test]
    fn what_a_record_lacks_is_told_by_the_name_that_it_is_set_by() {
        let form = form();
        let told = |model: &str| {
            let record = record(&form, model, &[("id", "x".into())]);
            let def = form.schema.model(model).unwrap();
            let mut values = record.values().to_vec();
            let invalid = landfall_core::validate(&form.schema, def, &mut values).unwrap_err();
            form.refused(def, WriteRefused::Invalid(invalid).into())
        };
        assert_eq!(
            told("Post"),
            "`Post` cannot be saved: `title` is required; `editorId` is required; `blog` is required"
        );
        assert_eq!(told("Reading"), "`Reading` cannot be saved: `device` is required");
    }
}
