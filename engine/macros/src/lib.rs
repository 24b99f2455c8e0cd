//! `include_schema!` and `inline_schema!`: typed models from a schema, made while the app compiles.
//!
//! Owns the reading of the file and the reporting of its faults as errors of the compiler. Reading the schema and
//! generating code are the business of `landfall-codegen`.

use std::path::Path;

use landfall_codegen::{GenerateOptions, generate_tokens, parse_schema};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{LitStr, Token};

/// What a macro is given: a path or the text of a schema, and perhaps the name under which the app knows the crate
/// `landfall`.
struct Arguments {
    path: LitStr,
    root: Option<String>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let path = input.parse()?;
        let mut root = None;
        if input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            root = Some(input.parse::<syn::Path>()?.to_token_stream().to_string());
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self { path, root })
    }
}

/// Generates typed models from a schema: GraphQL SDL with Amplify's directives, or introspection JSON.
///
/// The path is relative to the folder of the app's `Cargo.toml`. The models are generated in place, so that a module of
/// their own keeps them apart: `mod models { landfall::include_schema!("schema.graphql"); }`. When the file changes,
/// the app is compiled anew. Faults of the schema are errors of the compiler that give line and column.
///
/// An app that knows Landfall under another name says so: `include_schema!("schema.graphql", crate = ::store)`.
#[proc_macro]
pub fn include_schema(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let arguments = syn::parse_macro_input!(input as Arguments);
    expand(&arguments)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Generates typed models from a schema that stands in the source itself; otherwise as [`include_schema!`].
///
/// For small schemas and examples: `inline_schema!("type Todo @model { text: String! }")`.
#[proc_macro]
pub fn inline_schema(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let arguments = syn::parse_macro_input!(input as Arguments);
    models(&arguments, "schema", &arguments.path.value())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(arguments: &Arguments) -> syn::Result<TokenStream> {
    let span = arguments.path.span();
    let name = arguments.path.value();
    let folder = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| {
        fault(
            span,
            "`include_schema!` needs Cargo, which says where the app's folder is",
        )
    })?;
    let path = Path::new(&folder).join(&name);
    let source = std::fs::read_to_string(&path).map_err(|error| {
        fault(
            span,
            &format!("the schema {} cannot be read: {error}", path.display()),
        )
    })?;
    let models = models(arguments, &name, &source)?;
    let path = path.to_string_lossy();
    Ok(quote! {
        // The compiler watches the files that are included, and only those.
        const _: &str = ::core::include_str!(#path);
        #models
    })
}

/// The models of a schema of that name and text.
fn models(arguments: &Arguments, name: &str, source: &str) -> syn::Result<TokenStream> {
    let refused = |errors: landfall_codegen::SdlErrors| fault(arguments.path.span(), &errors.to_string());
    let schema = parse_schema(name, source).map_err(refused)?;
    let mut options = GenerateOptions::default();
    if let Some(root) = &arguments.root {
        options = options.with_root(root);
    }
    Ok(generate_tokens(&schema, &options))
}

fn fault(span: Span, message: &str) -> syn::Error {
    syn::Error::new(span, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str) -> Result<String, String> {
        let arguments: Arguments = syn::parse_str(arguments).map_err(|error| error.to_string())?;
        expand(&arguments)
            .map(|tokens| tokens.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn faults_of_the_schema_give_line_and_column() {
        let error = expanded("\"../../tests/fixtures/schemas/broken/syntax.graphql\"").expect_err("a fault");
        let place =
            "../../tests/fixtures/schemas/broken/syntax.graphql:2:3: there is no `:` after the field `title`";
        assert!(error.starts_with(place), "{error}");
    }

    #[test]
    fn a_schema_may_stand_in_the_source() {
        let arguments: Arguments = syn::parse_str("\"type Todo @model { text: String! }\"").expect("a text");
        let code = models(&arguments, "schema", &arguments.path.value())
            .expect("code")
            .to_string();
        assert!(code.contains("impl :: landfall :: Model for Todo"));
        let arguments: Arguments = syn::parse_str("\"type Todo @model { text: Strng! }\"").expect("a text");
        let error = models(&arguments, "schema", &arguments.path.value())
            .expect_err("a fault")
            .to_string();
        assert!(error.starts_with("schema:1:26"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = expanded("\"nowhere.graphql\"").expect_err("a fault");
        assert!(error.contains("nowhere.graphql cannot be read: "), "{error}");
    }

    #[test]
    fn the_crate_may_have_another_name() {
        let path = "\"../../tests/fixtures/schemas/blog.graphql\"";
        let code = expanded(&format!("{path}, crate = ::store")).expect("code");
        assert!(code.contains("impl :: store :: Model for Post"));
        assert!(
            expanded(path)
                .expect("code")
                .contains("impl :: landfall :: Model for Post")
        );
        assert!(expanded(&format!("{path}, root")).is_err());
    }
}
