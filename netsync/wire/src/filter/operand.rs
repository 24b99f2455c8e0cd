//! Which comparisons each of AppSync's filter inputs has, and how their operands are written.
//!
//! Owns [`Family`], the kind of input that a field gets. Does not decide what to do when a comparison is missing.

use landfall_core::{FieldDef, FieldType, Op, Scalar, Value};
use serde_json::{Value as Json, json};

/// The kind of filter input of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `ModelStringInput`, `ModelIDInput`
    Text,
    /// `ModelIntInput`, `ModelFloatInput`
    Number,
    /// `ModelBooleanInput`
    Boolean,
    /// `Model<Enum>Input`
    Enum,
    /// `ModelStringInput` over a list
    TextList,
    /// Numeric and boolean inputs over a list: they can test presence only.
    OtherList,
    /// `Model<Enum>ListInput`
    EnumList,
    /// `ModelStringInput` over stored JSON, which compares with no text.
    Json,
    /// No input: non-model objects and relations.
    None,
}

impl Family {
    pub(super) fn of(field: &FieldDef) -> Self {
        match (&field.ty, field.list) {
            (FieldType::NonModel(_) | FieldType::Model(_), _) => Self::None,
            (FieldType::Enum(_), None) => Self::Enum,
            (FieldType::Enum(_), Some(_)) => Self::EnumList,
            (FieldType::Scalar(Scalar::AwsJson), _) => Self::Json,
            (FieldType::Scalar(Scalar::Int | Scalar::Float | Scalar::AwsTimestamp), None) => Self::Number,
            (FieldType::Scalar(Scalar::Boolean), None) => Self::Boolean,
            (
                FieldType::Scalar(Scalar::Int | Scalar::Float | Scalar::AwsTimestamp | Scalar::Boolean),
                Some(_),
            ) => Self::OtherList,
            (FieldType::Scalar(_), None) => Self::Text,
            (FieldType::Scalar(_), Some(_)) => Self::TextList,
        }
    }

    /// Whether the inputs of sync filters and conditions have the comparison; null operands are another matter.
    pub(super) fn filters(self, op: &Op) -> bool {
        match self {
            Self::Text => !matches!(op, Op::In(_)),
            Self::Number => {
                matches!(
                    op,
                    Op::Eq(_) | Op::Ne(_) | Op::Lt(_) | Op::Le(_) | Op::Gt(_) | Op::Ge(_) | Op::Between(..)
                )
            }
            Self::Boolean | Self::Enum => matches!(op, Op::Eq(_) | Op::Ne(_)),
            Self::TextList | Self::EnumList => matches!(op, Op::Contains(_) | Op::NotContains(_)),
            Self::OtherList | Self::Json | Self::None => false,
        }
    }

    /// Whether the inputs of subscription filters have the comparison. Enums are texts there.
    pub(super) fn subscribes(self, op: &Op) -> bool {
        match self {
            Self::Text | Self::Enum => true,
            Self::Number => !matches!(op, Op::Contains(_) | Op::NotContains(_) | Op::BeginsWith(_)),
            Self::Boolean => matches!(op, Op::Eq(_) | Op::Ne(_)),
            Self::TextList | Self::EnumList => matches!(op, Op::Contains(_) | Op::NotContains(_)),
            Self::OtherList | Self::Json | Self::None => false,
        }
    }

    /// Whether the inputs of sync filters and conditions have `attributeExists`.
    pub(super) fn has_attribute_tests(self) -> bool {
        !matches!(self, Self::Enum | Self::EnumList | Self::None)
    }

    /// Whether the input takes a null operand.
    pub(super) fn compares_null(self) -> bool {
        self != Self::None
    }
}

/// The operand of a comparison as the field's input takes it; `None` if it does not fit, such as an `Int` beyond
/// 32 bits.
pub(super) fn operand(field: &FieldDef, op: &Op) -> Option<Json> {
    match op {
        Op::Eq(v) | Op::Ne(v) | Op::Lt(v) | Op::Le(v) | Op::Gt(v) | Op::Ge(v) => scalar(field, v),
        Op::Between(low, high) => Some(json!([scalar(field, low)?, scalar(field, high)?])),
        Op::BeginsWith(prefix) => Some(json!(prefix)),
        Op::Contains(part) | Op::NotContains(part) => part.as_str().map(Json::from),
        Op::In(items) => items.iter().map(|item| scalar(field, item)).collect(),
    }
}

fn scalar(field: &FieldDef, value: &Value) -> Option<Json> {
    match (&field.ty, value) {
        // The input type of timestamps is the 32-bit `Int` too, although the field is wider.
        (FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp), Value::Int(n)) => {
            i32::try_from(*n).ok().map(Json::from)
        }
        (FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp), Value::Float(x)) => {
            let whole = x.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(x);
            #[allow(clippy::cast_possible_truncation)] // Whole and in range by the test above.
            whole.then(|| Json::from(*x as i32))
        }
        (FieldType::Scalar(Scalar::Float), Value::Int(_) | Value::Float(_))
        | (FieldType::Scalar(Scalar::Boolean), Value::Bool(_)) => Some(value.into()),
        (FieldType::Scalar(_) | FieldType::Enum(_), Value::String(text)) => Some(json!(text)),
        _ => None,
    }
}
