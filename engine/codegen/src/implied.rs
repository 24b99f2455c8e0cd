//! Which fields a schema has without its source saying so.
//!
//! Owns [`implied_keys`]. A [`Schema`] does not tell a foreign key that somebody wrote from one that a relation implies,
//! and it is of no consequence for storing and syncing; whoever shows records to people asks the source again.

use std::collections::{BTreeMap, BTreeSet};

use apollo_compiler::ast::Definition;
use landfall_core::{FieldName, ModelName, Schema};
use serde_json::Value as Json;

use crate::sdl::parser;
use crate::source::{Form, form};

/// The foreign keys of each model that its relations imply, for a schema and the source that it was read from.
///
/// Those are known by the relations that they stand for. A foreign key that only the other side's has-many knows is not among
/// them, since the record has no other name for it; neither are those of models that the source does not write, such as the
/// join models of `@manyToMany`.
///
/// ```
/// let source = "type Blog @model { posts: [Post] @hasMany }
///               type Post @model { blog: Blog @belongsTo }";
/// let schema = landfall_codegen::parse_schema("schema.graphql", source).unwrap();
/// let implied = landfall_codegen::implied_keys(source, &schema);
/// assert!(implied["Post"].contains("blogPostsId"));
/// ```
pub fn implied_keys(source: &str, schema: &Schema) -> BTreeMap<ModelName, BTreeSet<FieldName>> {
    let written = match form(source) {
        Form::Sdl(sdl) => written_in_sdl(sdl),
        Form::Json(json) => written_in_json(json),
    };
    let implied = schema.models().filter_map(|def| {
        let written = written.get(def.name.as_str())?;
        let targets = def.relations().flat_map(|(_, association)| association.targets());
        let implied: BTreeSet<FieldName> = targets
            .filter(|target| !written.contains(target.as_str()))
            .cloned()
            .collect();
        (!implied.is_empty()).then(|| (def.name.clone(), implied))
    });
    implied.collect()
}

/// Names of fields by type.
type Written = BTreeMap<String, BTreeSet<String>>;

/// What SDL writes; of a source that is faulty, what could be read.
fn written_in_sdl(sdl: &str) -> Written {
    let document = match parser().parse_ast(sdl, "schema") {
        Ok(document) => document,
        Err(partial) => partial.partial,
    };
    let mut written = Written::new();
    for definition in &document.definitions {
        let (name, fields) = match definition {
            Definition::ObjectTypeDefinition(object) => (&object.name, &object.fields),
            Definition::ObjectTypeExtension(object) => (&object.name, &object.fields),
            _ => continue,
        };
        let names = fields.iter().map(|field| field.name.to_string());
        written.entry(name.to_string()).or_default().extend(names);
    }
    written
}

/// What introspection JSON writes.
fn written_in_json(json: &str) -> Written {
    let document: Json = serde_json::from_str(json).unwrap_or_default();
    let document = document.pointer("/data/model_introspection").unwrap_or(&document);
    let models = document["models"].as_object().into_iter().flatten();
    let written = models.map(|(name, model)| {
        let fields = model["fields"].as_object().into_iter().flatten();
        (name.clone(), fields.map(|(field, _)| field.clone()).collect())
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_schema;

    fn listed(source: &str) -> Vec<String> {
        let schema = parse_schema("schema", source).unwrap();
        let implied = implied_keys(source, &schema);
        let names = implied
            .iter()
            .flat_map(|(model, fields)| fields.iter().map(move |field| format!("{model}.{field}")));
        names.collect()
    }

    #[test]
    fn keys_that_a_relation_implies_are_told_from_those_that_are_written() {
        let source = "
            type Blog @model { posts: [Post] @hasMany notes: [Note] @hasMany }
            type Post @model { blog: Blog @belongsTo leaf: Leaf @hasOne tags: [Tag] @manyToMany(relationName: \"Tagged\") }
            type Tag @model { posts: [Post] @manyToMany(relationName: \"Tagged\") }
            type Leaf @model { postId: ID post: Post @belongsTo(fields: [\"postId\"]) }
            type Note @model { text: String }";
        // The key that only `Blog.notes` knows of a note has no other name, and a join model is not written at all.
        assert_eq!(listed(source), ["Post.blogPostsId", "Post.postLeafId"]);
    }

    #[test]
    fn a_key_that_an_extension_writes_is_written() {
        let source = "
            type Blog @model { posts: [Post] @hasMany }
            type Post @model { blog: Blog @belongsTo }
            extend type Post { blogPostsId: ID }";
        assert_eq!(listed(source), Vec::<String>::new());
    }

    #[test]
    fn documents_write_their_keys_or_leave_them_to_the_relation() {
        let source = "
            type Blog @model { posts: [Post] @hasMany }
            type Post @model { blog: Blog @belongsTo }";
        let schema = parse_schema("schema", source).unwrap();
        let mut document = landfall_core::schema_to_json(&schema);
        assert_eq!(listed(&document.to_string()), Vec::<String>::new());
        // As Amplify's generator writes it.
        document["models"]["Post"]["fields"]
            .as_object_mut()
            .unwrap()
            .shift_remove("blogPostsId");
        let module = format!("export const schema = {document};");
        for source in [document.to_string(), module] {
            assert_eq!(listed(&source), ["Post.blogPostsId"]);
        }
    }
}
