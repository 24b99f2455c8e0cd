//! What an operation asks for, worked out once for all objects that it is asked of.
//!
//! Owns [`Selected`]: the fields of each selection with fragments unfolded and equal response keys merged, in the order of
//! the answer, and what is known of them before there is a record: how their values are completed and what their objects
//! are charged. Does not resolve anything (`walk.rs` does).
//!
//! Invariant: what is here depends on the document, and on the variables only where `@skip` or `@include` do.

use std::cell::Cell;

use apollo_compiler::ast::Value;
use apollo_compiler::collections::HashSet;
use apollo_compiler::executable::{Field, Operation, Selection};
use apollo_compiler::response::JsonMap;
use apollo_compiler::schema::{EnumType, ExtendedType, ObjectType, Type};
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};

use super::meter;

/// What one field of a selection takes in memory once it is worked out, in bytes.
pub(super) const CHOSEN_BYTES: usize = 192;

/// The fields that are asked of an object of one type.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) type_name: Name,
    pub(super) fields: Vec<Chosen>,
}

/// A field that is asked for.
#[derive(Debug)]
pub(super) struct Chosen {
    /// What it is answered under.
    pub(super) key: Name,
    /// Where it is asked for, at least once; the arguments are the same everywhere.
    pub(super) fields: Vec<Node<Field>>,
    pub(super) source: Source,
    pub(super) form: Form,
    /// What each object of it is charged.
    pub(super) object_bytes: usize,
    /// Length of the names of its members in a message.
    pub(super) names_bytes: usize,
}

/// Who knows the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The object.
    Object,
    /// The type: the name of it.
    TypeName,
    /// The schema.
    Schema,
}

/// How a value of a field is completed, or each in a list of them.
#[derive(Debug)]
pub(super) enum Form {
    Int,
    Float,
    Boolean,
    Text,
    Id,
    /// A scalar that GraphQL does not know.
    Any,
    Enum(Node<EnumType>),
    Object(Selected),
}

/// Why nothing can be worked out ahead: it depends on the variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conditional;

impl Selected {
    /// What an operation asks for, whatever its variables.
    ///
    /// # Errors
    /// [`Conditional`] if fields are skipped or included by them.
    pub(super) fn always(
        schema: &Schema,
        document: &ExecutableDocument,
        operation: &Operation,
    ) -> Result<Self, Conditional> {
        let unfolding = Unfolding {
            schema,
            document,
            variables: None,
            conditional: Cell::new(false),
        };
        let selected = unfolding.root(operation);
        if unfolding.conditional.get() {
            return Err(Conditional);
        }
        Ok(selected)
    }

    /// What an operation asks for with these variables.
    pub(super) fn given(
        schema: &Schema,
        document: &ExecutableDocument,
        operation: &Operation,
        variables: &JsonMap,
    ) -> Self {
        let unfolding = Unfolding {
            schema,
            document,
            variables: Some(variables),
            conditional: Cell::new(false),
        };
        unfolding.root(operation)
    }

    /// Whether it asks for the schema.
    pub(super) fn asks_schema(&self) -> bool {
        self.fields.iter().any(|chosen| chosen.source == Source::Schema)
    }
}

impl Chosen {
    /// The field as it is asked for first.
    pub(super) fn field(&self) -> &Node<Field> {
        &self.fields[0]
    }

    /// Its type.
    pub(super) fn ty(&self) -> &Type {
        self.field().ty()
    }
}

/// A document whose fragments are unfolded.
struct Unfolding<'d> {
    schema: &'d Schema,
    document: &'d ExecutableDocument,
    /// `None` if what depends on them is only noted.
    variables: Option<&'d JsonMap>,
    conditional: Cell<bool>,
}

/// The fields of a selection by response key.
type Grouped = apollo_compiler::collections::IndexMap<Name, Vec<Node<Field>>>;

impl<'d> Unfolding<'d> {
    fn root(&self, operation: &'d Operation) -> Selected {
        let name = operation.object_type();
        let ty = self
            .schema
            .get_object(name)
            .expect("a valid operation has a root type");
        self.object(ty, &[operation.selection_set.selections.as_slice()], true)
    }

