//! Who is calling, once the credentials were found good.
//!
//! Owns [`Caller`] and the reading of names and groups out of claims. Does not check credentials (`gate.rs`).

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

/// Where an identity comes from, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Provider {
    ApiKey,
    /// Signed requests; `identityPool` in rules is another word for it.
    Iam,
    Oidc,
    UserPools,
    Function,
}

impl Provider {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "apiKey" => Self::ApiKey,
            "iam" | "identityPool" => Self::Iam,
            "oidc" => Self::Oidc,
            "userPools" => Self::UserPools,
            "function" => Self::Function,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::Iam => "iam",
            Self::Oidc => "oidc",
            Self::UserPools => "userPools",
            Self::Function => "function",
        }
    }
}

/// Who is calling.
#[derive(Clone, PartialEq)]
pub(crate) enum Caller {
    /// Holder of an API key: AppSync gives such callers no identity.
    ApiKey,
    /// Bearer of a token.
    User(User),
    /// Whoever signed the request.
    Iam(IamUser),
    /// Whom the authorizer let in.
    Lambda(LambdaUser),
}

/// Bearer of a token.
#[derive(Clone, PartialEq)]
pub(crate) struct User {
    /// [`Provider::UserPools`] or [`Provider::Oidc`].
    pub(crate) provider: Provider,
    pub(crate) claims: Map<String, Json>,
}

/// Whoever signed a request.
#[derive(Clone, PartialEq)]
pub(crate) struct IamUser {
    pub(crate) role: IamRole,
    /// Whether this identity may do everything.
    pub(crate) everywhere: bool,
    pub(crate) account_id: String,
    pub(crate) user_arn: String,
    pub(crate) user_name: String,
}

/// What an IAM identity is to the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IamRole {
    /// Signed in through an identity pool: `allow: private, provider: iam`.
    Authenticated,
    /// A guest of an identity pool: `allow: public, provider: iam`.
    Unauthenticated,
    /// Of no identity pool, such as a server's role: no rule speaks of it.
    #[default]
    Service,
}

/// Whom the authorizer let in.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct LambdaUser {
    /// Fields that this caller gets nothing of, as `Type.field`.
    pub(crate) denied_fields: BTreeSet<(String, String)>,
    /// What the authorizer adds for resolvers.
    pub(crate) resolver_context: Map<String, Json>,
}

impl std::fmt::Debug for Caller {
    /// Says only how the caller came in: claims are personal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.auth_type())
    }
}

impl Caller {
    /// The mode's name, as AppSync's `$util.authType()` has it.
    pub(crate) fn auth_type(&self) -> &'static str {
        match self {
            Self::ApiKey => "API Key Authorization",
            Self::Iam(_) => "IAM Authorization",
            Self::User(user) if user.provider == Provider::Oidc => "Open ID Connect Authorization",
            Self::User(_) => "User Pool Authorization",
            Self::Lambda(_) => "Lambda Authorization",
        }
    }

    /// The identity as resolvers and conflict handlers see it; null for API keys.
    pub(crate) fn identity(&self) -> Json {
        let claim = |user: &User, name: &str| user.claims.get(name).cloned().unwrap_or_default();
        match self {
            Self::ApiKey => Json::Null,
            Self::User(user) if user.provider == Provider::Oidc => serde_json::json!({
                "sub": claim(user, "sub"), "issuer": claim(user, "iss"), "claims": user.claims,
            }),
            Self::User(user) => serde_json::json!({
                "sub": claim(user, "sub"), "issuer": claim(user, "iss"), "username": user.text("username"),
                "claims": user.claims, "groups": user.groups("cognito:groups"),
                "defaultAuthStrategy": "ALLOW",
            }),
            Self::Iam(user) => serde_json::json!({
                "accountId": user.account_id, "userArn": user.user_arn, "username": user.user_name,
                "cognitoIdentityAuthType": match user.role {
                    IamRole::Authenticated => Some("authenticated"),
                    IamRole::Unauthenticated => Some("unauthenticated"),
                    IamRole::Service => None,
                },
            }),
            Self::Lambda(user) => serde_json::json!({"resolverContext": user.resolver_context}),
        }
    }
}

/// Most groups of one token that are looked at; tokens are bounded in length, this bounds the filters made of them.
const GROUPS_MAX: usize = 1_000;

impl User {
    /// A claim that is a text; `username` is found under both of its names.
    fn text(&self, claim: &str) -> Option<&str> {
        let find = |name: &str| {
            self.claims
                .get(name)
                .and_then(Json::as_str)
                .filter(|text| !text.is_empty())
        };
        match claim {
            "username" | "cognito:username" => find("username").or_else(|| find("cognito:username")),
            other => find(other),
        }
    }

    /// What a record may call this user: the claims joined by `::`, then each of them alone. Empty if the token does not
    /// say who it is.
    pub(crate) fn names(&self, claims: &[String]) -> Vec<String> {
        let parts: Vec<&str> = claims.iter().filter_map(|claim| self.text(claim)).collect();
        let mut names = Vec::new();
        if parts.len() == claims.len() {
            names.push(parts.join("::"));
        }
        for part in parts {
            if !names.iter().any(|name| name == part) {
                names.push(part.to_owned());
            }
        }
        names
    }

    /// The groups in a claim: a list, one text, or a list written as a text.
    pub(crate) fn groups(&self, claim: &str) -> Vec<String> {
        let texts = |items: &[Json]| -> Vec<String> {
            items
                .iter()
                .filter_map(Json::as_str)
                .filter(|text| !text.is_empty())
                .take(GROUPS_MAX)
                .map(str::to_owned)
                .collect()
        };
        match self.claims.get(claim) {
            Some(Json::Array(items)) => texts(items),
            Some(Json::String(text)) => match serde_json::from_str::<Vec<Json>>(text) {
                Ok(items) => texts(&items),
                Err(_) => texts(&[Json::String(text.clone())]),
            },
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
