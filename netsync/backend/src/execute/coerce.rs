//! Variables of a request: their types, their scalars, and AppSync's words for what does not fit.
//!
//! Owns the coercion of variable values before execution. Invariant: what passes conforms to the types that the
//! operation declares, so that execution need not check again.

use std::borrow::Cow;

use apollo_compiler::executable::{Field, Operation, Type};
use apollo_compiler::parser::SourceMap;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::{EnumType, ExtendedType, InputObjectType};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use landfall_core::Scalar;

use super::errors::{ErrorEntry, locations};
use super::scalars;

/// Coerces the variables of an operation.
///
/// # Errors
/// The first that does not fit.
pub(super) fn variables(
    schema: &Schema,
    operation: &Operation,
    mut given: JsonMap,
    sources: &SourceMap,
) -> Result<Valid<JsonMap>, Box<ErrorEntry>> {
    let mut coerced = JsonMap::new();
    for definition in &operation.variables {
        let name = definition.name.as_str();
        let coercion = Coercion {
            schema,
            variable: name,
        };
        let value = match given.remove(name) {
            Some(value) => Some(coercion.value(&definition.ty, value)),
            None => match &definition.default_value {
                Some(default) => literal(default).map(Ok),
                None if definition.ty.is_non_null() => Some(Err(coercion.null(&definition.ty))),
                None => None,
            },
        };
        match value {
            Some(Ok(value)) => {
                coerced.insert(name, value);
            }
            Some(Err(Misfit::UnknownField(message))) => {
                return Err(Box::new(ErrorEntry::of_request(message, None)));
            }
            Some(Err(Misfit::Value(message))) => {
                let at = locations(definition.location(), sources);
                return Err(Box::new(ErrorEntry::of_request(message, Some(at))));
            }
            None => {}
        }
    }
    Ok(Valid::assume_valid(coerced))
}

/// A literal with variables put in; an absent variable makes the member absent, not null.
pub(super) fn with_variables<'v>(
    value: &apollo_compiler::ast::Value,
    variables: &'v JsonMap,
) -> Option<Cow<'v, JsonValue>> {
    use apollo_compiler::ast::Value;
    let inner = |value| with_variables(value, variables).map(Cow::into_owned);
    let made = match value {
        Value::Variable(name) => return variables.get(name.as_str()).map(Cow::Borrowed),
        Value::Null => JsonValue::Null,
        Value::List(items) => {
            let items = items.iter().map(|item| inner(item).unwrap_or(JsonValue::Null));
            JsonValue::Array(items.collect())
        }
        Value::Object(members) => {
            let mut map = JsonMap::with_capacity(members.len());
            for (name, member) in members {
                if let Some(member) = inner(member) {
                    map.insert(name.as_str(), member);
                }
            }
            JsonValue::Object(map)
        }
        scalar => scalars::literal_json(scalar)?,
    };
    Some(Cow::Owned(made))
}

/// A literal that can have no variables in it.
fn literal(value: &apollo_compiler::ast::Value) -> Option<JsonValue> {
    with_variables(value, &JsonMap::new()).map(Cow::into_owned)
}

/// The arguments of a field with variables put in; those that are absent stay absent.
#[derive(Debug, Default)]
pub(super) struct Arguments<'v>(Vec<(&'v str, Cow<'v, JsonValue>)>);

impl<'v> Arguments<'v> {
    pub(super) fn of(field: &'v Field, variables: &'v JsonMap) -> Self {
        let given = field.arguments.iter().filter_map(|argument| {
            let value = with_variables(&argument.value, variables)?;
            Some((argument.name.as_str(), value))
        });
        Self(given.collect())
    }

    /// The argument of that name.
    pub(super) fn get(&self, name: &str) -> Option<&JsonValue> {
        self.iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &JsonValue)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }
}

struct Coercion<'a> {
    schema: &'a Schema,
    /// Name of the variable; AppSync names it even where an inner field is at fault.
    variable: &'a str,
}

enum Misfit {
    Value(String),
    /// Reported without a place, as AppSync does.
    UnknownField(String),
}

