//! GraphQL documents of a model, built once and reused for every request.
//!
//! Owns the texts and the names of operations, root fields and input types. Does not fill in variables (`input.rs`).
//!
//! | document | text for a model `Post` with plural `Posts` |
//! |---|---|
//! | sync | `query SyncPosts($filter: ModelPostFilterInput, ...) { syncPosts(...) { items { ... } nextToken startedAt } }` |
//! | get | `query GetPost($id: ID!) { getPost(id: $id) { ... } }` |
//! | create, update, delete | `mutation CreatePost($input: CreatePostInput!, $condition: ModelPostConditionInput) { createPost(...) { ... } }` |
//! | subscriptions | `subscription OnCreatePost { onCreatePost { ... } }`, and the same with `$filter` |
//!
//! Names are AppSync's defaults, as every DataStore client builds them; custom names are ignored likewise. A
//! subscription without a filter must leave the argument out, since a null argument is not an absent one.

use std::fmt;
use std::sync::Arc;

use landfall_core::{ModelDef, ModelName, MutationKind, Schema};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::error::WireError;
use crate::selection::{belongs_to_selection, selection};
use crate::transport::{Access, HttpRequest, OperationName, Subject};

/// Variables of a document.
pub type Variables = Map<String, Json>;

/// Which changes a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriptionKind {
    /// `onCreate`
    Create,
    /// `onUpdate`
    Update,
    /// `onDelete`
    Delete,
}

/// One GraphQL document with one root field.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    operation: OperationName,
    root_field: Arc<str>,
    text: Arc<str>,
}

/// Every document of one model; cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelDocuments {
    /// The model.
    pub model: ModelName,
    /// Asks for a page of what changed.
    pub sync: Document,
    /// Asks for one record.
    pub get: Document,
    mutations: [Document; 3],
    mutation_selection: Arc<str>,
    subscriptions: [Document; 3],
    filtered_subscriptions: [Document; 3],
}

/// The request envelope of GraphQL over HTTP; the form of `graphql_client::QueryBody`, which takes static texts only.
#[derive(Serialize)]
struct Envelope<'a> {
    query: &'a str,
    variables: &'a Variables,
    #[serde(rename = "operationName")]
    operation_name: &'a str,
}

/// What a `start` frame holds as `data`: the envelope without the operation's name, as stock clients send it.
#[derive(Serialize)]
struct StartData<'a> {
    query: &'a str,
    variables: &'a Variables,
}

impl SubscriptionKind {
    /// All three, in the order in which they are started.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    /// The prefix of the root field, such as `onCreate`.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Create => "onCreate",
            Self::Update => "onUpdate",
            Self::Delete => "onDelete",
        }
    }
}

impl Document {
    /// A document from elsewhere, such as an introspection query.
    pub fn new(operation: &str, root_field: &str, text: impl Into<Arc<str>>) -> Self {
        Self {
            operation: OperationName::new(operation),
            root_field: root_field.into(),
            text: text.into(),
        }
    }

    /// The same document, about this.
    fn about(self, def: &ModelDef, access: Access) -> Self {
        let model = def.name.clone();
        Self {
            operation: self.operation.about(Subject { model, access }),
            ..self
        }
    }

    /// The same operation by another text.
    pub(crate) fn with_text(&self, text: String) -> Self {
        Self {
            text: text.into(),
            ..self.clone()
        }
    }

    /// Name of its operation.
    pub fn operation(&self) -> &OperationName {
        &self.operation
    }

    /// Its one root field, under which the answer's data lies.
    pub fn root_field(&self) -> &str {
        &self.root_field
    }

    /// The GraphQL text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A request for it with those variables.
    pub fn request(&self, variables: &Variables) -> HttpRequest {
        let envelope = Envelope {
            query: &self.text,
            variables,
            operation_name: self.operation.as_str(),
        };
        HttpRequest {
            body: to_text(&envelope),
            operation: self.operation.clone(),
        }
    }

    /// The `data` text of a `start` frame for it; authorize and send exactly this text.
    pub fn start_data(&self, variables: &Variables) -> String {
        to_text(&StartData {
            query: &self.text,
            variables,
        })
    }
}

fn to_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a map with text keys is always JSON")
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({})", self.operation)
    }
}

impl ModelDocuments {
    /// Builds every document of a model.
    ///
    /// # Errors
    /// [`WireError::UnknownModel`], or [`WireError::SelectionTooLarge`] if its non-model types contain each other so
    /// often that the selection explodes.
    pub fn build(schema: &Schema, model: &str) -> Result<Self, WireError> {
        Self::build_for_owner(schema, model, None)
    }

