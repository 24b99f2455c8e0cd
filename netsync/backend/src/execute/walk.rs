//! Execution: what is selected is asked of the objects that resolvers answer with, and written down.
//!
//! Owns the walk over a selection, the completion of values by their types and what becomes of a field that fails, as the
//! specification of GraphQL has it (section 6). Answers are written as they come; where a null takes the place of an object
//! whose required field failed, what was written of it is taken back. Only questions about the schema itself are answered by
//! the compiler's executor.
//!
//! Invariant: what is written is what the types say, whatever resolvers answer with.

use std::borrow::Cow;

use apollo_compiler::ast::Value as Literal;
use apollo_compiler::executable::{Field, Operation};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::resolvers::{self, Execution};
use apollo_compiler::response::{JsonMap, JsonValue, ResponseDataPathSegment};
use apollo_compiler::schema::{ExtendedType, Type};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use landfall_core::Value;

use super::answer::Answer;
use super::errors::Fault;
use super::selected::{Chosen, Form, Selected, Source};

/// A field that is asked of an object.
#[derive(Clone, Copy)]
pub(super) struct ResolveInfo<'a> {
    pub(super) chosen: &'a Chosen,
}

impl<'a> ResolveInfo<'a> {
    /// Its name in the schema.
    pub(super) fn field_name(&self) -> &'a str {
        &self.chosen.field().name
    }

    /// What it is answered under.
    pub(super) fn response_key(&self) -> &'a str {
        &self.chosen.key
    }

    /// Its type.
    pub(super) fn ty(&self) -> &'a Type {
        self.chosen.ty()
    }
}

/// An object of the answer.
pub(super) trait ObjectValue {
    /// Name of its type.
    fn type_name(&self) -> &str;

    /// The value of a field.
    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError>;

    /// What is said of a field that it does not have, which the schema rules out.
    fn unknown_field_error(&self, info: &ResolveInfo<'_>) -> FieldError {
        let (field, ty) = (info.field_name(), self.type_name());
        FieldError::Said(format!("unexpected field name: {field} in type {ty}"))
    }
}

/// The value of a field.
pub(super) enum Resolved<'a> {
    Leaf(Leaf<'a>),
    Object(Box<dyn ObjectValue + 'a>),
    List(Box<dyn Iterator<Item = Resolved<'a>> + 'a>),
}

/// A value without fields.
pub(super) enum Leaf<'a> {
    Value(Cow<'a, Value>),
    Json(&'a JsonValue),
}

/// Why a field has no value.
#[derive(Debug)]
pub(super) enum FieldError {
    /// It is told as AppSync tells it.
    Fault(Box<Fault>),
    /// It is told in these words.
    Said(String),
}

impl<'a> Resolved<'a> {
    pub(super) fn null() -> Self {
        Self::Leaf(Leaf::Value(Cow::Owned(Value::Null)))
    }

    pub(super) fn object(object: impl ObjectValue + 'a) -> Self {
        Self::Object(Box::new(object))
    }

    pub(super) fn nullable_object(object: Option<impl ObjectValue + 'a>) -> Self {
        object.map_or_else(Self::null, Self::object)
    }

    pub(super) fn list(items: impl Iterator<Item = Self> + 'a) -> Self {
        Self::List(Box::new(items))
    }
}

impl Leaf<'_> {
    fn is_null(&self) -> bool {
        match self {
            Self::Value(value) => value.is_null(),
            Self::Json(json) => json.is_null(),
        }
    }

    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Value(value) => value.as_str(),
            Self::Json(json) => json.as_str(),
        }
    }

    fn as_int(&self) -> Option<i64> {
        match self {
            Self::Value(value) => value.as_int(),
            Self::Json(json) => json.as_i64(),
        }
    }

    fn is_float(&self) -> bool {
        match self {
            Self::Value(value) => matches!(**value, Value::Float(_)),
            Self::Json(json) => json.is_f64(),
        }
    }

    fn is_bool(&self) -> bool {
        match self {
            Self::Value(value) => matches!(**value, Value::Bool(_)),
            Self::Json(json) => json.is_boolean(),
        }
    }

    fn write(&self, answer: &mut Answer) {
        match self {
            Self::Value(value) => answer.value(value),
            Self::Json(json) => answer.json(json),
        }
    }

    /// As it would be written.
    fn shown(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Json(json) => json.to_string(),
        }
    }
}