    fn object<'s>(&self, ty: &ObjectType, sets: &[&'s [Selection]], is_root: bool) -> Selected
    where
        'd: 's,
    {
        let (mut grouped, mut visited) = (Grouped::default(), HashSet::default());
        for set in sets {
            self.collect(ty, set, &mut visited, &mut grouped);
        }
        let is_query = self.schema.schema_definition.query.as_ref();
        let is_query = is_root && is_query.is_some_and(|query| query.name == ty.name);
        let mut fields = Vec::with_capacity(grouped.len());
        if !self.conditional.get() {
            for (key, asked) in grouped {
                fields.push(self.chosen(key, asked, is_query));
            }
        }
        Selected {
            type_name: ty.name.clone(),
            fields,
        }
    }

    fn chosen(&self, key: Name, fields: Vec<Node<Field>>, is_query: bool) -> Chosen {
        let source = match fields[0].name.as_str() {
            "__typename" => Source::TypeName,
            "__schema" | "__type" if is_query => Source::Schema,
            _ => Source::Object,
        };
        let (mut object_bytes, mut names_bytes) = (meter::MEMBER_BYTES, 0);
        let form = if source == Source::Object {
            for field in &fields {
                meter::each_field(self.document, &field.selection_set, &mut |member| {
                    object_bytes += meter::member_bytes(member);
                    names_bytes += member.response_key().len() + 3;
                });
            }
            self.form(&fields)
        } else {
            Form::Any
        };
        Chosen {
            key,
            fields,
            source,
            form,
            object_bytes,
            names_bytes,
        }
    }

    fn form(&self, fields: &[Node<Field>]) -> Form {
        let name = fields[0].ty().inner_named_type();
        match self.schema.types.get(name) {
            Some(ExtendedType::Enum(def)) => Form::Enum(def.clone()),
            Some(ExtendedType::Object(def)) => {
                let sets = fields
                    .iter()
                    .map(|field| field.selection_set.selections.as_slice());
                Form::Object(self.object(def, &sets.collect::<Vec<_>>(), false))
            }
            _ => match name.as_str() {
                "Int" => Form::Int,
                "Float" => Form::Float,
                "Boolean" => Form::Boolean,
                "String" => Form::Text,
                "ID" => Form::Id,
                _ => Form::Any,
            },
        }
    }

    fn collect<'s>(
        &self,
        ty: &ObjectType,
        set: &'s [Selection],
        visited: &mut HashSet<&'s Name>,
        grouped: &mut Grouped,
    ) where
        'd: 's,
    {
        for selection in set {
            if !self.is_asked_for(selection) {
                continue;
            }
            match selection {
                Selection::Field(field) => grouped
                    .entry(field.response_key().clone())
                    .or_default()
                    .push(field.clone()),
                Selection::FragmentSpread(spread) => {
                    if visited.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                        && self.applies(ty, fragment.type_condition())
                    {
                        self.collect(ty, &fragment.selection_set.selections, visited, grouped);
                    }
                }
                Selection::InlineFragment(inline) => {
                    let condition = inline.type_condition.as_ref();
                    if condition.is_none_or(|condition| self.applies(ty, condition)) {
                        self.collect(ty, &inline.selection_set.selections, visited, grouped);
                    }
                }
            }
        }
    }

    fn applies(&self, ty: &ObjectType, condition: &Name) -> bool {
        match self.schema.types.get(condition) {
            Some(ExtendedType::Object(_)) => *condition == ty.name,
            Some(ExtendedType::Interface(_)) => ty.implements_interfaces.contains(condition),
            Some(ExtendedType::Union(def)) => def.members.contains(&ty.name),
            _ => false,
        }
    }

    /// Whether neither `@skip` nor `@include` leaves it out.
    fn is_asked_for(&self, selection: &Selection) -> bool {
        !self.condition(selection, "skip").unwrap_or(false)
            && self.condition(selection, "include").unwrap_or(true)
    }

    fn condition(&self, selection: &Selection, directive: &str) -> Option<bool> {
        let directive = selection.directives().get(directive)?;
        match &**directive.specified_argument_by_name("if")? {
            Value::Boolean(value) => Some(*value),
            Value::Variable(name) => {
                let Some(variables) = self.variables else {
                    self.conditional.set(true);
                    return None;
                };
                variables.get(name.as_str())?.as_bool()
            }
            _ => None,
        }
    }
}
