//! Whether a comparison fits the field that it is about.
//!
//! Owns [`check_op`]. What can never be true of a stored value is refused with what would be accepted, so that a slip of
//! the pen does not pass for an empty answer. A text that is no whole date or address is a useful bound, and is not refused.

use super::{Op, PredicateError};
use crate::scalar::Scalar;
use crate::schema::{FieldDef, FieldType, ModelDef};
use crate::validate::object_faults;
use crate::value::Value;

/// Checks an operator and its operands against a field.
pub(super) fn check_op(def: &ModelDef, field: &FieldDef, op: &Op) -> Result<(), PredicateError> {
    let is_list = field.list.is_some();
    let textual = is_textual(&field.ty);
    let fits = match op {
        Op::Eq(_) | Op::Ne(_) => true,
        Op::BeginsWith(_) => textual && !is_list,
        Op::Contains(_) | Op::NotContains(_) => textual || is_list,
        _ => !is_list && !matches!(field.ty, FieldType::NonModel(_)),
    };
    if !fits {
        return Err(PredicateError::BadOperator {
            model: def.name.clone(),
            field: field.name.clone(),
            op: op.name(),
            ty: field.to_string(),
        });
    }
    check_operands(def, field, op).map_err(|bad| PredicateError::BadOperand {
        model: def.name.clone(),
        field: field.name.clone(),
        found: format!("{} ({})", bad.operand.kind(), bad.operand),
        expected: bad.expected,
    })?;
    match op {
        Op::Between(low, high) if low.cmp_total(high).is_gt() => Err(PredicateError::BoundsReversed {
            model: def.name.clone(),
            field: field.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Whether values of the type are texts, of which a part can be looked for.
fn is_textual(ty: &FieldType) -> bool {
    match ty {
        FieldType::Scalar(scalar) => !matches!(
            scalar,
            Scalar::Int | Scalar::Float | Scalar::Boolean | Scalar::AwsTimestamp | Scalar::AwsJson
        ),
        FieldType::Enum(_) => true,
        FieldType::NonModel(_) | FieldType::Model(_) => false,
    }
}

/// An operand that is nothing to compare with.
struct Bad<'a> {
    operand: &'a Value,
    expected: String,
}

fn check_operands<'a>(def: &ModelDef, field: &FieldDef, op: &'a Op) -> Result<(), Bad<'a>> {
    let one = |operand: &'a Value| check_one(def, field, operand);
    match op {
        Op::Eq(operand) | Op::Ne(operand) if field.list.is_some() => check_list(def, field, operand),
        Op::Eq(operand)
        | Op::Ne(operand)
        | Op::Lt(operand)
        | Op::Le(operand)
        | Op::Gt(operand)
        | Op::Ge(operand) => one(operand),
        Op::Between(low, high) => one(low).and_then(|()| one(high)),
        Op::In(items) => items.iter().try_for_each(one),
        Op::Contains(part) | Op::NotContains(part) if field.list.is_some() => one(part),
        // A part of a text need not be a text that the field could hold.
        Op::Contains(Value::String(_) | Value::Null) | Op::NotContains(Value::String(_) | Value::Null) => {
            Ok(())
        }
        Op::Contains(part) | Op::NotContains(part) => Err(Bad {
            operand: part,
            expected: "a text that is a part of it".to_owned(),
        }),
        Op::BeginsWith(_) => Ok(()),
    }
}

/// A whole list to compare with.
fn check_list<'a>(def: &ModelDef, field: &FieldDef, operand: &'a Value) -> Result<(), Bad<'a>> {
    match operand {
        Value::Null => Ok(()),
        Value::List(items) => items.iter().try_for_each(|item| check_one(def, field, item)),
        _ => Err(Bad {
            operand,
            expected: "a list; `contains` looks for one element of it".to_owned(),
        }),
    }
}

/// A value, or an element of a list.
fn check_one<'a>(def: &ModelDef, field: &FieldDef, operand: &'a Value) -> Result<(), Bad<'a>> {
    let bad = |expected: String| Err(Bad { operand, expected });
    if operand.is_null() {
        return Ok(());
    }
    match &field.ty {
        FieldType::Scalar(scalar) => {
            let is_number = matches!(scalar, Scalar::Int | Scalar::Float);
            let fits = scalar.check(operand).is_ok()
                || (is_textual(&field.ty) && matches!(operand, Value::String(_)))
                || (is_number && matches!(operand, Value::Int(_) | Value::Float(_)));
            if fits {
                Ok(())
            } else {
                bad(scalar.accepts().to_owned())
            }
        }
        FieldType::Enum(name) => {
            let values = def.types.enums.get(name).map_or(&[][..], |def| &def.values);
            let is_value = operand
                .as_str()
                .is_some_and(|text| values.iter().any(|value| value == text));
            if is_value {
                Ok(())
            } else {
                bad(format!("one of {}", values.join(", ")))
            }
        }
        FieldType::NonModel(name) => match (operand, object_faults(&def.types, field, operand).as_slice()) {
            (_, []) => Ok(()),
            (Value::Object(_), [fault, ..]) => bad(format!(
                "a whole object of type `{name}`, and `{}` {}",
                fault.path, fault.message
            )),
            _ => bad(format!("a whole object of type `{name}`")),
        },
        FieldType::Model(_) => bad("nothing, since it is a relation".to_owned()),
    }
}
