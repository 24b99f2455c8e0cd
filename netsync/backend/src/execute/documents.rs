//! Documents: parsed and validated once, kept by their text, bounded.
//!
//! Owns [`Document`], the cache of documents and the bounds on what a document may ask. Invariant: what is in the cache
//! is valid and within the bounds, whichever of its operations is run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use apollo_compiler::ExecutableDocument;
use apollo_compiler::ast::{self, Value};
use apollo_compiler::executable::{DirectiveList, Field, Operation, OperationType, Selection, SelectionSet};
use apollo_compiler::parser::Parser;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::validation::Valid;
use indexmap::IndexMap;
use landfall_core::ModelName;

use super::coerce;
use super::errors::ErrorEntry;
use super::meter::{arguments_bytes, held_bytes, too_long_arguments};
use super::selected::{CHOSEN_BYTES, Selected};
use super::validation;
use crate::compile::{CompiledSchema, RootField};
use crate::config::Limits;

/// Most tokens of a document: some hundred times what clients send, and parsed in milliseconds.
const TOKENS_MAX: usize = 50_000;

/// Most levels of all definitions of a document together: whoever follows fragments from one to the next goes down that far at
/// most, and the compiler does so on the stack of the thread.
const LEVELS_MAX: usize = 2_000;

/// How many aliases one counts for that is within introspection: each may ask for the whole schema again.
const INTROSPECTION_ALIAS_WEIGHT: usize = 20;

/// Longest document that is kept, in bytes; longer ones carry data and do not come again.
const DOCUMENT_CACHED_BYTES_MAX: usize = 32 * 1024;

/// What a token of a document takes once it is parsed, in bytes, blanks counted as tokens: a field and the blank behind it
/// were measured at some 250.
const TOKEN_BYTES: usize = 128;

/// A request that is not executed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RequestFault {
    /// Not GraphQL at all.
    Malformed,
    /// GraphQL, but it cannot be told what to run.
    BadRequest(String),
    /// Does not fit the schema or the bounds.
    Invalid(Vec<ErrorEntry>),
}

/// A valid document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(super) executable: Valid<ExecutableDocument>,
    /// What it takes in memory.
    bytes: usize,
    /// Fields of its largest operation, fragments unfolded.
    fields: usize,
    /// What its only operation selects; `None` if that depends on the variables, or if there are several operations, each of
    /// which would take its room.
    selected: OnceLock<Option<Arc<Selected>>>,
}

/// One operation of a document with its variables, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(super) document: Arc<Document>,
    operation_name: Option<String>,
    pub(super) variables: Arc<Valid<JsonMap>>,
}

impl Prepared {
    /// The operation.
    pub(super) fn operation(&self) -> &Operation {
        self.document
            .executable
            .operations
            .get(self.operation_name.as_deref())
            .expect("the operation was found when the request was prepared")
    }

    /// What the operation selects, with its variables.
    pub(super) fn selected(&self, compiled: &CompiledSchema) -> Arc<Selected> {
        let (schema, document, operation) = (compiled.graphql(), &self.document.executable, self.operation());
        let always = self.document.selected.get_or_init(|| {
            let is_only = document.operations.len() == 1;
            let selected = is_only.then(|| Selected::always(schema, document, operation).ok());
            selected.flatten().map(Arc::new)
        });
        always
            .clone()
            .unwrap_or_else(|| Arc::new(Selected::given(schema, document, operation, &self.variables)))
    }

    /// The models that the operation mutates, one for each mutation.
    pub(crate) fn mutated_models<'s>(
        &'s self,
        compiled: &'s CompiledSchema,
    ) -> impl Iterator<Item = &'s ModelName> {
        let fields = self.operation().root_fields(&self.document.executable);
        fields.filter_map(|field| match compiled.root(&field.name) {
            Some(RootField::Mutate(model, _)) => Some(model),
            _ => None,
        })
    }

    /// What its document takes in memory, in bytes; requests with the same text may share it.
    pub(crate) fn document_bytes(&self) -> usize {
        self.document.bytes
    }

    /// What its variables take in memory, in bytes.
    pub(crate) fn variables_bytes(&self) -> usize {
        held_bytes(&self.variables)
    }

    /// Fields that it selects, fragments unfolded.
    pub(crate) fn fields(&self) -> usize {
        self.document.fields
    }

    /// Equal for subscriptions whose messages about the same data are equal, as long as both are alive. What only the
    /// arguments of the root field name decides which messages there are, and not what is in them.
    pub(crate) fn render_key(&self) -> (usize, String) {
        let mut named = Named {
            document: &self.document.executable,
            variables: BTreeSet::new(),
            fragments: BTreeSet::new(),
        };
        named.by_set(&self.operation().selection_set, true);
        let variables: BTreeMap<&str, &JsonValue> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| named.variables.contains(name))
            .collect();
        let variables = serde_json::to_string(&variables).expect("variables can be written to memory");
        let name = self.operation_name.as_deref().unwrap_or_default();
        (Arc::as_ptr(&self.document).addr(), format!("{name} {variables}"))
    }

    /// The name of the only root field, or `several`.
    pub(crate) fn operation_label(&self) -> String {
        let mut names = self
            .operation()
            .root_fields(&self.document.executable)
            .map(|field| field.name.as_str());
        match (names.next(), names.next()) {
            (Some(only), None) => only.to_owned(),
            _ => "several".to_owned(),
        }
    }

    /// Whether it is a query, a mutation or a subscription.
    pub(crate) fn kind(&self) -> OperationType {
        self.operation().operation_type
    }
}

