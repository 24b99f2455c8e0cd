//! Rows: the values of a record so that any one of them can be read without touching the others.
//!
//! Owns layouts and the row encoding. A row names its layout, which lists the field names of the model at the time of
//! writing; so rows of an older schema stay readable and a new field costs nothing until a row is written again.
//!
//! ```text
//! flags u8 · layout u16 · end offset of each value, u16 or u32 by flag · values as MessagePack; null takes no byte
//! ```

use serde::{Deserialize, Serialize};

use landfall_core::{FieldName, FieldSource, ModelDef, ModelName, Row, Slot, Value, ValueRef};

use crate::error::StorageError;

/// Set in the first byte if offsets take four bytes, because the values exceed 65,535 bytes.
const WIDE: u8 = 1;
const HEADER_LEN: usize = 3;

/// Number of a layout, from 0 in order of appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LayoutId(pub(crate) u16);

/// Field names of a model in the order in which rows hold their values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub(crate) model: ModelName,
    pub(crate) fields: Vec<FieldName>,
}

/// How rows of one layout are read with the model of today.
#[derive(Clone, Debug)]
pub(crate) struct RowReader {
    /// Number of values in the row.
    columns: usize,
    /// For each slot of the model, the column of the row that holds it. `None` if the two are the same.
    columns_of_slots: Option<Vec<Option<usize>>>,
    slots: usize,
}

impl Layout {
    /// The layout in which rows of the model are written.
    pub(crate) fn of(def: &ModelDef) -> Self {
        Self {
            model: def.name.clone(),
            fields: def.stored_fields().map(|f| f.name.clone()).collect(),
        }
    }
}

impl RowReader {
    pub(crate) fn new(layout: &Layout, def: &ModelDef) -> Self {
        let today: Vec<&FieldName> = def.stored_fields().map(|f| &f.name).collect();
        let same =
            today.len() == layout.fields.len() && today.iter().zip(&layout.fields).all(|(a, b)| *a == b);
        let columns_of_slots = (!same).then(|| {
            today
                .iter()
                .map(|name| layout.fields.iter().position(|field| field == *name))
                .collect()
        });
        Self {
            columns: layout.fields.len(),
            columns_of_slots,
            slots: today.len(),
        }
    }

    fn column(&self, slot: usize) -> Option<usize> {
        match &self.columns_of_slots {
            None => (slot < self.columns).then_some(slot),
            Some(columns) => columns.get(slot).copied().flatten(),
        }
    }

    /// All values in slot order.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<Row, StorageError> {
        let parts = Parts::of(row, self.columns).ok_or_else(damaged)?;
        let mut values = Vec::with_capacity(self.slots);
        if self.columns_of_slots.is_none() {
            // Nearly all rows are of today's layout: each value begins where the one before it ends.
            let mut start = 0;
            for column in 0..self.columns {
                let end = parts.end(column);
                values.push(decode_value(parts.values.get(start..end).ok_or_else(damaged)?)?);
                start = end;
            }
            return Ok(values);
        }
        for slot in 0..self.slots {
            values.push(match self.column(slot) {
                Some(column) => decode_value(parts.value(column).ok_or_else(damaged)?)?,
                None => Value::Null,
            });
        }
        Ok(values)
    }
}

/// An encoded row with its reader: what predicates are tested on.
pub(crate) struct EncodedRow<'a> {
    pub(crate) reader: &'a RowReader,
    pub(crate) bytes: &'a [u8],
}

impl FieldSource for EncodedRow<'_> {
    /// A damaged value reads as null here; decoding the whole row reports it.
    #[inline]
    fn value_at(&self, slot: Slot) -> ValueRef<'_> {
        match self.encoded(slot) {
            None => ValueRef::Null,
            Some(bytes) => common(bytes).unwrap_or_else(|| decode_ref(bytes).unwrap_or(ValueRef::Null)),
        }
    }
}

impl EncodedRow<'_> {
    #[inline]
    fn encoded(&self, slot: Slot) -> Option<&[u8]> {
        let column = self.reader.column(slot.index())?;
        Parts::of(self.bytes, self.reader.columns)?.value(column)
    }
}

/// The layout that a row names.
pub(crate) fn layout_of(row: &[u8]) -> Result<LayoutId, StorageError> {
    match row {
        [_, low, high, ..] => Ok(LayoutId(u16::from_le_bytes([*low, *high]))),
        _ => Err(damaged()),
    }
}

