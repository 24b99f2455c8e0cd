//! Variables of a request: their types, their scalars, and AppSync's words for what does not fit.
//!
//! Owns the coercion of variable values before execution. Invariant: what passes conforms to the types that the
//! operation declares, so that execution need not check again.

use apollo_compiler::executable::{Operation, Type};
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
    given: &JsonMap,
    sources: &SourceMap,
) -> Result<Valid<JsonMap>, Box<ErrorEntry>> {
    let mut coerced = JsonMap::new();
    for definition in &operation.variables {
        let name = definition.name.as_str();
        let coercion = Coercion {
            schema,
            variable: name,
        };
        let value = match given.get(name) {
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
pub(super) fn with_variables(value: &apollo_compiler::ast::Value, variables: &JsonMap) -> Option<JsonValue> {
    use apollo_compiler::ast::Value;
    match value {
        Value::Variable(name) => variables.get(name.as_str()).cloned(),
        Value::Null => Some(JsonValue::Null),
        Value::List(items) => {
            let items = items
                .iter()
                .map(|item| with_variables(item, variables).unwrap_or(JsonValue::Null));
            Some(JsonValue::Array(items.collect()))
        }
        Value::Object(members) => {
            let mut map = JsonMap::with_capacity(members.len());
            for (name, member) in members {
                if let Some(member) = with_variables(member, variables) {
                    map.insert(name.as_str(), member);
                }
            }
            Some(JsonValue::Object(map))
        }
        scalar => scalars::literal_json(scalar),
    }
}

fn literal(value: &apollo_compiler::ast::Value) -> Option<JsonValue> {
    with_variables(value, &JsonMap::new())
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

    fn value(&self, ty: &Type, value: &JsonValue) -> Result<JsonValue, Misfit> {
        if value.is_null() {
            return if ty.is_non_null() {
                Err(self.null(ty))
            } else {
                Ok(JsonValue::Null)
            };
        }
        if ty.is_list() {
            // A single value stands for a list of one.
            let items = value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice);
            let items: Result<Vec<_>, _> = items
                .iter()
                .map(|item| self.value(ty.item_type(), item))
                .collect();
            return Ok(JsonValue::Array(items?));
        }
        let name = ty.inner_named_type();
        match self.schema.types.get(name) {
            Some(ExtendedType::Scalar(_)) => self.scalar(name, value),
            Some(ExtendedType::Enum(def)) => self.enumeration(def, value),
            Some(ExtendedType::InputObject(def)) => self.object(def, value),
            _ => Err(self.invalid(&format!("'{name}' is not an input type."))),
        }
    }

    fn scalar(&self, name: &Name, value: &JsonValue) -> Result<JsonValue, Misfit> {
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
                let checked = Scalar::from_name(other).map_or(Ok(()), |scalar| scalars::check(scalar, value));
                return checked
                    .map(|()| value.clone())
                    .map_err(|reason| self.invalid(&reason));
            }
        };
        if fits {
            Ok(value.clone())
        } else {
            Err(self.invalid(&format!("Expected type '{name}' but was '{}'.", json_kind(value))))
        }
    }

    fn enumeration(&self, def: &EnumType, value: &JsonValue) -> Result<JsonValue, Misfit> {
        match value.as_str() {
            Some(text) if def.values.contains_key(text) => Ok(value.clone()),
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

    fn object(&self, def: &InputObjectType, value: &JsonValue) -> Result<JsonValue, Misfit> {
        let Some(members) = value.as_object() else {
            return Err(self.invalid(&format!("Expected type 'Map' but was '{}'.", json_kind(value))));
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
        let mut coerced = JsonMap::with_capacity(members.len());
        for (name, member) in members {
            let field = &def.fields[name.as_str()];
            coerced.insert(name.as_str(), self.value(&field.ty, member)?);
        }
        let missing = |name: &Name| !members.contains_key(name.as_str());
        if let Some(field) = def
            .fields
            .values()
            .find(|field| field.ty.is_non_null() && missing(&field.name))
        {
            return Err(self.null(&field.ty));
        }
        Ok(JsonValue::Object(coerced))
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
