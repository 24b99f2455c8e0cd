//! `landfall modelgen`: Rust models, or model-introspection JSON, for a schema.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use landfall_core::Schema;
use serde_json::Value as Json;

use crate::schema_file::{self, Implied};

/// Prints to standard output; nothing is written elsewhere.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// GraphQL SDL with Amplify's directives, or model-introspection JSON.
    schema: PathBuf,
    /// Print model-introspection JSON instead of Rust.
    #[arg(long)]
    introspection: bool,
}

pub(crate) fn run(args: &Args) -> miette::Result<ExitCode> {
    let (schema, implied) = schema_file::read_with_implied(&args.schema)?;
    let text = if args.introspection {
        format!("{:#}\n", introspection(&schema, &implied))
    } else {
        landfall_codegen::generate(&schema, &landfall_codegen::GenerateOptions::default())
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// Introspection JSON as Amplify's generator writes it: without the foreign keys that relations imply, since their readers make
/// those themselves. Where they could not, because more is known of the keys than the relations say, they stay.
fn introspection(schema: &Schema, implied: &Implied) -> Json {
    let whole = landfall_core::schema_to_json(schema);
    let mut document = whole.clone();
    for (model, keys) in implied {
        if let Some(fields) = document["models"][model.as_str()]["fields"].as_object_mut() {
            fields.retain(|name, _| !keys.contains(name.as_str()));
        }
    }
    match landfall_core::schema_from_json(&document) {
        Ok(read) if read == *schema => document,
        _ => whole,
    }
}

/// A reader that closes the pipe early, such as `head`, is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).unwrap_or(());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document for a schema, and whether it reads as the same schema.
    fn written(sdl: &str) -> (Json, bool) {
        let schema = schema_file::parse("s.graphql", sdl).expect("sound");
        let document = introspection(&schema, &landfall_codegen::implied_keys(sdl, &schema));
        let read = landfall_core::schema_from_json(&document);
        (document, read == Ok(schema))
    }

    #[test]
    fn keys_that_relations_imply_are_left_to_them_unless_they_say_less() {
        let (document, same) = written(
            "type Blog @model { posts: [Post] @hasMany }
             type Post @model { editorId: ID blog: Blog @belongsTo editor: Blog @belongsTo(fields: [\"editorId\"]) }",
        );
        let fields = &document["models"]["Post"]["fields"];
        assert!(
            same && fields["blogPostsId"].is_null() && fields["editorId"].is_object(),
            "{fields}"
        );
        // That the key is required is said by the other side alone.
        let (document, same) = written(
            "type Blog @model { posts: [Post]! @hasMany }
             type Post @model { blog: Blog @belongsTo }",
        );
        let fields = &document["models"]["Post"]["fields"];
        assert!(same && fields["blogPostsId"].is_object(), "{fields}");
    }
}
