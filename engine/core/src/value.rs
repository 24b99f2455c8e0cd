//! Values of fields, and how they compare.
//!
//! Owns [`Value`], its borrowed twin [`ValueRef`] and their order. Does not know types: whether a value fits a field
//! is the business of `validate.rs`.
//!
//! Invariants: 1. numbers are finite; 2. `Int` and `Float` compare as numbers; 3. null comes before everything.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value of a field: a scalar, a list, or an object of a non-model type or of `AWSJSON`.
///
/// Strings hold every textual scalar (`ID`, `AWSDate`, `AWSEmail`, ...) and enum values. `AWSJSON` is held parsed.
///
/// ```
/// use landfall_core::Value;
///
/// assert_eq!(Value::from("Reef").as_str(), Some("Reef"));
/// assert_eq!(Value::from(5).as_int(), Some(5));
/// assert!(Value::default().is_null());
/// assert!(Value::Null.cmp_total(&Value::Bool(false)).is_lt());
/// let tags = Value::List(vec!["sea".into(), "tide".into()]);
/// assert_eq!(tags.to_string(), r#"["sea","tide"]"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// `Boolean`.
    Bool(bool),
    /// `Int` (32 bits by validation) and `AWSTimestamp` (64 bits).
    Int(i64),
    /// `Float`; always finite.
    Float(f64),
    /// Every textual scalar and enum values.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A non-model object, or a JSON object inside `AWSJSON`.
    Object(BTreeMap<String, Value>),
}

/// A value borrowed from an encoded row or from a [`Value`]; what predicates compare without copying.
#[derive(Clone, Debug)]
pub enum ValueRef<'a> {
    /// Absent.
    Null,
    /// `Boolean`.
    Bool(bool),
    /// `Int` and `AWSTimestamp`.
    Int(i64),
    /// `Float`.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// A list or an object, borrowed where possible.
    Compound(std::borrow::Cow<'a, Value>),
}

impl Value {
    /// Whether the value is absent.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is a list with something in it, or an object with such a list.
    pub(crate) fn has_list(&self) -> bool {
        match self {
            Self::List(items) => !items.is_empty(),
            Self::Object(fields) => fields.values().any(Self::has_list),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::String(_) => false,
        }
    }

    /// About how many bytes the value takes in a row or in an entry of the log: its texts, and nine for everything else.
    ///
    /// ```
    /// use landfall_core::Value;
    ///
    /// assert_eq!(Value::from("reef").bytes(), 9 + 4);
    /// assert_eq!(Value::from(vec![1, 2]).bytes(), 9 + 2 * 9);
    /// ```
    pub fn bytes(&self) -> usize {
        /// Of a number, or in front of a text, a list or an object.
        const OWN: usize = 9;
        OWN + match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::String(text) => text.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            Self::Object(members) => members
                .iter()
                .map(|(name, value)| OWN + name.len() + value.bytes())
                .sum(),
        }
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an integer value.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Borrows the value for comparison.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Bool(b) => ValueRef::Bool(*b),
            Self::Int(n) => ValueRef::Int(*n),
            Self::Float(x) => ValueRef::Float(*x),
            Self::String(s) => ValueRef::Str(s),
            Self::List(_) | Self::Object(_) => ValueRef::Compound(std::borrow::Cow::Borrowed(self)),
        }
    }

    /// What kind of value it is, in words for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Total order used for sorting: null first, then booleans, numbers, text by UTF-8 bytes, lists, objects.
    ///
    /// ```
    /// use landfall_core::Value;
    /// assert!(Value::Null.cmp_total(&Value::Int(-1)).is_lt());
    /// assert!(Value::Int(2).cmp_total(&Value::Float(1.5)).is_gt());
    /// assert!(Value::Float(-0.0).cmp_total(&Value::Float(0.0)).is_eq());
    /// ```
    pub fn cmp_total(&self, other: &Self) -> Ordering {
        self.as_ref().cmp_total(&other.as_ref())
    }
}