/// Appends a row.
pub(crate) fn encode(out: &mut Vec<u8>, layout: LayoutId, values: &[Value]) {
    let start = out.len();
    encode_with::<2>(out, layout, values);
    if out.len() - start > usize::from(u16::MAX) {
        out.truncate(start);
        encode_with::<4>(out, layout, values);
    }
}

fn encode_with<const WIDTH: usize>(out: &mut Vec<u8>, layout: LayoutId, values: &[Value]) {
    out.push(if WIDTH == 4 { WIDE } else { 0 });
    out.extend_from_slice(&layout.0.to_le_bytes());
    let offsets = out.len();
    out.resize(offsets + values.len() * WIDTH, 0);
    let area = out.len();
    for (index, value) in values.iter().enumerate() {
        encode_value(out, value);
        let end = (out.len() - area).to_le_bytes();
        let at = offsets + index * WIDTH;
        out[at..at + WIDTH].copy_from_slice(&end[..WIDTH]);
    }
}

/// The offsets and values of a row.
struct Parts<'a> {
    offsets: &'a [u8],
    values: &'a [u8],
    wide: bool,
}

impl<'a> Parts<'a> {
    /// `None` if the row is cut short.
    #[inline]
    fn of(row: &'a [u8], columns: usize) -> Option<Self> {
        let wide = row.first()? & WIDE != 0;
        let offsets_len = columns * if wide { 4 } else { 2 };
        let (offsets, values) = row.get(HEADER_LEN..)?.split_at_checked(offsets_len)?;
        Some(Self {
            offsets,
            values,
            wide,
        })
    }

    #[inline]
    fn end(&self, column: usize) -> usize {
        if self.wide {
            let at = column * 4;
            u32::from_le_bytes([
                self.offsets[at],
                self.offsets[at + 1],
                self.offsets[at + 2],
                self.offsets[at + 3],
            ]) as usize
        } else {
            let at = column * 2;
            usize::from(u16::from_le_bytes([self.offsets[at], self.offsets[at + 1]]))
        }
    }

    #[inline]
    fn value(&self, column: usize) -> Option<&'a [u8]> {
        let start = if column == 0 { 0 } else { self.end(column - 1) };
        self.values.get(start..self.end(column))
    }
}

fn damaged() -> StorageError {
    StorageError::corrupt("a row is cut short")
}

fn encode_value(out: &mut Vec<u8>, value: &Value) {
    const NEVER_FAILS: &str = "writing MessagePack to memory cannot fail";
    match value {
        Value::Null => {}
        Value::Bool(b) => rmp::encode::write_bool(out, *b).expect(NEVER_FAILS),
        Value::Int(n) => drop(rmp::encode::write_sint(out, *n).expect(NEVER_FAILS)),
        Value::Float(x) => rmp::encode::write_f64(out, *x).expect(NEVER_FAILS),
        Value::String(text) => rmp::encode::write_str(out, text).expect(NEVER_FAILS),
        Value::List(_) | Value::Object(_) => rmp_serde::encode::write(out, value).expect(NEVER_FAILS),
    }
}

/// The commonest forms but for texts, which are read without a detour: queries spend most of their own time here.
#[inline]
fn common(bytes: &[u8]) -> Option<ValueRef<'_>> {
    Some(match bytes {
        [] => ValueRef::Null,
        [small @ 0..=0x7f] => ValueRef::Int(i64::from(*small)),
        [0xcc, byte] => ValueRef::Int(i64::from(*byte)),
        [0xcd, high, low] => ValueRef::Int(i64::from(u16::from_be_bytes([*high, *low]))),
        [0xcb, float @ ..] => ValueRef::Float(f64::from_be_bytes(float.try_into().ok()?)),
        [0xc2] => ValueRef::Bool(false),
        [0xc3] => ValueRef::Bool(true),
        _ => return None,
    })
}

fn decode_value(bytes: &[u8]) -> Result<Value, StorageError> {
    // Short texts are most of what records hold.
    let short = match bytes {
        [marker @ 0xa0..=0xbf, text @ ..] => Some((usize::from(marker & 0x1f), text)),
        [0xd9, length, text @ ..] => Some((usize::from(*length), text)),
        _ => None,
    };
    if let Some((length, text)) = short
        && length == text.len()
        && let Ok(text) = str::from_utf8(text)
    {
        return Ok(Value::String(text.to_owned()));
    }
    let value = match common(bytes) {
        Some(value) => value,
        None => decode_ref(bytes)?,
    };
    Ok(match value {
        ValueRef::Str(text) => Value::String(text.to_owned()),
        ValueRef::Compound(value) => value.into_owned(),
        scalar => scalar.to_value(),
    })
}