/// Documents by their text.
pub(crate) struct Documents {
    compiled: Arc<CompiledSchema>,
    limits: Limits,
    cached: Mutex<Cached>,
}

/// Documents that are kept, the one that was kept first in front.
#[derive(Default)]
struct Cached {
    documents: IndexMap<String, Arc<Document>>,
    /// What they take in memory together.
    bytes: usize,
}

impl Cached {
    fn keep(&mut self, text: &str, document: &Arc<Document>, limits: &Limits) {
        if document.bytes > limits.documents_cached_bytes_max || self.documents.contains_key(text) {
            return;
        }
        while self.documents.len() >= limits.documents_cached_max.max(1)
            || self.bytes + document.bytes > limits.documents_cached_bytes_max
        {
            let Some((_, oldest)) = self.documents.shift_remove_index(0) else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
        self.bytes += document.bytes;
        self.documents.insert(text.to_owned(), Arc::clone(document));
    }
}

impl Documents {
    pub(crate) fn new(compiled: Arc<CompiledSchema>, limits: Limits) -> Self {
        Self {
            compiled,
            limits,
            cached: Mutex::default(),
        }
    }

    /// Makes a request ready to run.
    pub(crate) fn prepare(
        &self,
        text: &str,
        operation_name: Option<&str>,
        variables: JsonMap,
    ) -> Result<Prepared, RequestFault> {
        let document = self.document(text)?;
        let executable = &document.executable;
        let operation = executable.operations.get(operation_name).map_err(|_| {
            RequestFault::BadRequest(match operation_name {
                Some(name) => format!("Unknown operation named '{name}'."),
                None => "Must provide operation name if query contains multiple operations.".to_owned(),
            })
        })?;
        let variables = coerce::variables(self.compiled.graphql(), operation, variables, &executable.sources)
            .map_err(|entry| RequestFault::Invalid(vec![*entry]))?;
        check_arguments(executable, operation, &variables, &self.limits)?;
        let operation_name = operation.name.as_ref().map(ToString::to_string);
        Ok(Prepared {
            operation_name,
            variables: Arc::new(variables),
            document,
        })
    }

    /// How many documents are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.documents.len()
    }

    fn document(&self, text: &str) -> Result<Arc<Document>, RequestFault> {
        if let Some(document) = self
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .documents
            .get(text)
        {
            return Ok(Arc::clone(document));
        }
        // Parsed without the lock: a hard document does not hold up the others.
        let document = Arc::new(self.parse(text)?);
        if text.len() > DOCUMENT_CACHED_BYTES_MAX {
            return Ok(document);
        }
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.keep(text, &document, &self.limits);
        Ok(document)
    }

    fn parse(&self, text: &str) -> Result<Document, RequestFault> {
        let schema = self.compiled.graphql();
        let mut parser = Parser::new().token_limit(TOKENS_MAX);
        let source = parser
            .parse_ast(text, "request")
            .map_err(|_| RequestFault::Malformed)?;
        if levels(&source) > LEVELS_MAX {
            let message =
                format!("Query nests too deep; its definitions have at most {LEVELS_MAX} levels together.");
            return Err(RequestFault::Invalid(vec![ErrorEntry::of_request(message, None)]));
        }
        let executable = source
            .to_executable_validate(schema)
            .map_err(|faults| RequestFault::Invalid(validation::entries(schema, &source, &faults.errors)))?;
        if executable.operations.is_empty() {
            return Err(RequestFault::Malformed);
        }
        let literals = validation::literal_faults(schema, &source, &executable);
        if !literals.is_empty() {
            return Err(RequestFault::Invalid(literals));
        }
        let mut fields = 0;
        for operation in executable.operations.iter() {
            fields = fields.max(check_bounds(&executable, operation, &self.limits)?);
        }
        // The text is kept with the document, and once more where the document is kept by it.
        let bytes = 2 * text.len() + TOKEN_BYTES * parser.tokens_reached() + CHOSEN_BYTES * fields;
        Ok(Document {
            executable,
            bytes,
            fields,
            selected: OnceLock::new(),
        })
    }
}

