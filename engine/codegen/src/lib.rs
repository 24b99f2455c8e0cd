//! From a schema's source to a [`Schema`](landfall_core::Schema), and from there to Rust.
//!
//! [`parse_sdl`] reads GraphQL SDL with Amplify's directives, [`parse_schema`] reads introspection JSON as well,
//! [`generate`] writes the typed models that `include_schema!` and `landfall modelgen` give to an app.

mod diagnostics;
mod implied;
mod naming;
mod rust;
mod sdl;
mod source;
mod suggest;

pub use diagnostics::{SdlError, SdlErrors};
pub use implied::implied_keys;
pub use rust::{GenerateOptions, generate, generate_tokens};
pub use sdl::parse_sdl;
pub use source::parse_schema;
