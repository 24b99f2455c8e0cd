//! What the tests of this crate share: a small blog schema, and a compact notation for fields, records and states.
//!
//! Owns the notation: fields are `name=value` with blanks between; a value is `null`, `true`, `false`, a number, a
//! list such as `[a,b]`, or else a text without blanks. Rows and patches are shown without the identifier `id`.
//! One record and what happens to it is [`lab::Lab`].

pub(crate) mod lab;

use std::sync::Arc;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use crate::mutation::{Mutation, MutationKind, Seq, Stage};
use crate::names::FieldName;
use crate::record::{FieldMap, RecordKey, RecordVersion, SyncMetadata};
use crate::scalar::Scalar;
use crate::schema::{
    Association, EnumDef, FieldDef, FieldType, IndexDef, KeyDef, KeyKind, ListDef, ModelDef, ModelParts,
    NonModelDef, Schema, SchemaParts, Timestamps,
};
use crate::state::Row;
use crate::value::Value;

/// Fixes the seed that random tests start from, so that every run is the same; `PROPTEST_RNG_SEED` overrides it.
const SEED: u64 = 0x1a2d_fa11;

/// Settings of random tests: the fixed seed, which is printed so that a failure says it, and no files of failures.
pub(crate) fn proptest_config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    println!(
        "seed {:?}, {} cases; PROPTEST_RNG_SEED and PROPTEST_CASES change them",
        config.rng_seed, config.cases
    );
    config
}

/// The models that the tests speak of.
///
/// `Blog` has posts, `Post` has comments, `Todo` is a flat record whose identifier the app may choose, `Memo` is the
/// same with an identifier that the store makes, `Order` has a composite key and a composite index, `Setting` is
/// never synced.
pub(crate) fn blog() -> Schema {
    Schema::build(blog_parts()).expect("the blog schema is sound")
}

/// One model of [`blog`].
pub(crate) fn blog_model(name: &str) -> Arc<ModelDef> {
    Arc::clone(blog().model(name).expect("a model of the blog schema"))
}

/// The unchecked parts of [`blog`].
pub(crate) fn blog_parts() -> SchemaParts {
    let place = sdl("city: String!, lat: Float");
    let next = typed("next: Place", FieldType::NonModel("Place".into()));
    SchemaParts {
        models: vec![
            comment(),
            post(),
            blog_itself(),
            todo(),
            model("Memo", flat()),
            order(),
            setting(),
        ],
        enums: vec![EnumDef {
            name: "PostStatus".into(),
            values: vec!["DRAFT".into(), "LIVE".into()],
        }],
        non_models: vec![object("Place", [place, vec![next]].concat())],
        ..SchemaParts::default()
    }
}

fn flat() -> Vec<FieldDef> {
    sdl("id: ID!, note: String, rating: Int, tags: [String!], title: String")
}

fn todo() -> ModelParts {
    let mut todo = model("Todo", flat());
    todo.key = KeyDef {
        kind: KeyKind::OptionallyManaged,
        declared: true,
        ..todo.key
    };
    todo
}

fn order() -> ModelParts {
    let fields = "customer: ID!, number: Int!, state: String, day: AWSDate, priority: Int, note: String";
    let mut order = model("Order", sdl(fields));
    order.key = KeyDef {
        kind: KeyKind::Composite,
        fields: names(&["customer", "number"]),
        declared: true,
    };
    order.indexes = vec![index("byState", &["state", "day", "priority"])];
    order
}

fn setting() -> ModelParts {
    let mut setting = model("Setting", sdl("id: ID!, value: String"));
    setting.syncable = false;
    setting
}

fn blog_itself() -> ModelParts {
    let fields = sdl("id: ID!, name: String!");
    model(
        "Blog",
        [fields, vec![has_many("posts", "Post", &["blogId"])]].concat(),
    )
}

