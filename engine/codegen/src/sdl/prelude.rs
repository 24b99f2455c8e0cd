//! Amplify's directives and AppSync's scalars, defined in `prelude.graphql`.
//!
//! Owns access to the definitions. Invariant: the text is valid GraphQL, which a test checks.

use std::sync::LazyLock;

use apollo_compiler::Node;
use apollo_compiler::ast::{
    Definition, DirectiveDefinition, Document, EnumTypeDefinition, InputObjectTypeDefinition,
};
use indexmap::IndexMap;

/// The definitions as text, under the name that parse errors show.
const SOURCE: (&str, &str) = (include_str!("prelude.graphql"), "prelude.graphql");

/// The definitions by name.
pub(super) struct Prelude {
    pub(super) document: Document,
    pub(super) directives: IndexMap<String, Node<DirectiveDefinition>>,
    pub(super) inputs: IndexMap<String, Node<InputObjectTypeDefinition>>,
    pub(super) enums: IndexMap<String, Node<EnumTypeDefinition>>,
}

static PRELUDE: LazyLock<Prelude> = LazyLock::new(|| {
    let document = match Document::parse(SOURCE.0, SOURCE.1) {
        Ok(document) => document,
        Err(faults) => panic!("the prelude is not valid GraphQL: {}", faults.errors),
    };
    let mut prelude = Prelude {
        document,
        directives: IndexMap::new(),
        inputs: IndexMap::new(),
        enums: IndexMap::new(),
    };
    for definition in &prelude.document.definitions {
        match definition {
            Definition::DirectiveDefinition(def) => {
                prelude.directives.insert(def.name.to_string(), def.clone());
            }
            Definition::InputObjectTypeDefinition(def) => {
                prelude.inputs.insert(def.name.to_string(), def.clone());
            }
            Definition::EnumTypeDefinition(def) => {
                prelude.enums.insert(def.name.to_string(), def.clone());
            }
            _ => {}
        }
    }
    prelude
});

/// The definitions.
pub(super) fn prelude() -> &'static Prelude {
    &PRELUDE
}

#[cfg(test)]
mod tests {
    use landfall_core::Scalar;

    use super::*;

    #[test]
    fn the_prelude_is_valid_and_defines_every_aws_scalar() {
        let with_root = format!("{}\ntype Query {{ x: Int }}", SOURCE.0);
        let schema = apollo_compiler::Schema::parse_and_validate(with_root, SOURCE.1);
        let schema = schema.expect("valid GraphQL");
        for scalar in Scalar::all().filter(|scalar| scalar.name().starts_with("AWS")) {
            assert!(schema.types.contains_key(scalar.name()), "{scalar}");
        }
        assert!(prelude().directives.contains_key("model"));
    }
}
