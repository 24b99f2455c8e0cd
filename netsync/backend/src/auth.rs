//! Who is calling, and what they may do.
//!
//! Owns the five ways to authorize a call that AppSync has (API keys, tokens of user pools and of OpenID Connect
//! providers, signed requests, an authorizer of one's own) and the rules of `@auth`. Where the rules are applied is in
//! `execute/` and `realtime/`; here is only what they say.
//!
//! | file | owns |
//! |---|---|
//! | `credentials.rs` | where clients put what says who they are |
//! | `gate.rs` | which mode a call uses, and whether it is let in |
//! | `api_key.rs`, `tokens.rs`, `iam.rs`, `authorizer.rs` | one mode each |
//! | `identity.rs` | who is calling |
//! | `rules.rs` | what the schema says |
//! | `access.rs` | what a caller may do |
//!
//! Invariants: 1. what no rule allows is denied; 2. no secret is in any `Debug` output, log line or error.

mod access;
mod api_key;
mod authorizer;
mod credentials;
mod gate;
mod iam;
mod identity;
mod issue;
mod refusal;
mod rules;
mod settings;
mod tokens;
mod webhook;

pub(crate) use access::{Access, Verdict, compared_fields, shown_owner};
pub use api_key::ApiKey;
pub use authorizer::{Authorizer, AuthorizerAnswer, AuthorizerContext, AuthorizerFault, AuthorizerRequest};
pub(crate) use credentials::{Credentials, SUBPROTOCOL, percent_decode};
pub(crate) use gate::{Gate, Judgement, Presented, Signed};
pub use iam::{IamCredential, IamSigner};
pub use identity::IamRole;
pub(crate) use identity::{Caller, Provider};
pub use issue::{DevIssuer, TokenRequest};
pub(crate) use refusal::AuthRefused;
pub(crate) use rules::{ModelRules, Operation};
pub use settings::{AuthMode, AuthSettings, AuthorizerSettings, IamSettings, PatternFault, TokenPattern};
pub use tokens::{KeyFault, TokenIssuer, TokenKeys};
pub use webhook::Webhook;
