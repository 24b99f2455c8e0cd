//! The schema that the tests of this crate share.

use std::sync::Arc;

use landfall_core::{
    Association, EnumDef, FieldDef, FieldType, IndexDef, KeyDef, KeyKind, ListDef, ModelParts, NonModelDef,
    Scalar, Schema, SchemaParts, Timestamps,
};

pub(crate) fn required(field: FieldDef) -> FieldDef {
    FieldDef {
        required: true,
        ..field
    }
}

pub(crate) fn list(field: FieldDef) -> FieldDef {
    FieldDef {
        list: Some(ListDef {
            elements_required: false,
        }),
        ..field
    }
}

pub(crate) fn typed(name: &str, ty: FieldType) -> FieldDef {
    FieldDef {
        ty,
        ..FieldDef::scalar(name, Scalar::String)
    }
}

fn timestamp(name: &str) -> FieldDef {
    FieldDef {
        read_only: true,
        required: true,
        ..FieldDef::scalar(name, Scalar::AwsDateTime)
    }
}

fn index(name: &str, fields: &[&str]) -> IndexDef {
    IndexDef {
        name: name.into(),
        fields: fields.iter().map(|f| (*f).into()).collect(),
        query_field: None,
    }
}

fn post() -> ModelParts {
    let blog = FieldDef {
        association: Some(Association::BelongsTo {
            targets: vec!["blogId".into()],
        }),
        ..typed("blog", FieldType::Model("Blog".into()))
    };
    ModelParts {
        name: "Post".into(),
        plural_name: "Posts".into(),
        syncable: true,
        fields: vec![
            required(FieldDef::scalar("id", Scalar::Id)),
            required(FieldDef::scalar("title", Scalar::String)),
            FieldDef::scalar("rating", Scalar::Int),
            FieldDef::scalar("score", Scalar::Float),
            FieldDef::scalar("live", Scalar::Boolean),
            typed("status", FieldType::Enum("Status".into())),
            list(FieldDef::scalar("tags", Scalar::String)),
            FieldDef::scalar("meta", Scalar::AwsJson),
            list(FieldDef::scalar("notes", Scalar::AwsJson)),
            typed("place", FieldType::NonModel("Geo".into())),
            blog,
            FieldDef::scalar("blogId", Scalar::Id),
            FieldDef::scalar("section", Scalar::String),
            FieldDef::scalar("owner", Scalar::String),
            timestamp("createdAt"),
            timestamp("updatedAt"),
        ],
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: vec![
            index("byBlog", &["blogId", "title"]),
            index("bySection", &["section", "rating"]),
        ],
        timestamps: Timestamps::default(),
        auth: vec![serde_json::json!({"allow": "owner"})],
    }
}

fn plain(name: &str, plural: &str, fields: Vec<FieldDef>, key: &[&str]) -> ModelParts {
    ModelParts {
        name: name.into(),
        plural_name: plural.into(),
        syncable: true,
        fields,
        key: KeyDef {
            kind: if key.len() > 1 {
                KeyKind::Composite
            } else {
                KeyKind::Custom
            },
            fields: key.iter().map(|f| (*f).into()).collect(),
            declared: true,
        },
        indexes: Vec::new(),
        timestamps: Timestamps {
            created_at: None,
            updated_at: None,
        },
        auth: Vec::new(),
    }
}

/// `Post` with a field of every kind, `Blog`, `Device` with a composite key, and `tree` with a lower-case name and a
/// recursive field.
pub(crate) fn schema() -> Arc<Schema> {
    let device = vec![
        required(FieldDef::scalar("org", Scalar::Id)),
        required(FieldDef::scalar("serial", Scalar::String)),
        required(FieldDef::scalar("rev", Scalar::Int)),
        FieldDef::scalar("note", Scalar::String),
    ];
    let tree = vec![
        required(FieldDef::scalar("id", Scalar::Id)),
        typed("root", FieldType::NonModel("Node".into())),
        typed("empty", FieldType::NonModel("Loop".into())),
    ];
    let non_model = |name: &str, fields: Vec<FieldDef>| NonModelDef {
        name: name.into(),
        fields: fields
            .into_iter()
            .map(|field| (field.name.clone(), field))
            .collect(),
    };
    let parts = SchemaParts {
        apis: std::collections::BTreeMap::default(),
        models: vec![
            post(),
            plain(
                "Blog",
                "Blogs",
                vec![required(FieldDef::scalar("id", Scalar::Id))],
                &["id"],
            ),
            plain("Device", "Devices", device, &["org", "serial", "rev"]),
            plain("tree", "trees", tree, &["id"]),
        ],
        enums: vec![EnumDef {
            name: "Status".into(),
            values: vec!["DRAFT".into(), "LIVE".into()],
        }],
        non_models: vec![
            non_model(
                "Geo",
                vec![
                    required(FieldDef::scalar("lat", Scalar::Float)),
                    FieldDef::scalar("lon", Scalar::Float),
                    FieldDef::scalar("extra", Scalar::AwsJson),
                ],
            ),
            non_model(
                "Node",
                vec![
                    FieldDef::scalar("name", Scalar::String),
                    list(typed("children", FieldType::NonModel("Node".into()))),
                ],
            ),
            non_model("Loop", vec![typed("again", FieldType::NonModel("Loop".into()))]),
        ],
    };
    Arc::new(Schema::build(parts).expect("the schema of the tests is sound"))
}