/// Levels of all definitions together, each as deep as its deepest selection.
fn levels(document: &ast::Document) -> usize {
    fn of(selections: &[ast::Selection]) -> usize {
        let inner = selections.iter().map(|selection| match selection {
            ast::Selection::Field(field) => of(&field.selection_set),
            ast::Selection::InlineFragment(fragment) => of(&fragment.selection_set),
            ast::Selection::FragmentSpread(_) => 0,
        });
        inner.max().map_or(0, |deepest| deepest + 1)
    }
    let each = document.definitions.iter().map(|definition| match definition {
        ast::Definition::OperationDefinition(operation) => of(&operation.selection_set),
        ast::Definition::FragmentDefinition(fragment) => of(&fragment.selection_set),
        _ => 0,
    });
    each.sum()
}

/// What a selection costs once its fragments are unfolded.
#[derive(Clone, Copy, Default)]
struct Cost {
    depth: usize,
    fields: usize,
    /// Fields that are answered under another name: only by them can one field be asked for again and again.
    aliases: usize,
}

/// Refuses an operation that asks for too much; otherwise tells how many fields it selects.
fn check_bounds(
    document: &Valid<ExecutableDocument>,
    operation: &Operation,
    limits: &Limits,
) -> Result<usize, RequestFault> {
    let refuse = |message: String| RequestFault::Invalid(vec![ErrorEntry::of_request(message, None)]);
    let cost = cost(document, &operation.selection_set, &mut BTreeMap::new());
    if cost.depth > limits.query_depth_max {
        return Err(refuse(format!(
            "Query depth limit exceeded: {} levels, the most is {}.",
            cost.depth, limits.query_depth_max
        )));
    }
    if cost.fields > limits.query_fields_max {
        return Err(refuse(format!(
            "Query selects too many fields; the most is {}.",
            limits.query_fields_max
        )));
    }
    if cost.aliases > limits.aliases_max {
        return Err(refuse(format!(
            "Query uses too many aliases; the most is {}.",
            limits.aliases_max
        )));
    }
    if operation.root_fields(document).count() > limits.root_fields_max {
        return Err(refuse(format!(
            "Query has too many root fields; the most is {}.",
            limits.root_fields_max
        )));
    }
    apollo_compiler::introspection::check_max_depth(document, operation)
        .map_err(|fault| refuse(fault.message().to_string()))?;
    Ok(cost.fields)
}

/// The variables that a selection names; each fragment is looked into once.
struct Named<'d> {
    document: &'d ExecutableDocument,
    variables: BTreeSet<&'d str>,
    fragments: BTreeSet<&'d str>,
}

impl<'d> Named<'d> {
    /// `is_root` says whether these are the operation's own fields, whose arguments do not count.
    fn by_set(&mut self, set: &'d SelectionSet, is_root: bool) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    if !is_root {
                        field
                            .arguments
                            .iter()
                            .for_each(|argument| self.by_value(&argument.value));
                    }
                    self.by_directives(&field.directives);
                    self.by_set(&field.selection_set, false);
                }
                Selection::InlineFragment(fragment) => {
                    self.by_directives(&fragment.directives);
                    self.by_set(&fragment.selection_set, is_root);
                }
                Selection::FragmentSpread(spread) => {
                    self.by_directives(&spread.directives);
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.by_set(&fragment.selection_set, is_root);
                    }
                }
            }
        }
    }

    fn by_directives(&mut self, directives: &'d DirectiveList) {
        let arguments = directives.iter().flat_map(|directive| &directive.arguments);
        arguments.for_each(|argument| self.by_value(&argument.value));
    }

    fn by_value(&mut self, value: &'d Value) {
        match value {
            Value::Variable(name) => {
                self.variables.insert(name);
            }
            Value::List(items) => items.iter().for_each(|item| self.by_value(item)),
            Value::Object(members) => members.iter().for_each(|(_, member)| self.by_value(member)),
            _ => {}
        }
    }
}