/// What was met at a place of the answer.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) path: Vec<ResponseDataPathSegment>,
    pub(super) location: Option<SourceSpan>,
    pub(super) what: Trouble,
}

/// What is wrong with a field.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was resolved to nothing.
    Error(FieldError),
    /// Its type, which takes no null.
    Null(String),
    /// Its value cannot be written as its type has it.
    Misfit(String),
    /// Something else about it.
    Said(String),
}

/// What came of a walk.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) answer: Answer,
    pub(super) errors: Vec<Raised>,
}

/// A field failed that its type does not let be null.
struct Nulled;

/// The way from the root to a value.
struct Path<'p> {
    step: Step<'p>,
    above: Option<&'p Path<'p>>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Key(&'p Chosen),
    Index(usize),
}

impl Path<'_> {
    fn to_segments(&self) -> Vec<ResponseDataPathSegment> {
        let (mut segments, mut at) = (Vec::new(), Some(self));
        while let Some(path) = at {
            segments.push(match path.step {
                Step::Key(chosen) => ResponseDataPathSegment::Field(chosen.key.clone()),
                Step::Index(index) => ResponseDataPathSegment::ListIndex(index),
            });
            at = path.above;
        }
        segments.reverse();
        segments
    }
}

/// A request that is executed.
pub(super) struct Request<'r> {
    pub(super) schema: &'r Valid<Schema>,
    pub(super) document: &'r Valid<ExecutableDocument>,
    pub(super) operation: &'r Operation,
    pub(super) selected: &'r Selected,
    pub(super) variables: &'r Valid<JsonMap>,
}

impl Request<'_> {
    /// Asks all that is selected of a root object.
    pub(super) fn walk(self, root: &dyn ObjectValue) -> Walked {
        let mut walk = Walk {
            request: &self,
            introspected: None,
            errors: Vec::new(),
            answer: Answer::new(),
        };
        if self.selected.asks_schema() {
            walk.introspect();
        }
        let from = walk.answer.mark();
        if walk.object(None, self.selected, root).is_err() {
            walk.answer.cut(from);
            walk.answer.raw(b"null");
        }
        Walked {
            answer: walk.answer,
            errors: walk.errors,
        }
    }
}

/// A walk under way.
struct Walk<'r> {
    request: &'r Request<'r>,
    /// What the schema says of itself, by response key.
    introspected: Option<JsonMap>,
    errors: Vec<Raised>,
    answer: Answer,
}

