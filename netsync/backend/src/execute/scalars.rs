//! AWS scalars on their way in.
//!
//! Owns the check of a JSON value against a scalar and AppSync's words for a misfit. `AWSJSON` comes as a string that
//! holds JSON and is stored parsed.

use apollo_compiler::ast::Value as Literal;
use apollo_compiler::response::JsonValue;
use landfall_core::{Scalar, Value};

use crate::json::value_of;

/// Whether a value fits a scalar of AWS; built-in scalars are the executor's business.
///
/// # Errors
/// AppSync's words for the misfit.
pub(super) fn check(scalar: Scalar, value: &JsonValue) -> Result<(), String> {
    let fits = match scalar {
        Scalar::AwsJson => value.as_str().is_some_and(|text| parse_json(text).is_some()),
        scalar => scalar.check(&value_of(value)).is_ok(),
    };
    if fits {
        return Ok(());
    }
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let what = match scalar {
        Scalar::AwsDateTime => "DateTime Object",
        Scalar::AwsDate => "Date Object",
        Scalar::AwsTime => "Time Object",
        Scalar::AwsTimestamp => "Timestamp Object",
        Scalar::AwsEmail => "Email",
        Scalar::AwsUrl => "URL",
        Scalar::AwsPhone => "Phone Number",
        Scalar::AwsIpAddress => "IP Address",
        Scalar::AwsJson => "JSON",
        other => return Err(format!("Expected type '{other}'")),
    };
    Err(format!("Unable to parse `{shown}` as a valid {what}."))
}

/// The JSON that an `AWSJSON` string holds.
pub(super) fn parse_json(text: &str) -> Option<Value> {
    serde_json::from_str::<Value>(text).ok()
}

/// A scalar literal as JSON; `None` for what is no scalar or does not fit a number.
pub(super) fn literal_json(literal: &Literal) -> Option<JsonValue> {
    Some(match literal {
        Literal::String(text) => JsonValue::from(text.as_str()),
        Literal::Enum(name) => JsonValue::from(name.as_str()),
        Literal::Boolean(b) => JsonValue::from(*b),
        // One beyond the integers is the float that a variable of the same text would be; left out, it would take the condition
        // along that it is part of.
        Literal::Int(n) => match n.as_str().parse::<i64>() {
            Ok(int) => JsonValue::from(int),
            Err(_) => JsonValue::from(n.as_str().parse::<f64>().ok()?),
        },
        Literal::Float(x) => JsonValue::from(x.as_str().parse::<f64>().ok()?),
        Literal::Null | Literal::Variable(_) | Literal::List(_) | Literal::Object(_) => return None,
    })
}
