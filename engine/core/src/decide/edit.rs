//! What an edit of a parked mutation leads to.
//!
//! Owns [`decide_edit`]. Reads nothing but its arguments.

use super::{WriteRefused, parents};
use crate::entry::Edited;
use crate::mutation::{Mutation, MutationKind};
use crate::record::FieldMap;
use crate::schema::{ModelDef, Schema};
use crate::state::RecordState;
use crate::validate::{FieldFault, InvalidRecord, validate};
use crate::value::Value;

/// Decides an edit: the mutation sets these fields from here on, in place of those that it sets now.
///
/// # Errors
/// [`WriteRefused::NothingToEdit`] for a delete, [`WriteRefused::Gone`] for an update of a record that is no longer
/// here, [`WriteRefused::Invalid`] if a field cannot be set or the record would not fit its model.
pub fn decide_edit(
    schema: &Schema,
    def: &ModelDef,
    state: &RecordState,
    mutation: &Mutation,
    mut patch: FieldMap,
) -> Result<Edited, WriteRefused> {
    let key = mutation.key.clone();
    let mut values = match mutation.kind {
        MutationKind::Delete => return Err(WriteRefused::NothingToEdit { key }),
        MutationKind::Create => vec![Value::Null; def.stored_len()],
        MutationKind::Update => match &state.row {
            Some(row) => row.clone(),
            None => return Err(WriteRefused::Gone { key }),
        },
    };
    // Whoever changes a field of what was refused and hands all of it in again says who the record is, and no more.
    let identifier = key.id.to_fields(def);
    patch.retain(|name, value| identifier.get(name) != Some(value));
    let faults: Vec<FieldFault> = patch
        .keys()
        .filter(|name| {
            let field = def.field(name).filter(|field| field.is_stored());
            field.is_none_or(|field| field.read_only || def.key.fields.contains(*name))
        })
        .map(|name| FieldFault {
            path: name.to_string(),
            message: "cannot be set by an edit: it is no field that clients write, or part of the identifier"
                .to_owned(),
        })
        .collect();
    if !faults.is_empty() {
        return Err(WriteRefused::Invalid(InvalidRecord {
            model: def.name.clone(),
            faults,
        }));
    }
    if mutation.kind == MutationKind::Create {
        patch.extend(identifier);
    }
    for (name, value) in &patch {
        if let Some(slot) = def.slot(name) {
            values[slot.index()] = value.clone();
        }
    }
    validate(schema, def, &mut values)?;
    for (name, value) in &mut patch {
        if let Some(slot) = def.slot(name) {
            // In the form that rows hold.
            *value = values[slot.index()].clone();
        }
    }
    Ok(Edited {
        mutation: mutation.seq,
        parents: parents(schema, def, &values),
        whole: mutation.kind == MutationKind::Create,
        key,
        patch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Refusal, Seq, Stage};
    use crate::record::RecordKey;
    use crate::test_support::blog;

    fn parked(kind: MutationKind) -> Mutation {
        Mutation {
            seq: Seq(3),
            key: RecordKey::new("Todo", "t1"),
            kind,
            patch: FieldMap::new(),
            condition: None,
            base_version: None,
            stage: Stage::Parked(Refusal {
                error_type: None,
                message: "no".into(),
            }),
            attempts: 1,
            conflict_rounds: 9,
            parents: Vec::new(),
            group: None,
            base: None,
        }
    }

    fn edit(kind: MutationKind, patch: &[(&str, Value)]) -> Result<FieldMap, String> {
        let schema = blog();
        let def = schema.model("Todo").expect("the model of every script");
        let patch = patch
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect();
        decide_edit(&schema, def, &RecordState::default(), &parked(kind), patch)
            .map(|edited| edited.patch)
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_create_is_edited_as_a_whole_and_keeps_its_identifier() {
        let patch = edit(MutationKind::Create, &[("title", "new".into())]).expect("it is valid");
        assert_eq!(patch.get("id"), Some(&Value::from("t1")));
        assert_eq!(patch.get("title"), Some(&Value::from("new")));
        let with_its_identifier = [("id", "t1".into()), ("title", "new".into())];
        assert_eq!(edit(MutationKind::Create, &with_its_identifier), Ok(patch));
    }

    #[test]
    fn what_cannot_be_edited_is_refused_with_a_reason() {
        assert!(
            edit(MutationKind::Create, &[("id", "t2".into())])
                .expect_err("the identifier stays")
                .contains("`id`")
        );
        assert!(
            edit(MutationKind::Create, &[("colour", "red".into())])
                .expect_err("there is no such field")
                .contains("`colour`")
        );
        assert!(
            edit(MutationKind::Delete, &[])
                .expect_err("nothing to edit")
                .contains("is a delete")
        );
        assert!(
            edit(MutationKind::Update, &[])
                .expect_err("the record is gone")
                .contains("was deleted")
        );
    }
}