impl<'r> Walk<'r> {
    /// Has the compiler's executor answer what is asked of the schema.
    fn introspect(&mut self) {
        /// The root of queries, as far as it is not the schema.
        struct Others;
        impl resolvers::ObjectValue for Others {
            fn type_name(&self) -> &str {
                "Query"
            }
            fn resolve_field<'a>(
                &'a self,
                _: &'a resolvers::ResolveInfo<'a>,
            ) -> Result<resolvers::ResolvedValue<'a>, resolvers::FieldError> {
                Ok(resolvers::ResolvedValue::SkipForPartialExecution)
            }
        }
        let answer = Execution::new(self.request.schema, self.request.document)
            .operation(self.request.operation)
            .coerced_variable_values(self.request.variables)
            .enable_schema_introspection(true)
            .execute_sync(&Others);
        let (errors, data) = match answer {
            Ok(answer) => (answer.errors, answer.data),
            Err(_) => (Vec::new(), None),
        };
        self.introspected = data;
        self.errors.extend(errors.into_iter().map(|error| Raised {
            path: error.path,
            location: None,
            what: Trouble::Said(error.message),
        }));
    }

    fn object(
        &mut self,
        above: Option<&Path<'_>>,
        selected: &Selected,
        object: &dyn ObjectValue,
    ) -> Result<(), Nulled> {
        self.answer.raw(b"{");
        for (number, chosen) in selected.fields.iter().enumerate() {
            if number > 0 {
                self.answer.raw(b",");
            }
            self.answer.key(&chosen.key);
            let path = Path {
                step: Step::Key(chosen),
                above,
            };
            let from = self.answer.mark();
            if self.field(&path, selected, chosen, object).is_err() {
                if chosen.ty().is_non_null() {
                    return Err(Nulled);
                }
                self.answer.cut(from);
                self.answer.raw(b"null");
            }
            if above.is_none() {
                self.answer.root(&chosen.key, from);
            }
        }
        self.answer.raw(b"}");
        Ok(())
    }

    fn field(
        &mut self,
        path: &Path<'_>,
        selected: &Selected,
        chosen: &Chosen,
        object: &dyn ObjectValue,
    ) -> Result<(), Nulled> {
        let field = chosen.field();
        if let Some(why) = misfit_of_arguments(self.request.schema, field, self.request.variables) {
            return Err(self.raise(path, field, Trouble::Said(why)));
        }
        match chosen.source {
            Source::TypeName => self.answer.text(&selected.type_name),
            Source::Schema => {
                let known = self.introspected.as_ref();
                let value = known
                    .and_then(|known| known.get(chosen.key.as_str()))
                    .ok_or(Nulled)?;
                self.answer.json(value);
            }
            Source::Object => {
                let info = ResolveInfo { chosen };
                match object.resolve_field(&info) {
                    Ok(resolved) => self.complete(path, chosen, chosen.ty(), resolved)?,
                    Err(error) => return Err(self.raise(path, field, Trouble::Error(error))),
                }
            }
        }
        Ok(())
    }

    fn raise(&mut self, path: &Path<'_>, field: &Field, what: Trouble) -> Nulled {
        self.errors.push(Raised {
            path: path.to_segments(),
            location: field.name.location(),
            what,
        });
        Nulled
    }

    fn complete(
        &mut self,
        path: &Path<'_>,
        chosen: &Chosen,
        ty: &Type,
        resolved: Resolved<'_>,
    ) -> Result<(), Nulled> {
        match resolved {
            Resolved::Leaf(leaf) if leaf.is_null() => {
                if ty.is_non_null() {
                    return Err(self.raise(path, chosen.field(), Trouble::Null(ty.to_string())));
                }
                self.answer.raw(b"null");
                Ok(())
            }
            Resolved::List(items) => self.list(path, chosen, ty, items),
            Resolved::Leaf(_) | Resolved::Object(_) if ty.is_list() => {
                let said = format!("list type {ty} resolved to an object");
                Err(self.raise(path, chosen.field(), Trouble::Said(said)))
            }
            Resolved::Leaf(leaf) => match misfit(&chosen.form, ty, &leaf) {
                None => {
                    leaf.write(&mut self.answer);
                    Ok(())
                }
                Some(why) => Err(self.raise(path, chosen.field(), Trouble::Misfit(why))),
            },
            Resolved::Object(object) => match &chosen.form {
                Form::Object(selected) if selected.type_name == object.type_name() => {
                    self.object(Some(path), selected, &*object)
                }
                _ => {
                    let (own, expected) = (object.type_name(), ty.inner_named_type());
                    let why = format!("resolver returned an object of type {own}, expected {expected}");
                    Err(self.raise(path, chosen.field(), Trouble::Misfit(why)))
                }
            },
        }
    }

    fn list<'v>(
        &mut self,
        path: &Path<'_>,
        chosen: &Chosen,
        ty: &Type,
        items: impl Iterator<Item = Resolved<'v>>,
    ) -> Result<(), Nulled> {
        if !ty.is_list() {
            let said = format!("Non-list type {ty} resolved to a list");
            return Err(self.raise(path, chosen.field(), Trouble::Said(said)));
        }
        let item_type = ty.item_type();
        self.answer.raw(b"[");
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.answer.raw(b",");
            }
            let path = Path {
                step: Step::Index(index),
                above: Some(path),
            };
            let from = self.answer.mark();
            if self.complete(&path, chosen, item_type, item).is_err() {
                if item_type.is_non_null() {
                    return Err(Nulled);
                }
                self.answer.cut(from);
                self.answer.raw(b"null");
            }
        }
        self.answer.raw(b"]");
        Ok(())
    }
}

