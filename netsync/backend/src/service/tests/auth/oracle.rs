//! What the rules of the tests mean, worked out a second time.
//!
//! Owns the notation of rules and records and a judgement that shares nothing with the code under test: who is called
//! what is written out by hand, and records are compared in Rust, not by filters.

use serde_json::{Value as Json, json};

use super::Cast;

/// A rule in the words of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruled {
    pub(super) kind: Kind,
    /// As written in `operations`; empty if the rule names none.
    pub(super) operations: &'static [&'static str],
}

/// Whom a rule allows, every form that the directive has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PublicKey,
    PublicIam,
    PrivatePool,
    PrivateOidc,
    PrivateIam,
    Custom,
    Owner,
    OwnerEditors,
    OwnerOidcEmail,
    Groups,
    GroupsOidc,
    GroupsFieldTeam,
    GroupsFieldTeams,
}

impl Kind {
    pub(super) const ALL: [Self; 13] = [
        Self::PublicKey,
        Self::PublicIam,
        Self::PrivatePool,
        Self::PrivateOidc,
        Self::PrivateIam,
        Self::Custom,
        Self::Owner,
        Self::OwnerEditors,
        Self::OwnerOidcEmail,
        Self::Groups,
        Self::GroupsOidc,
        Self::GroupsFieldTeam,
        Self::GroupsFieldTeams,
    ];

    fn sdl(self) -> &'static str {
        match self {
            Self::PublicKey => "allow: public",
            Self::PublicIam => "allow: public, provider: identityPool",
            Self::PrivatePool => "allow: private",
            Self::PrivateOidc => "allow: private, provider: oidc",
            Self::PrivateIam => "allow: private, provider: iam",
            Self::Custom => "allow: custom",
            Self::Owner => "allow: owner",
            Self::OwnerEditors => "allow: owner, ownerField: \"editors\"",
            Self::OwnerOidcEmail => "allow: owner, provider: oidc, identityClaim: \"email\"",
            Self::Groups => "allow: groups, groups: [\"Staff\", \"Admin\"]",
            Self::GroupsOidc => "allow: groups, groups: [\"blue\", \"Admin\"], provider: oidc",
            Self::GroupsFieldTeam => "allow: groups, groupsField: \"team\"",
            Self::GroupsFieldTeams => "allow: groups, groupsField: \"teams\"",
        }
    }
}

/// Every way to write `operations` that the matrix tries.
pub(super) const OPERATIONS: [&[&str]; 9] = [
    &[],
    &["read"],
    &["create"],
    &["update"],
    &["delete"],
    &["get"],
    &["list"],
    &["sync"],
    &["listen"],
];

/// A directive with these rules.
pub(super) fn directive(rules: &[Ruled]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| {
            let operations = match rule.operations {
                [] => String::new(),
                some => format!(", operations: [{}]", some.join(", ")),
            };
            format!("{{ {}{operations} }}", rule.kind.sdl())
        })
        .collect();
    format!("@auth(rules: [{}])", rules.join(", "))
}

/// The fields of a record that rules look at; absent members are left out of inputs.
#[derive(Clone, Debug)]
pub(super) struct Subject(pub(super) Json);

impl Subject {
    /// Records that between them have every kind of owner and group.
    pub(super) fn all() -> Vec<Self> {
        [
            json!({}),
            json!({"owner": "a-1::alice", "team": "red", "teams": ["blue", "red"]}),
            json!({"owner": "alice", "editors": ["x", "b-1::bob"], "teams": []}),
            json!({"owner": "b-1", "editors": ["a-1"], "team": "blue"}),
            json!({"owner": "carol@x.test", "editors": [], "teams": ["blue"]}),
            json!({"owner": "a-1::alice::x", "editors": ["alice, bob"], "team": "redder"}),
        ]
        .map(Self)
        .into()
    }

    fn has_any(&self, field: &str, names: &[&str]) -> bool {
        match &self.0[field] {
            Json::String(text) => names.contains(&text.as_str()),
            Json::Array(items) => items
                .iter()
                .any(|item| names.contains(&item.as_str().unwrap_or_default())),
            _ => false,
        }
    }
}

/// What records may call somebody of the user pool.
fn pool_names(who: Cast) -> &'static [&'static str] {
    match who {
        Cast::Alice => &["a-1::alice", "a-1", "alice"],
        Cast::Bob => &["b-1::bob", "b-1", "bob"],
        _ => &[],
    }
}

