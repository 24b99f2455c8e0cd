//! Operands of comparisons in the form in which keys hold the values of a field.
//!
//! Owns [`Kind`]. A predicate may compare an `Int` field with 2.5 and a `Float` field with 3; keys of one field hold
//! values of one kind, so such an operand has to be brought to that kind before it can bound a range of keys.
//!
//! Invariant: a bound made here leaves out no value that the comparison holds for; it may let in others.

use landfall_core::{FieldType, ModelDef, Scalar, Slot, Value, keycode};

/// Bytes with which `keycode` ends a text.
const TEXT_END_LEN: usize = 2;

/// Up to here every integer is a `f64` of its own.
const EXACT_MAX: i64 = 1 << 53;

/// What keys hold of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    /// The kind of a field; `None` if its values have none in common or no order (lists, objects, JSON).
    pub(super) fn of(def: &ModelDef, slot: Slot) -> Option<Self> {
        let field = def.stored_field(slot);
        if field.list.is_some() {
            return None;
        }
        match &field.ty {
            FieldType::Scalar(Scalar::AwsJson) | FieldType::NonModel(_) | FieldType::Model(_) => None,
            FieldType::Scalar(Scalar::Boolean) => Some(Self::Bool),
            FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp) => Some(Self::Int),
            FieldType::Scalar(Scalar::Float) => Some(Self::Float),
            FieldType::Scalar(_) | FieldType::Enum(_) => Some(Self::Text),
        }
    }

    fn is_of(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Bool, Value::Bool(_))
                | (Self::Int, Value::Int(_))
                | (Self::Float, Value::Float(_))
                | (Self::Text, Value::String(_))
        )
    }

    /// The one value of this kind that equals the operand; `None` if there is none, or more than one.
    pub(super) fn equal(self, operand: &Value) -> Option<Value> {
        match (self, operand) {
            (Self::Float, Value::Int(n)) if n.abs_diff(0) <= EXACT_MAX.unsigned_abs() => {
                Some(Value::Float(to_float(*n)))
            }
            (Self::Int, Value::Float(x)) if x.fract() == 0.0 && x.abs() <= to_float(EXACT_MAX) => {
                Some(Value::Int(to_int(*x)))
            }
            (kind, value) => kind.is_of(value).then(|| value.clone()),
        }
    }

    /// Encoded, from where on values are greater than the operand, or equal to it if that is wanted.
    pub(super) fn start(self, operand: &Value, or_equal: bool) -> Option<Vec<u8>> {
        match (self, operand) {
            (Self::Float, Value::Int(n)) => Some(encoded(&Value::Float(to_float(*n).next_down()))),
            (Self::Int, Value::Float(x)) => Some(encoded(&Value::Int(to_int(x.ceil())))),
            (kind, value) if kind.is_of(value) && or_equal => Some(encoded(value)),
            (kind, value) if kind.is_of(value) => after(&encoded(value)),
            _ => None,
        }
    }

    /// Encoded, up to where values are less than the operand, or equal to it if that is wanted.
    pub(super) fn end(self, operand: &Value, or_equal: bool) -> Option<Vec<u8>> {
        match (self, operand) {
            (Self::Float, Value::Int(n)) => after(&encoded(&Value::Float(to_float(*n).next_up()))),
            (Self::Int, Value::Float(x)) => after(&encoded(&Value::Int(to_int(x.floor())))),
            (kind, value) if kind.is_of(value) && or_equal => after(&encoded(value)),
            (kind, value) if kind.is_of(value) => Some(encoded(value)),
            _ => None,
        }
    }

    /// Where the encoded values of this kind begin and end; null is outside.
    pub(super) fn limits(self) -> (Vec<u8>, Vec<u8>) {
        let (first, last) = match self {
            Self::Bool => (Value::Bool(false), Value::Bool(true)),
            Self::Int => (Value::Int(0), Value::Int(0)),
            Self::Float => (Value::Float(0.0), Value::Float(0.0)),
            Self::Text => (Value::String(String::new()), Value::String(String::new())),
        };
        let tag = |value: &Value| encoded(value)[0];
        (vec![tag(&first)], vec![tag(&last) + 1])
    }

    /// Where the encoded texts with this beginning begin and end.
    pub(super) fn beginning(text: &str) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut start = encoded(&Value::String(text.to_owned()));
        start.truncate(start.len() - TEXT_END_LEN);
        let end = after(&start);
        (start, end)
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    keycode::encode_value(&mut out, value);
    out
}

/// Keys go on behind a value, so what is greater than it starts after every key that begins with it.
fn after(encoded: &[u8]) -> Option<Vec<u8>> {
    crate::tables::prefix_end(encoded)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "callers widen the bound, or ask for exact integers only"
)]
fn to_float(n: i64) -> f64 {
    n as f64
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a cast saturates, which only widens the bound"
)]
fn to_int(x: f64) -> i64 {
    x as i64
}
