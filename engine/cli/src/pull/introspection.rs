//! The introspection query and its answer.
//!
//! Owns [`Api`]: types by name, as the server told them. Knows nothing of models.

use std::collections::BTreeMap;

use graphql_client::{QueryBody, Response};
use serde::Deserialize;

/// Name of the operation.
pub(super) const OPERATION: &str = "IntrospectionQuery";

/// Asks for what models can be read from; lists of lists of required elements are the deepest that AppSync has.
const QUERY: &str = "\
query IntrospectionQuery {
  __schema { queryType { name } mutationType { name } subscriptionType { name } types { ...FullType } }
}
fragment FullType on __Type {
  kind name
  fields(includeDeprecated: true) { name args { name type { ...TypeRef } } type { ...TypeRef } }
  inputFields { name type { ...TypeRef } }
  enumValues(includeDeprecated: true) { name }
}
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }
}";

/// The body of the request.
pub(super) fn request() -> String {
    let body = QueryBody {
        variables: serde_json::Map::new(),
        query: QUERY,
        operation_name: OPERATION,
    };
    serde_json::to_string(&body).expect("a text and no variables can be written to memory")
}

/// An API as its introspection tells it.
#[derive(Debug)]
pub(super) struct Api {
    types: Vec<Type>,
    by_name: BTreeMap<String, usize>,
    query: Option<String>,
    mutation: Option<String>,
    subscription: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(rename = "__schema")]
    schema: Told,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    query_type: Option<Root>,
    mutation_type: Option<Root>,
    subscription_type: Option<Root>,
    types: Vec<Type>,
}

#[derive(Debug, Deserialize)]
struct Root {
    name: String,
}

/// A named type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) fields: Vec<Field>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) input_fields: Vec<Input>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) enum_values: Vec<EnumValue>,
}

/// Kinds of types and of references to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Kind {
    Scalar,
    Object,
    Interface,
    Union,
    Enum,
    InputObject,
    List,
    NonNull,
}

/// A field of an object type.
#[derive(Debug, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) args: Vec<Input>,
    #[serde(rename = "type")]
    pub(super) ty: TypeRef,
}

/// An argument, or a member of an input type.
#[derive(Debug, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: TypeRef,
}

#[derive(Debug, Deserialize)]
pub(super) struct EnumValue {
    pub(super) name: String,
}

/// A type as a field or argument uses it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TypeRef {
    kind: Kind,
    name: Option<String>,
    of_type: Option<Box<TypeRef>>,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

/// Most characters of a server's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// A server's message as it may be printed: not too long, and nothing that a terminal obeys.
fn shown(message: &str) -> String {
    let printable = message.chars().filter(|c| !c.is_control());
    printable.take(MESSAGE_CHARS_MAX).collect()
}

/// Refuses what is no GraphQL name: names become part of a schema, and of messages.
fn check_names(told: &Told) -> miette::Result<()> {
    let roots = [&told.query_type, &told.mutation_type, &told.subscription_type];
    let mut names: Vec<&str> = roots
        .into_iter()
        .flatten()
        .map(|root| root.name.as_str())
        .collect();
    for ty in &told.types {
        names.push(&ty.name);
        names.extend(ty.enum_values.iter().map(|value| value.name.as_str()));
        let arguments = ty.fields.iter().flat_map(|field| &field.args);
        for input in ty.input_fields.iter().chain(arguments) {
            names.push(&input.name);
            names.push(input.ty.named());
        }
        for field in &ty.fields {
            names.push(&field.name);
            names.push(field.ty.named());
        }
    }
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name =
        |name: &str| name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
    match names.into_iter().find(|name| !is_name(name)) {
        Some(name) => Err(miette::miette!(
            "the answer has a name that is none of GraphQL: {}",
            shown(name)
        )),
        None => Ok(()),
    }
}

impl Api {
    /// Reads the answer to [`request`].
    ///
    /// # Errors
    /// If the server answered with errors, with something else, or with names that are none.
    pub(super) fn read(body: &[u8]) -> miette::Result<Self> {
        let response: Response<Answer> = serde_json::from_slice(body)
            .map_err(|error| miette::miette!("the answer is no introspection of a GraphQL API: {error}"))?;
        if let Some(error) = response.errors.iter().flatten().next() {
            return Err(miette::miette!(
                "the API refuses introspection: {}",
                shown(&error.message)
            ));
        }
        let told = response
            .data
            .ok_or_else(|| miette::miette!("the API answered without data; is introspection switched on?"))?
            .schema;
        check_names(&told)?;
        let by_name = told
            .types
            .iter()
            .enumerate()
            .map(|(at, ty)| (ty.name.clone(), at))
            .collect();
        let name = |root: Option<Root>| root.map(|root| root.name);
        Ok(Self {
            types: told.types,
            by_name,
            query: name(told.query_type),
            mutation: name(told.mutation_type),
            subscription: name(told.subscription_type),
        })
    }

    /// Every type, as ordered by the server; those of introspection itself left out.
    pub(super) fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.iter().filter(|ty| !ty.name.starts_with("__"))
    }

    pub(super) fn find(&self, name: &str) -> Option<&Type> {
        self.by_name.get(name).map(|at| &self.types[*at])
    }

    pub(super) fn queries(&self) -> &[Field] {
        self.root(self.query.as_deref())
    }

    pub(super) fn mutations(&self) -> &[Field] {
        self.root(self.mutation.as_deref())
    }

    pub(super) fn subscriptions(&self) -> &[Field] {
        self.root(self.subscription.as_deref())
    }

    fn root(&self, name: Option<&str>) -> &[Field] {
        name.and_then(|name| self.find(name))
            .map_or(&[], |ty| ty.fields.as_slice())
    }

    /// Whether it is a root type.
    pub(super) fn is_root(&self, name: &str) -> bool {
        [&self.query, &self.mutation, &self.subscription]
            .into_iter()
            .flatten()
            .any(|root| root == name)
    }
}

impl Type {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(super) fn has_input(&self, name: &str) -> bool {
        self.input_fields.iter().any(|field| field.name == name)
    }
}

impl Field {
    pub(super) fn arg(&self, name: &str) -> Option<&Input> {
        self.args.iter().find(|arg| arg.name == name)
    }
}

impl TypeRef {
    /// The named type at the end of lists and required marks.
    pub(super) fn named(&self) -> &str {
        let mut ty = self;
        while let Some(inner) = &ty.of_type {
            ty = inner;
        }
        ty.name.as_deref().unwrap_or_default()
    }

    pub(super) fn is_required(&self) -> bool {
        self.kind == Kind::NonNull
    }

    pub(super) fn is_list(&self) -> bool {
        let inner = self.of_type.as_deref().filter(|_| self.is_required());
        inner.unwrap_or(self).kind == Kind::List
    }
}

impl std::fmt::Display for TypeRef {
    /// Writes the type as GraphQL has it, such as `[String!]!`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, &self.of_type) {
            (Kind::NonNull, Some(inner)) => write!(f, "{inner}!"),
            (Kind::List, Some(inner)) => write!(f, "[{inner}]"),
            _ => f.write_str(self.name.as_deref().unwrap_or_default()),
        }
    }
}