fn is_alias(field: &Field) -> bool {
    field.alias.as_ref().is_some_and(|alias| *alias != field.name)
}

/// Refuses an operation whose arguments are too long once variables are put in: they are put in once more when it is run.
fn check_arguments(
    document: &Valid<ExecutableDocument>,
    operation: &Operation,
    variables: &JsonMap,
    limits: &Limits,
) -> Result<(), RequestFault> {
    if operation.variables.is_empty() {
        // Literals are no longer than the document.
        return Ok(());
    }
    let most = limits.arguments_bytes_max;
    let mut account = Arguments {
        document,
        variables,
        most,
        fragments: BTreeMap::new(),
    };
    if account.of(&operation.selection_set) > most {
        let message = too_long_arguments(limits);
        return Err(RequestFault::Invalid(vec![ErrorEntry::of_request(message, None)]));
    }
    Ok(())
}

/// The account of an operation's arguments.
struct Arguments<'d> {
    document: &'d ExecutableDocument,
    variables: &'d JsonMap,
    most: usize,
    /// Fragments are counted once and remembered.
    fragments: BTreeMap<&'d str, usize>,
}

impl<'d> Arguments<'d> {
    fn of(&mut self, set: &'d SelectionSet) -> usize {
        let mut total: usize = 0;
        for selection in &set.selections {
            if total > self.most {
                break;
            }
            total = total.saturating_add(match selection {
                Selection::Field(field) => {
                    let own = arguments_bytes(field, self.variables, self.most);
                    own.saturating_add(self.of(&field.selection_set))
                }
                Selection::InlineFragment(fragment) => self.of(&fragment.selection_set),
                Selection::FragmentSpread(spread) => self.of_fragment(&spread.fragment_name),
            });
        }
        total
    }

    fn of_fragment(&mut self, name: &'d str) -> usize {
        if let Some(known) = self.fragments.get(name) {
            return *known;
        }
        let document = self.document;
        let bytes = document
            .fragments
            .get(name)
            .map_or(0, |fragment| self.of(&fragment.selection_set));
        self.fragments.insert(name, bytes);
        bytes
    }
}

/// Fragments are counted once and remembered, so that unfolding costs no more than the document is long.
fn cost<'d>(
    document: &'d ExecutableDocument,
    set: &'d SelectionSet,
    fragments: &mut BTreeMap<&'d str, Cost>,
) -> Cost {
    let mut total = Cost::default();
    for selection in &set.selections {
        let one = match selection {
            Selection::Field(field) => {
                let inner = cost(document, &field.selection_set, fragments);
                let aliases = inner.aliases.saturating_add(usize::from(is_alias(field)));
                Cost {
                    depth: inner.depth + 1,
                    fields: inner.fields.saturating_add(1),
                    aliases: match field.name.as_str() {
                        "__schema" | "__type" => aliases.saturating_mul(INTROSPECTION_ALIAS_WEIGHT),
                        _ => aliases,
                    },
                }
            }
            Selection::InlineFragment(fragment) => cost(document, &fragment.selection_set, fragments),
            Selection::FragmentSpread(spread) => match fragments.get(spread.fragment_name.as_str()) {
                Some(known) => *known,
                None => match document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => {
                        let inner = cost(document, &fragment.selection_set, fragments);
                        fragments.insert(spread.fragment_name.as_str(), inner);
                        inner
                    }
                    None => Cost::default(),
                },
            },
        };
        total.depth = total.depth.max(one.depth);
        total.fields = total.fields.saturating_add(one.fields);
        total.aliases = total.aliases.saturating_add(one.aliases);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_document_that_two_parsed_at_once_is_kept_and_counted_once() {
        let compiled = Arc::new(CompiledSchema::compile(fixtures::blog()).unwrap());
        let limits = Limits {
            documents_cached_max: 1,
            ..Limits::default()
        };
        let documents = Documents::new(compiled, limits);
        let text = "{ listPosts { nextToken } }";
        let parse = |text| Arc::new(documents.parse(text).unwrap());
        let (one, mut cached) = (parse(text), Cached::default());
        cached.keep(text, &one, &documents.limits);
        cached.keep(text, &parse(text), &documents.limits);
        assert_eq!((cached.documents.len(), cached.bytes), (1, one.bytes));
        // Whoever came first is what both have from now on.
        assert!(Arc::ptr_eq(&cached.documents[text], &one));
        let other = parse("{ listPosts { items { id } } }");
        cached.keep("other", &other, &documents.limits);
        assert_eq!((cached.documents.len(), cached.bytes), (1, other.bytes));
    }
}