impl ValueRef<'_> {
    /// Whether the value is absent.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Copies the value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Float(x) => Value::Float(*x),
            Self::Str(s) => Value::String((*s).to_owned()),
            Self::Compound(value) => value.clone().into_owned(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) => 2,
            Self::Str(_) => 3,
            Self::Compound(value) => match value.as_ref() {
                Value::List(_) => 4,
                _ => 5,
            },
        }
    }

    /// Total order used for sorting; see [`Value::cmp_total`].
    pub fn cmp_total(&self, other: &ValueRef<'_>) -> Ordering {
        match (self, other) {
            (Self::Bool(a), ValueRef::Bool(b)) => a.cmp(b),
            (Self::Int(a), ValueRef::Int(b)) => a.cmp(b),
            // The two zeros are one number. Everything else that is equal has the same bits.
            (Self::Float(a), ValueRef::Float(b)) if a == b => Ordering::Equal,
            (Self::Float(a), ValueRef::Float(b)) => a.total_cmp(b),
            (Self::Int(a), ValueRef::Float(b)) => cmp_int_float(*a, *b),
            (Self::Float(a), ValueRef::Int(b)) => cmp_int_float(*b, *a).reverse(),
            (Self::Str(a), ValueRef::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Compound(a), ValueRef::Compound(b)) => match (a.as_ref(), b.as_ref()) {
                (Value::List(a), Value::List(b)) => cmp_lists(a, b),
                (Value::Object(a), Value::Object(b)) => cmp_objects(a, b),
                _ => self.rank().cmp(&other.rank()),
            },
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// Order of two comparable values, or `None` if either is null or their kinds differ (SQL's unknown).
    pub fn partial_cmp_sql(&self, other: &ValueRef<'_>) -> Option<Ordering> {
        if self.is_null() || other.is_null() || self.rank() != other.rank() {
            return None;
        }
        Some(self.cmp_total(other))
    }
}

/// Compares exactly, without rounding a large integer to the nearest float.
fn cmp_int_float(int: i64, float: f64) -> Ordering {
    // Every i64 lies in [-2^63, 2^63); outside it the float decides alone.
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    if float >= TWO_POW_63 {
        return Ordering::Less;
    }
    if float < -TWO_POW_63 {
        return Ordering::Greater;
    }
    let floor = float.floor();
    #[allow(clippy::cast_possible_truncation)] // In range by the two tests above.
    let whole = floor as i64;
    match int.cmp(&whole) {
        Ordering::Equal if float > floor => Ordering::Less,
        order => order,
    }
}

fn cmp_lists(a: &[Value], b: &[Value]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        match x.cmp_total(y) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    a.len().cmp(&b.len())
}

fn cmp_objects(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Ordering {
    for ((ka, va), (kb, vb)) in a.iter().zip(b) {
        match ka.cmp(kb).then_with(|| va.cmp_total(vb)) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    a.len().cmp(&b.len())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_string(self) {
            Ok(text) => f.write_str(&text),
            Err(_) => f.write_str("<unprintable>"),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => number(n),
            serde_json::Value::String(s) => Self::String(s.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Into::into).collect()),
            serde_json::Value::Object(members) => {
                Self::Object(members.iter().map(|(k, v)| (k.clone(), v.into())).collect())
            }
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(b),
            serde_json::Value::Number(n) => number(&n),
            serde_json::Value::String(s) => Self::String(s),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Into::into).collect()),
            serde_json::Value::Object(members) => {
                Self::Object(members.into_iter().map(|(k, v)| (k, v.into())).collect())
            }
        }
    }
}

fn number(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(int), _) => Value::Int(int),
        (None, Some(float)) => Value::Float(float),
        (None, None) => Value::Null,
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::from(*n),
            Value::Float(x) => Self::from(*x),
            Value::String(s) => Self::String(s.clone()),
            Value::List(items) => Self::Array(items.iter().map(Into::into).collect()),
            Value::Object(members) => {
                Self::Object(members.iter().map(|(k, v)| (k.clone(), v.into())).collect())
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(n) => serializer.serialize_i64(*n),
            Self::Float(x) => serializer.serialize_f64(*x),
            Self::String(s) => serializer.serialize_str(s),
            Self::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        #[allow(clippy::cast_precision_loss)] // Beyond i64 only the magnitude is kept, as in JSON.
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        // The hint comes from outside; growing is left to the vector.
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(64));
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = 9_007_199_254_740_993_i64; // 2^53 + 1, which no f64 holds.
        assert_eq!(cmp_int_float(big, 9_007_199_254_740_992.0), Ordering::Greater);
        assert_eq!(cmp_int_float(i64::MAX, 1e300), Ordering::Less);
        assert_eq!(cmp_int_float(i64::MIN, -1e300), Ordering::Greater);
        assert_eq!(cmp_int_float(1, 1.5), Ordering::Less);
        assert_eq!(cmp_int_float(-1, -1.5), Ordering::Greater);
        assert_eq!(cmp_int_float(3, 3.0), Ordering::Equal);
    }

    #[test]
    fn null_is_unknown_in_comparisons_but_first_in_sorting() {
        assert_eq!(
            Value::Null.as_ref().partial_cmp_sql(&Value::Int(0).as_ref()),
            None
        );
        assert_eq!(Value::Null.cmp_total(&Value::Bool(false)), Ordering::Less);
        assert_eq!(
            Value::from("a").as_ref().partial_cmp_sql(&Value::Int(0).as_ref()),
            None
        );
    }

    #[test]
    fn floats_are_read_from_json_to_the_last_digit() {
        // A quick reader takes each of these for its neighbour.
        for float in [
            0.916_345_371_808_551_9,
            138.767_418_398_903_17,
            98.669_910_878_426_73,
        ] {
            let read: serde_json::Value = serde_json::from_str(&format!("{float:?}")).expect("JSON");
            assert_eq!(Value::from(&read), Value::Float(float));
        }
    }

    #[test]
    fn json_round_trip_keeps_values() {
        let json = serde_json::json!({"a": [1, 2.5, null, "x", true], "b": {"c": -7}});
        let value = Value::from(&json);
        assert_eq!(serde_json::Value::from(&value), json);
        let text = serde_json::to_string(&value).expect("serialises");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("parses"), value);
    }
}