    /// As [`build`](Self::build), with subscriptions that name the owner of the records by an argument of that name, as
    /// servers of Amplify's first generation demand of models with an owner rule.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub fn build_for_owner(schema: &Schema, model: &str, owner: Option<&str>) -> Result<Self, WireError> {
        let def = schema
            .model(model)
            .ok_or_else(|| WireError::UnknownModel { model: model.into() })?;
        let names = Names::of(def);
        let fields = selection(schema, def)?;
        // Subscribers receive what the mutation selected, and stock clients read foreign keys from the relations.
        let all = format!("{fields}{}", belongs_to_selection(schema, def));
        Ok(Self {
            model: def.name.clone(),
            sync: names.sync(def, &fields).about(def, Access::Read),
            get: names.get(def, &fields).about(def, Access::Read),
            mutations: [
                ("Create", Access::Create),
                ("Update", Access::Update),
                ("Delete", Access::Delete),
            ]
            .map(|(verb, access)| names.mutation(verb, &all).about(def, access)),
            mutation_selection: all.into(),
            subscriptions: SubscriptionKind::ALL.map(|kind| {
                let document = names.subscription(kind, &fields, &[owner_argument(owner)]);
                document.about(def, Access::Listen)
            }),
            filtered_subscriptions: SubscriptionKind::ALL.map(|kind| {
                let filter = format!("ModelSubscription{}FilterInput", names.model);
                let filter = Some(("filter", filter.as_str()));
                let document = names.subscription(kind, &fields, &[filter, owner_argument(owner)]);
                document.about(def, Access::Listen)
            }),
        })
    }

    /// The document of a mutation.
    pub fn mutation(&self, kind: MutationKind) -> &Document {
        match kind {
            MutationKind::Create => &self.mutations[0],
            MutationKind::Update => &self.mutations[1],
            MutationKind::Delete => &self.mutations[2],
        }
    }

    /// What the documents of mutations select.
    pub(crate) fn mutation_selection(&self) -> &str {
        &self.mutation_selection
    }

    /// The document of a subscription to every record.
    pub fn subscription(&self, kind: SubscriptionKind) -> &Document {
        &self.subscriptions[kind as usize]
    }

    /// The document of a subscription with a `$filter` variable.
    pub fn filtered_subscription(&self, kind: SubscriptionKind) -> &Document {
        &self.filtered_subscriptions[kind as usize]
    }
}

struct Names<'a> {
    /// The name as the schema writes it: type names that AppSync derives keep it so.
    model: &'a str,
    /// The name with a capital first letter, as fields and mutation inputs have it.
    pascal: String,
}

impl<'a> Names<'a> {
    fn of(def: &'a ModelDef) -> Self {
        Self {
            model: &def.name,
            pascal: capitalized(&def.name),
        }
    }

    fn sync(&self, def: &ModelDef, fields: &str) -> Document {
        let plural = capitalized(&def.plural_name);
        let text = format!(
            "query Sync{plural}($filter: Model{}FilterInput, $limit: Int, $nextToken: String, \
             $lastSync: AWSTimestamp) {{ sync{plural}(filter: $filter, limit: $limit, nextToken: $nextToken, \
             lastSync: $lastSync) {{ items {{ {fields} }} nextToken startedAt }} }}",
            self.model
        );
        Document::new(&format!("Sync{plural}"), &format!("sync{plural}"), text)
    }

    fn get(&self, def: &ModelDef, fields: &str) -> Document {
        let key: Vec<_> = def
            .key_slots()
            .iter()
            .map(|slot| def.stored_field(*slot))
            .collect();
        let declared: Vec<String> = key
            .iter()
            .map(|field| format!("${}: {field}", field.name))
            .collect();
        let passed: Vec<String> = key.iter().map(|field| format!("{0}: ${0}", field.name)).collect();
        let text = format!(
            "query Get{0}({1}) {{ get{0}({2}) {{ {fields} }} }}",
            self.pascal,
            declared.join(", "),
            passed.join(", ")
        );
        Document::new(
            &format!("Get{}", self.pascal),
            &format!("get{}", self.pascal),
            text,
        )
    }

    fn mutation(&self, verb: &str, fields: &str) -> Document {
        let operation = format!("{verb}{}", self.pascal);
        let root_field = format!("{}{}", verb.to_ascii_lowercase(), self.pascal);
        let text = format!(
            "mutation {operation}($input: {operation}Input!, $condition: Model{}ConditionInput) {{ \
             {root_field}(input: $input, condition: $condition) {{ {fields} }} }}",
            self.model
        );
        Document::new(&operation, &root_field, text)
    }

    fn subscription(
        &self,
        kind: SubscriptionKind,
        fields: &str,
        arguments: &[Option<(&str, &str)>],
    ) -> Document {
        let root_field = format!("{}{}", kind.prefix(), self.pascal);
        let operation = capitalized(&root_field);
        let (mut declared, mut passed) = (Vec::new(), Vec::new());
        for (name, input) in arguments.iter().flatten() {
            declared.push(format!("${name}: {input}"));
            passed.push(format!("{name}: ${name}"));
        }
        let in_brackets = |list: Vec<String>| match list.as_slice() {
            [] => String::new(),
            list => format!("({})", list.join(", ")),
        };
        let (declared, passed) = (in_brackets(declared), in_brackets(passed));
        let text = format!("subscription {operation}{declared} {{ {root_field}{passed} {{ {fields} }} }}");
        Document::new(&operation, &root_field, text)
    }
}

fn owner_argument(owner: Option<&str>) -> Option<(&str, &str)> {
    Some((owner?, "String!"))
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