/// What is wrong with a leaf of a field, if anything is.
fn misfit(form: &Form, ty: &Type, leaf: &Leaf<'_>) -> Option<String> {
    let fits = match form {
        Form::Any => true,
        Form::Text => leaf.as_str().is_some(),
        Form::Id => leaf.as_str().is_some() || leaf.as_int().is_some(),
        Form::Float => leaf.is_float(),
        Form::Boolean => leaf.is_bool(),
        Form::Int => match leaf.as_int() {
            Some(int) if i32::try_from(int).is_err() => {
                return Some(format!("resolver returned {int} which overflows Int"));
            }
            int => int.is_some(),
        },
        Form::Enum(def) => leaf.as_str().is_some_and(|text| def.values.contains_key(text)),
        Form::Object(_) => {
            let ty = ty.inner_named_type();
            return Some(format!(
                "resolver returned a leaf value but expected an object for type {ty}"
            ));
        }
    };
    (!fits).then(|| {
        let (shown, ty) = (leaf.shown(), ty.inner_named_type());
        match form {
            Form::Enum(_) => format!("resolver returned {shown}, expected enum {ty}"),
            _ => format!("resolver returned {shown}, expected {ty}"),
        }
    })
}

/// What is wrong with the arguments of a field with variables put in: a null where there must not be one is all that a valid
/// document leaves to be found.
fn misfit_of_arguments(schema: &Schema, field: &Field, variables: &JsonMap) -> Option<String> {
    field.definition.arguments.iter().find_map(|definition| {
        let (name, ty) = (&definition.name, &definition.ty);
        let given = field.arguments.iter().find(|argument| argument.name == *name);
        let has_default = definition.default_value.is_some();
        let missing = || {
            (ty.is_non_null() && !has_default).then(|| format!("missing value for required argument {name}"))
        };
        let Some(given) = given else { return missing() };
        match &*given.value {
            Literal::Variable(variable) => match variables.get(variable.as_str()) {
                Some(JsonValue::Null) if ty.is_non_null() => {
                    Some(format!("null value for non-nullable argument {name}"))
                }
                Some(_) => None,
                None => missing(),
            },
            literal => misfit_of_input(schema, &format_args!("argument {name}"), ty, literal, variables),
        }
    })
}

/// The same of a literal, which may have variables in it.
fn misfit_of_input(
    schema: &Schema,
    what: &std::fmt::Arguments<'_>,
    ty: &Type,
    value: &Literal,
    variables: &JsonMap,
) -> Option<String> {
    match value {
        Literal::Variable(variable) => match variables.get(variable.as_str()) {
            Some(JsonValue::Null) if ty.is_non_null() => {
                Some(format!("null variable value for non-null {what}"))
            }
            None if ty.is_non_null() => Some(format!("missing variable for non-null {what}")),
            _ => None,
        },
        Literal::List(items) => items
            .iter()
            .find_map(|item| misfit_of_input(schema, what, ty.item_type(), item, variables)),
        Literal::Object(members) => {
            let name = ty.inner_named_type();
            let Some(ExtendedType::InputObject(def)) = schema.types.get(name) else {
                return None;
            };
            members.iter().find_map(|(member, value)| {
                let what = format_args!("input field {name}.{member}");
                misfit_of_input(schema, &what, &def.fields.get(member)?.ty, value, variables)
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
