//! Several ways to prove who asks: which of them for which model and operation.
//!
//! Owns [`AuthMode`], [`AuthStrategy`] and [`MultiAuth`]. Holds no credentials.

use std::collections::BTreeMap;

use landfall_core::{ModelName, Schema};
use landfall_wire::{Access, Subject};
use serde_json::Value as Json;

/// A way to prove who asks, as an AppSync API may allow several side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AuthMode {
    /// An API key.
    ApiKey,
    /// A token of a Cognito user pool.
    UserPool,
    /// A token of an OIDC provider.
    Oidc,
    /// A signature with AWS credentials.
    Iam,
    /// A token that a Lambda function judges.
    Lambda,
}

/// Chooses the modes for a request (Amplify's `authModeStrategy`).
///
/// ```
/// use landfall_netsync::{AuthMode, AuthStrategy};
/// use landfall_wire::{Access, Subject};
///
/// let strategy = |subject: &Subject| match subject.access {
///     Access::Read | Access::Listen => vec![AuthMode::UserPool, AuthMode::ApiKey],
///     _ => vec![AuthMode::UserPool],
/// };
/// let subject = Subject { model: "Post".into(), access: Access::Create };
/// assert_eq!(AuthStrategy::modes(&strategy, &subject), [AuthMode::UserPool]);
/// ```
pub trait AuthStrategy: Send + Sync {
    /// The modes to try for that, best first. Modes that the transport has no credentials for are passed over; if none
    /// is left, the default mode is used.
    fn modes(&self, subject: &Subject) -> Vec<AuthMode>;
}

impl<F: Fn(&Subject) -> Vec<AuthMode> + Send + Sync> AuthStrategy for F {
    fn modes(&self, subject: &Subject) -> Vec<AuthMode> {
        self(subject)
    }
}

/// Modes by the `@auth` rules of each model, the most specific rule first (Amplify's `MULTI_AUTH`): custom, owner,
/// groups, private, public.
#[derive(Clone, Debug, Default)]
pub struct MultiAuth {
    rules: BTreeMap<ModelName, Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    strategy: usize,
    mode: (usize, AuthMode),
    operations: Vec<String>,
}

/// Strategies of rules in the order in which they are tried.
const STRATEGIES: [&str; 5] = ["custom", "owner", "groups", "private", "public"];

/// Providers of rules with their modes, in the order in which they are tried.
const PROVIDERS: [(&str, AuthMode); 6] = [
    ("function", AuthMode::Lambda),
    ("userPools", AuthMode::UserPool),
    ("oidc", AuthMode::Oidc),
    ("iam", AuthMode::Iam),
    ("identityPool", AuthMode::Iam),
    ("apiKey", AuthMode::ApiKey),
];

impl MultiAuth {
    /// The modes by the rules of a schema.
    pub fn of_schema(schema: &Schema) -> Self {
        let rules = schema.models().map(|def| {
            let mut rules: Vec<Rule> = def.auth.iter().filter_map(Rule::read).collect();
            rules.sort();
            (def.name.clone(), rules)
        });
        Self {
            rules: rules.collect(),
        }
    }
}

impl Rule {
    fn read(rule: &Json) -> Option<Self> {
        let text = |name: &str| rule.get(name).and_then(Json::as_str);
        let allow = text("allow")?;
        let strategy = STRATEGIES.iter().position(|known| *known == allow)?;
        let provider = text("provider").unwrap_or(match allow {
            "custom" => "function",
            "public" => "apiKey",
            _ => "userPools",
        });
        let position = PROVIDERS.iter().position(|(known, _)| *known == provider)?;
        let operations = rule.get("operations").and_then(Json::as_array);
        let operations = operations.into_iter().flatten().filter_map(Json::as_str);
        Some(Self {
            strategy,
            mode: (position, PROVIDERS[position].1),
            operations: operations.map(str::to_owned).collect(),
        })
    }

    fn allows(&self, access: Access) -> bool {
        let wanted: &[&str] = match access {
            Access::Create => &["create"],
            Access::Update => &["update"],
            Access::Delete => &["delete"],
            Access::Read => &["read", "get", "list", "sync"],
            Access::Listen => &["read", "listen"],
        };
        // A rule without operations is about all of them.
        self.operations.is_empty() || self.operations.iter().any(|one| wanted.contains(&one.as_str()))
    }
}

impl AuthStrategy for MultiAuth {
    fn modes(&self, subject: &Subject) -> Vec<AuthMode> {
        let rules = self.rules.get(&subject.model).into_iter().flatten();
        let mut modes = Vec::new();
        for rule in rules.filter(|rule| rule.allows(subject.access)) {
            if !modes.contains(&rule.mode.1) {
                modes.push(rule.mode.1);
            }
        }
        modes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modes(rules: &[Json], access: Access) -> Vec<AuthMode> {
        let mut rules: Vec<Rule> = rules.iter().filter_map(Rule::read).collect();
        rules.sort();
        let strategy = MultiAuth {
            rules: [("Post".into(), rules)].into(),
        };
        let model = "Post".into();
        strategy.modes(&Subject { model, access })
    }

    #[test]
    fn the_most_specific_rule_comes_first_and_each_mode_once() {
        let rules = [
            json!({ "allow": "public", "provider": "apiKey" }),
            json!({ "allow": "private", "provider": "iam" }),
            json!({ "allow": "groups", "provider": "userPools" }),
            json!({ "allow": "owner", "provider": "userPools" }),
            json!({ "allow": "custom", "provider": "function" }),
        ];
        assert_eq!(
            modes(&rules, Access::Read),
            [
                AuthMode::Lambda,
                AuthMode::UserPool,
                AuthMode::Iam,
                AuthMode::ApiKey
            ]
        );
        let rules = [
            json!({ "allow": "owner", "provider": "oidc" }),
            json!({ "allow": "owner", "provider": "userPools" }),
            json!({ "allow": "public", "provider": "iam" }),
        ];
        assert_eq!(
            modes(&rules, Access::Create),
            [AuthMode::UserPool, AuthMode::Oidc, AuthMode::Iam]
        );
        assert_eq!(modes(&[], Access::Create), []);
    }

    #[test]
    fn a_rule_counts_for_its_operations_only() {
        let rules = [
            json!({ "allow": "public", "provider": "apiKey", "operations": ["read"] }),
            json!({ "allow": "owner", "provider": "userPools", "operations": ["create", "sync"] }),
        ];
        assert_eq!(modes(&rules, Access::Create), [AuthMode::UserPool]);
        assert_eq!(modes(&rules, Access::Listen), [AuthMode::ApiKey]);
        assert_eq!(
            modes(&rules, Access::Read),
            [AuthMode::UserPool, AuthMode::ApiKey]
        );
        assert_eq!(modes(&rules, Access::Delete), []);
    }
}