fn post() -> ModelParts {
    let server_writes = |text: &str| FieldDef {
        read_only: true,
        ..field(text)
    };
    let mut fields = sdl("id: ID!, title: String!, rating: Int, score: Float, tags: [String!]");
    fields.extend([
        typed("status: PostStatus", FieldType::Enum("PostStatus".into())),
        typed("place: Place", FieldType::NonModel("Place".into())),
        field("blogId: ID"),
        belongs_to("blog", "Blog", &["blogId"]),
        has_many("comments", "Comment", &["postId"]),
        server_writes("createdAt: AWSDateTime"),
        server_writes("updatedAt: AWSDateTime"),
    ]);
    let mut post = model("Post", fields);
    post.indexes = vec![index("byBlog", &["blogId"])];
    post
}

fn comment() -> ModelParts {
    let fields = sdl("id: ID!, content: String!, postId: ID");
    model(
        "Comment",
        [fields, vec![belongs_to("post", "Post", &["postId"])]].concat(),
    )
}

/// A model with a managed `id`, no index and the usual timestamps.
pub(crate) fn model(name: &str, fields: Vec<FieldDef>) -> ModelParts {
    ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: true,
        fields,
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    }
}

/// A non-model type.
pub(crate) fn object(name: &str, fields: Vec<FieldDef>) -> NonModelDef {
    NonModelDef {
        name: name.into(),
        fields: fields.into_iter().map(|f| (f.name.clone(), f)).collect(),
    }
}

/// A secondary index without a query field.
pub(crate) fn index(name: &str, fields: &[&str]) -> IndexDef {
    IndexDef {
        name: name.into(),
        fields: names(fields),
        query_field: None,
    }
}

/// A field of a scalar type, written as in SDL: `tags: [String!]!`.
pub(crate) fn field(text: &str) -> FieldDef {
    let ty = text
        .split([':', ' ', '[', ']', '!'])
        .rfind(|part| !part.is_empty())
        .expect("a type");
    let scalar = Scalar::from_name(ty).expect("a scalar; use `typed` for others");
    typed(text, FieldType::Scalar(scalar))
}

/// A field of any type; the text gives the name, the list and what is required.
pub(crate) fn typed(text: &str, ty: FieldType) -> FieldDef {
    let (name, shape) = text.split_once(": ").expect("a name and a type");
    FieldDef {
        ty,
        list: shape.starts_with('[').then(|| ListDef {
            elements_required: shape.contains("!]"),
        }),
        required: shape.ends_with('!'),
        ..FieldDef::scalar(name, Scalar::String)
    }
}

/// Several fields of scalar types.
pub(crate) fn fields_of(texts: &[&str]) -> Vec<FieldDef> {
    texts.iter().map(|text| field(text)).collect()
}

/// Several fields of scalar types, written as in SDL with commas between.
pub(crate) fn sdl(text: &str) -> Vec<FieldDef> {
    text.split(", ").map(field).collect()
}

/// A relation to a parent whose key this side holds.
pub(crate) fn belongs_to(name: &str, other: &str, targets: &[&str]) -> FieldDef {
    relation(
        name,
        other,
        Association::BelongsTo {
            targets: names(targets),
        },
    )
}

/// A relation to children that hold this side's key.
pub(crate) fn has_many(name: &str, other: &str, associated_with: &[&str]) -> FieldDef {
    let mut field = relation(
        name,
        other,
        Association::HasMany {
            associated_with: names(associated_with),
        },
    );
    field.list = Some(ListDef {
        elements_required: false,
    });
    field
}

/// A relation field.
pub(crate) fn relation(name: &str, other: &str, association: Association) -> FieldDef {
    FieldDef {
        ty: FieldType::Model(other.into()),
        association: Some(association),
        ..FieldDef::scalar(name, Scalar::String)
    }
}

/// Field names.
pub(crate) fn names(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::from(*name)).collect()
}