impl Coercion<'_> {
    fn null(&self, ty: &Type) -> Misfit {
        Misfit::Value(format!(
            "Variable '{}' has coerced Null value for NonNull type '{ty}'",
            self.variable
        ))
    }

    fn invalid(&self, reason: &str) -> Misfit {
        Misfit::Value(format!(
            "Variable '{}' has an invalid value. {reason}",
            self.variable
        ))
    }

    fn value(&self, ty: &Type, value: JsonValue) -> Result<JsonValue, Misfit> {
        if value.is_null() {
            return if ty.is_non_null() {
                Err(self.null(ty))
            } else {
                Ok(JsonValue::Null)
            };
        }
        if ty.is_list() {
            // A single value stands for a list of one.
            let items = match value {
                JsonValue::Array(items) => items,
                single => vec![single],
            };
            let items = items.into_iter().map(|item| self.value(ty.item_type(), item));
            return Ok(JsonValue::Array(items.collect::<Result<_, _>>()?));
        }
        let name = ty.inner_named_type();
        match self.schema.types.get(name) {
            Some(ExtendedType::Scalar(_)) => self.scalar(name, value),
            Some(ExtendedType::Enum(def)) => self.enumeration(def, value),
            Some(ExtendedType::InputObject(def)) => self.object(def, value),
            _ => Err(self.invalid(&format!("'{name}' is not an input type."))),
        }
    }

    fn scalar(&self, name: &Name, value: JsonValue) -> Result<JsonValue, Misfit> {
        let fits = match name.as_str() {
            "Int" => value.as_i64().is_some_and(|int| i32::try_from(int).is_ok()),
            "Float" => value.is_number(),
            "Boolean" => value.is_boolean(),
            "String" => value.is_string(),
            // Numbers are taken for identifiers and kept as text.
            "ID" => match value.as_i64() {
                Some(int) => return Ok(JsonValue::from(int.to_string())),
                None => value.is_string(),
            },
            other => {
                let checked =
                    Scalar::from_name(other).map_or(Ok(()), |scalar| scalars::check(scalar, &value));
                return checked.map(|()| value).map_err(|reason| self.invalid(&reason));
            }
        };
        if fits {
            Ok(value)
        } else {
            Err(self.invalid(&format!(
                "Expected type '{name}' but was '{}'.",
                json_kind(&value)
            )))
        }
    }

    fn enumeration(&self, def: &EnumType, value: JsonValue) -> Result<JsonValue, Misfit> {
        match value.as_str() {
            Some(text) if def.values.contains_key(text) => Ok(value),
            _ => {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let reason = format!(
                    "Invalid input for Enum '{}'. No value found for name '{shown}'",
                    def.name
                );
                Err(self.invalid(&reason))
            }
        }
    }

    fn object(&self, def: &InputObjectType, value: JsonValue) -> Result<JsonValue, Misfit> {
        let mut members = match value {
            JsonValue::Object(members) => members,
            other => {
                return Err(self.invalid(&format!("Expected type 'Map' but was '{}'.", json_kind(&other))));
            }
        };
        if let Some(unknown) = members
            .keys()
            .find(|name| !def.fields.contains_key(name.as_str()))
        {
            return Err(Misfit::UnknownField(format!(
                "The variables input contains a field name '{}' that is not defined for input object type '{}'",
                unknown.as_str(),
                def.name
            )));
        }
        for (name, member) in members.iter_mut() {
            let field = &def.fields[name.as_str()];
            *member = self.value(&field.ty, std::mem::take(member))?;
        }
        let missing = |name: &Name| !members.contains_key(name.as_str());
        if let Some(field) = def
            .fields
            .values()
            .find(|field| field.ty.is_non_null() && missing(&field.name))
        {
            return Err(self.null(&field.ty));
        }
        Ok(JsonValue::Object(members))
    }
}

/// What a value is, in graphql-java's words.
fn json_kind(value: &JsonValue) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "Boolean",
        JsonValue::Number(number) if number.is_f64() => "Double",
        JsonValue::Number(_) => "Integer",
        JsonValue::String(_) => "String",
        JsonValue::Array(_) => "List",
        JsonValue::Object(_) => "Map",
    }
}