fn decode_ref(bytes: &[u8]) -> Result<ValueRef<'_>, StorageError> {
    let Some(marker) = bytes.first() else {
        return Ok(ValueRef::Null);
    };
    Ok(match marker {
        0xc0 => ValueRef::Null,
        0xc2 => ValueRef::Bool(false),
        0xc3 => ValueRef::Bool(true),
        0xa0..=0xbf | 0xd9..=0xdb => {
            let (text, _) = rmp::decode::read_str_from_slice(bytes)
                .map_err(|error| StorageError::corrupt(format!("unreadable text: {error}")))?;
            ValueRef::Str(text)
        }
        0xca | 0xcb => ValueRef::Float(
            rmp::decode::read_f64(&mut &*bytes)
                .map_err(|error| StorageError::corrupt(format!("unreadable float: {error}")))?,
        ),
        0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xd3 => ValueRef::Int(
            rmp::decode::read_int(&mut &*bytes)
                .map_err(|error| StorageError::corrupt(format!("unreadable integer: {error}")))?,
        ),
        _ => ValueRef::Compound(std::borrow::Cow::Owned(rmp_serde::from_slice(bytes)?)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use landfall_core::{FieldDef, KeyDef, KeyKind, ModelParts, Scalar, Schema, SchemaParts, Timestamps};

    fn def(fields: &[&str]) -> Arc<ModelDef> {
        let mut parts = vec![FieldDef {
            required: true,
            ..FieldDef::scalar("id", Scalar::Id)
        }];
        parts.extend(fields.iter().map(|name| FieldDef::scalar(name, Scalar::AwsJson)));
        let model = ModelParts {
            name: "M".into(),
            plural_name: "Ms".into(),
            syncable: true,
            fields: parts,
            key: KeyDef {
                kind: KeyKind::Managed,
                fields: vec!["id".into()],
                declared: false,
            },
            indexes: Vec::new(),
            timestamps: Timestamps::default(),
            auth: Vec::new(),
        };
        let schema = Schema::build(SchemaParts {
            models: vec![model],
            ..SchemaParts::default()
        });
        Arc::clone(schema.expect("sound").model("M").expect("there"))
    }

    fn row() -> Row {
        let object = [("k".to_owned(), Value::List(vec![1_i64.into(), Value::Null]))].into();
        vec![
            "p1".into(),
            Value::Null,
            (-70_000_i64).into(),
            2.5.into(),
            true.into(),
            Value::Object(object),
        ]
    }

    #[test]
    fn rows_come_back_whole_and_value_by_value() {
        let def = def(&["a", "b", "c", "d", "e"]);
        let mut bytes = Vec::new();
        encode(&mut bytes, LayoutId(7), &row());
        assert_eq!(layout_of(&bytes).expect("long enough"), LayoutId(7));
        let reader = RowReader::new(&Layout::of(&def), &def);
        assert_eq!(reader.decode(&bytes).expect("readable"), row());
        let encoded = EncodedRow {
            reader: &reader,
            bytes: &bytes,
        };
        for (index, value) in row().iter().enumerate() {
            let slot = Slot(u16::try_from(index).expect("few"));
            assert_eq!(&encoded.value_at(slot).to_value(), value);
        }
    }

    #[test]
    fn large_rows_use_wide_offsets() {
        let def = def(&["a"]);
        let values = vec!["p1".into(), Value::String("x".repeat(70_000))];
        let mut bytes = Vec::new();
        encode(&mut bytes, LayoutId(0), &values);
        assert_eq!(bytes[0], WIDE);
        assert_eq!(
            RowReader::new(&Layout::of(&def), &def)
                .decode(&bytes)
                .expect("readable"),
            values
        );
    }

    #[test]
    fn rows_of_an_older_layout_fit_the_model_of_today() {
        let old = def(&["gone", "kept"]);
        let today = def(&["kept", "new"]);
        let mut bytes = Vec::new();
        encode(
            &mut bytes,
            LayoutId(0),
            &["p1".into(), 1_i64.into(), 2_i64.into()],
        );
        let reader = RowReader::new(&Layout::of(&old), &today);
        assert_eq!(
            reader.decode(&bytes).expect("readable"),
            vec!["p1".into(), 2_i64.into(), Value::Null]
        );
    }

    #[test]
    fn damaged_rows_are_reported_not_believed() {
        let def = def(&["a"]);
        let reader = RowReader::new(&Layout::of(&def), &def);
        let mut bytes = Vec::new();
        encode(&mut bytes, LayoutId(0), &["p1".into(), "text".into()]);
        for cut in 0..bytes.len() {
            assert!(reader.decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