fn pool_groups(who: Cast) -> &'static [&'static str] {
    if who == Cast::Bob { &["Admin", "red"] } else { &[] }
}

fn speaks_of(rule: Ruled, operation: &str) -> bool {
    rule.operations.is_empty()
        || rule.operations.contains(&operation)
        || (rule.operations.contains(&"read") && ["get", "list", "sync", "listen"].contains(&operation))
}

/// Whether a rule lets somebody in whatever the record.
fn always(rule: Ruled, who: Cast) -> bool {
    match rule.kind {
        Kind::PublicKey => who == Cast::Key,
        Kind::PublicIam => who == Cast::Guest,
        Kind::PrivatePool => matches!(who, Cast::Alice | Cast::Bob),
        Kind::PrivateOidc | Kind::GroupsOidc => who == Cast::Carol,
        Kind::PrivateIam => who == Cast::Signed,
        Kind::Custom => who == Cast::Lambda,
        Kind::Groups => who == Cast::Bob,
        _ => false,
    }
}

/// Whether a rule lets somebody in because of the record.
fn by_record(rule: Ruled, who: Cast, record: &Subject) -> bool {
    match rule.kind {
        Kind::Owner => record.has_any("owner", pool_names(who)),
        Kind::OwnerEditors => record.has_any("editors", pool_names(who)),
        Kind::OwnerOidcEmail => who == Cast::Carol && record.has_any("owner", &["carol@x.test"]),
        Kind::GroupsFieldTeam => record.has_any("team", pool_groups(who)),
        Kind::GroupsFieldTeams => record.has_any("teams", pool_groups(who)),
        _ => false,
    }
}

/// Whether there may be a record that a rule lets somebody at.
fn ever(rule: Ruled, who: Cast) -> bool {
    always(rule, who)
        || match rule.kind {
            Kind::Owner | Kind::OwnerEditors => !pool_names(who).is_empty(),
            Kind::OwnerOidcEmail => who == Cast::Carol,
            Kind::GroupsFieldTeam | Kind::GroupsFieldTeams => !pool_groups(who).is_empty(),
            _ => false,
        }
}

/// Whether somebody may do it with some record.
pub(super) fn may_ever(rules: &[Ruled], who: Cast, operation: &str) -> bool {
    rules
        .iter()
        .any(|rule| speaks_of(*rule, operation) && ever(*rule, who))
}

/// Whether somebody may do it with every record.
pub(super) fn may_always(rules: &[Ruled], who: Cast, operation: &str) -> bool {
    rules
        .iter()
        .any(|rule| speaks_of(*rule, operation) && always(*rule, who))
}

/// Whether somebody may do it with this record.
pub(super) fn may(rules: &[Ruled], who: Cast, operation: &str, record: &Subject) -> bool {
    rules
        .iter()
        .any(|rule| speaks_of(*rule, operation) && (always(*rule, who) || by_record(*rule, who, record)))
}

/// Whether somebody may create a record with these fields, and the record that results.
pub(super) fn created(rules: &[Ruled], who: Cast, given: &Subject) -> Option<Subject> {
    let record = filled(rules, who, given);
    may(rules, who, "create", &record).then_some(record)
}

/// The record that somebody creates with these fields: owners who may create are filled in.
pub(super) fn filled(rules: &[Ruled], who: Cast, given: &Subject) -> Subject {
    let mut record = given.clone();
    for rule in rules.iter().filter(|rule| speaks_of(**rule, "create")) {
        let (field, name, list) = match (rule.kind, who) {
            (Kind::Owner, Cast::Alice) => ("owner", "a-1::alice", false),
            (Kind::Owner, Cast::Bob) => ("owner", "b-1::bob", false),
            (Kind::OwnerEditors, Cast::Alice) => ("editors", "a-1::alice", true),
            (Kind::OwnerEditors, Cast::Bob) => ("editors", "b-1::bob", true),
            (Kind::OwnerOidcEmail, Cast::Carol) => ("owner", "carol@x.test", false),
            _ => continue,
        };
        if record.0.get(field).is_none() {
            record.0[field] = if list { json!([name]) } else { json!(name) };
        }
    }
    record
}