/// Reads a value of the notation.
pub(crate) fn value(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Value::List(
            items
                .split(',')
                .filter(|item| !item.is_empty())
                .map(value)
                .collect(),
        );
    }
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(int), _) => Value::Int(int),
            (_, Ok(float)) if text.contains('.') => Value::Float(float),
            _ => Value::from(text),
        },
    }
}

/// Reads fields of the notation.
pub(crate) fn fields(text: &str) -> FieldMap {
    text.split_whitespace()
        .map(|pair| {
            pair.split_once('=')
                .unwrap_or_else(|| panic!("`{pair}` is no field with a value"))
        })
        .map(|(name, text)| (FieldName::from(name), value(text)))
        .collect()
}

/// Values in slot order; fields that are not named are null.
pub(crate) fn row(def: &ModelDef, text: &str) -> Row {
    let mut row = vec![Value::Null; def.stored_len()];
    lay_over(def, &mut row, &fields(text));
    row
}

/// Sets the named fields of a row.
pub(crate) fn lay_over(def: &ModelDef, row: &mut Row, fields: &FieldMap) {
    for (name, value) in fields {
        let slot = def
            .slot(name)
            .unwrap_or_else(|| panic!("`{}` has no field `{name}`", def.name));
        row[slot.index()] = value.clone();
    }
}

/// The server's metadata; the change time follows from the version.
pub(crate) fn sync(version: u64) -> SyncMetadata {
    let at = i64::try_from(version).expect("a small version") * 10;
    SyncMetadata {
        version: RecordVersion(version),
        last_changed_at_ms: at,
        deleted: false,
    }
}

/// A queued mutation of `Todo/t1`.
pub(crate) fn mutation(seq: u64, kind: MutationKind, patch: &str) -> Mutation {
    Mutation {
        seq: Seq(seq),
        key: RecordKey::new("Todo", "t1"),
        kind,
        patch: fields(patch),
        condition: None,
        base_version: None,
        stage: Stage::Queued,
        attempts: 0,
        conflict_rounds: 0,
        parents: Vec::new(),
        group: None,
        base: None,
    }
}

/// Writes a value in the notation.
pub(crate) fn show_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(show_value).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Writes fields in the notation, without the identifier.
pub(crate) fn show_fields(fields: &FieldMap) -> String {
    let parts = fields.iter().filter(|(name, _)| **name != "id");
    let parts: Vec<String> = parts
        .map(|(name, value)| format!("{name}={}", show_value(value)))
        .collect();
    format!("{{{}}}", parts.join(" "))
}

/// Writes a row in the notation, without the identifier and without nulls; `-` if there is none.
pub(crate) fn show_row(def: &ModelDef, row: Option<&Row>) -> String {
    let Some(row) = row else { return "-".into() };
    assert_eq!(
        row.len(),
        def.stored_len(),
        "a row has all stored fields of `{}`",
        def.name
    );
    let parts = def.stored_fields().zip(row).filter(|(_, value)| !value.is_null());
    show_fields(
        &parts
            .map(|(field, value)| (field.name.clone(), value.clone()))
            .collect(),
    )
}

/// Writes a waiting mutation, such as `e2 update in flight @v1 {title=b} tries=1`.
pub(crate) fn show_mutation(mutation: &Mutation) -> String {
    let mut text = format!(
        "{} {} {}",
        mutation.seq,
        mutation.kind.verb(),
        mutation.stage.name()
    );
    if let Some(version) = mutation.base_version {
        text += &format!(" @{version}");
    }
    if mutation.kind != MutationKind::Delete {
        text += &format!(" {}", show_fields(&mutation.patch));
    }
    if mutation.condition.is_some() {
        text += " if";
    }
    if mutation.attempts > 0 {
        text += &format!(" tries={}", mutation.attempts);
    }
    if mutation.conflict_rounds > 0 {
        text += &format!(" rounds={}", mutation.conflict_rounds);
    }
    text
}
