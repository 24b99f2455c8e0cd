//! Schemas for the tests of this crate: the blog that the protocol's listings use, and small ones.

use std::sync::Arc;

use indexmap::IndexMap;
use landfall_core::{
    Association, EnumDef, FieldDef, FieldName, FieldType, IndexDef, KeyDef, KeyKind, ListDef, ModelParts,
    NonModelDef, Scalar, Schema, SchemaParts, Timestamps,
};
use proptest::test_runner::{Config as ProptestConfig, RngSeed};

pub(crate) fn scalar(name: &str, scalar: Scalar) -> FieldDef {
    FieldDef::scalar(name, scalar)
}

pub(crate) fn required(field: FieldDef) -> FieldDef {
    FieldDef {
        required: true,
        ..field
    }
}

fn list(field: FieldDef) -> FieldDef {
    FieldDef {
        list: Some(ListDef {
            elements_required: false,
        }),
        ..field
    }
}

fn typed(name: &str, ty: FieldType) -> FieldDef {
    FieldDef {
        ty,
        ..scalar(name, Scalar::String)
    }
}

fn names(fields: &[&str]) -> Vec<FieldName> {
    fields.iter().map(|field| FieldName::from(*field)).collect()
}

fn has_many(name: &str, model: &str, associated_with: &[&str]) -> FieldDef {
    let association = Association::HasMany {
        associated_with: names(associated_with),
    };
    list(FieldDef {
        association: Some(association),
        ..typed(name, FieldType::Model(model.into()))
    })
}

fn belongs_to(name: &str, model: &str, targets: &[&str]) -> FieldDef {
    let association = Association::BelongsTo {
        targets: names(targets),
    };
    FieldDef {
        association: Some(association),
        ..typed(name, FieldType::Model(model.into()))
    }
}

fn has_one(name: &str, model: &str, associated_with: &[&str], targets: &[&str]) -> FieldDef {
    let association = Association::HasOne {
        associated_with: names(associated_with),
        targets: names(targets),
    };
    FieldDef {
        association: Some(association),
        ..typed(name, FieldType::Model(model.into()))
    }
}

fn managed(name: &str) -> FieldDef {
    FieldDef {
        read_only: true,
        ..scalar(name, Scalar::AwsDateTime)
    }
}

fn index(name: &str, fields: &[&str], query_field: Option<&str>) -> IndexDef {
    IndexDef {
        name: name.to_owned(),
        fields: names(fields),
        query_field: query_field.map(str::to_owned),
    }
}

/// A model keyed by `id`, which is added with the timestamps if missing.
pub(crate) fn model(name: &str, plural: &str, mut fields: Vec<FieldDef>) -> ModelParts {
    if !fields.iter().any(|field| field.name == "id") {
        fields.push(required(scalar("id", Scalar::Id)));
    }
    fields.push(managed("createdAt"));
    fields.push(managed("updatedAt"));
    ModelParts {
        name: name.into(),
        plural_name: plural.to_owned(),
        syncable: true,
        fields,
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: names(&["id"]),
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    }
}

fn device() -> ModelParts {
    let fields = vec![
        required(scalar("org", Scalar::Id)),
        required(scalar("serial", Scalar::String)),
        required(scalar("rev", Scalar::Int)),
        scalar("note", Scalar::String),
        managed("made"),
        managed("touched"),
    ];
    ModelParts {
        fields,
        key: KeyDef {
            kind: KeyKind::Composite,
            fields: names(&["org", "serial", "rev"]),
            declared: true,
        },
        timestamps: Timestamps {
            created_at: Some("made".into()),
            updated_at: Some("touched".into()),
        },
        ..model("Device", "Devices", Vec::new())
    }
}

fn post() -> ModelParts {
    let mut parts = model(
        "Post",
        "Posts",
        vec![
            required(scalar("id", Scalar::Id)),
            required(scalar("title", Scalar::String)),
            FieldDef {
                default: Some("0".to_owned()),
                ..scalar("rating", Scalar::Int)
            },
            scalar("score", Scalar::Float),
            scalar("live", Scalar::Boolean),
            typed("status", FieldType::Enum("Status".to_owned())),
            list(typed("kinds", FieldType::Enum("Status".to_owned()))),
            list(scalar("tags", Scalar::String)),
            scalar("at", Scalar::AwsDateTime),
            typed("where", FieldType::NonModel("Geo".to_owned())),
            scalar("meta", Scalar::AwsJson),
            scalar("blogId", Scalar::Id),
            has_many("comments", "Comment", &["postCommentsId"]),
            has_many("labels", "PostLabels", &["postId"]),
        ],
    );
    parts.indexes = vec![index("byBlog", &["blogId", "title"], Some("postsByBlog"))];
    parts
}

/// The blog of the protocol's listings: posts, comments, labels through a join model, devices with a composite key.
pub(crate) fn blog() -> Arc<Schema> {
    let mut comment = model(
        "Comment",
        "Comments",
        vec![
            required(scalar("content", Scalar::String)),
            belongs_to("post", "Post", &["postCommentsId"]),
        ],
    );
    comment.fields.push(scalar("postCommentsId", Scalar::Id));
    let label = model(
        "Label",
        "Labels",
        vec![
            required(scalar("name", Scalar::String)),
            has_many("posts", "PostLabels", &["labelId"]),
        ],
    );
    let mut join = model(
        "PostLabels",
        "PostLabels",
        vec![
            required(scalar("id", Scalar::Id)),
            required(scalar("postId", Scalar::Id)),
            required(scalar("labelId", Scalar::Id)),
            required(belongs_to("post", "Post", &["postId"])),
            required(belongs_to("label", "Label", &["labelId"])),
        ],
    );
    join.indexes = vec![
        index("byPost", &["postId"], Some("postLabelsByPostId")),
        index("byLabel", &["labelId"], Some("postLabelsByLabelId")),
    ];
    let geo: IndexMap<_, _> = [
        required(scalar("lat", Scalar::Float)),
        scalar("lon", Scalar::Float),
    ]
    .into_iter()
    .map(|field| (field.name.clone(), field))
    .collect();
    build(SchemaParts {
        models: vec![post(), comment, label, device(), join],
        enums: vec![EnumDef {
            name: "Status".to_owned(),
            values: vec!["DRAFT".to_owned(), "LIVE".to_owned()],
        }],
        non_models: vec![NonModelDef {
            name: "Geo".to_owned(),
            fields: geo,
        }],
        ..SchemaParts::default()
    })
}

/// Projects with a team each way, and items whose parts refer to a key of two fields.
pub(crate) fn relations() -> Arc<Schema> {
    let mut project = model(
        "Project",
        "Projects",
        vec![has_one("team", "Team", &["id"], &["projectTeamId"])],
    );
    project.fields.push(scalar("projectTeamId", Scalar::Id));
    let mut team = model(
        "Team",
        "Teams",
        vec![belongs_to("project", "Project", &["teamProjectId"])],
    );
    team.fields.push(scalar("teamProjectId", Scalar::Id));
    let item = ModelParts {
        fields: vec![
            required(scalar("order", Scalar::Id)),
            required(scalar("line", Scalar::Int)),
            has_many("parts", "Part", &["itemPartsOrder", "itemPartsLine"]),
            has_one("badge", "Badge", &["badgeOrder", "badgeLine"], &[]),
        ],
        key: KeyDef {
            kind: KeyKind::Composite,
            fields: names(&["order", "line"]),
            declared: true,
        },
        ..model("Item", "Items", Vec::new())
    };
    let mut part = model(
        "Part",
        "Parts",
        vec![belongs_to("item", "Item", &["itemPartsOrder", "itemPartsLine"])],
    );
    part.fields.push(scalar("itemPartsOrder", Scalar::Id));
    part.fields.push(scalar("itemPartsLine", Scalar::Int));
    let badge = model(
        "Badge",
        "Badges",
        vec![scalar("badgeOrder", Scalar::Id), scalar("badgeLine", Scalar::Int)],
    );
    build(SchemaParts {
        models: vec![project, team, item, part, badge],
        ..SchemaParts::default()
    })
}

pub(crate) fn build(parts: SchemaParts) -> Arc<Schema> {
    Arc::new(Schema::build(parts).expect("the fixtures are sound"))
}

/// How many cases a random test draws, and from which seed it starts; both are printed with a failure. `PROPTEST_CASES` and
/// `PROPTEST_RNG_SEED` override them, for those who have more time than a build.
pub(crate) fn random(cases: u32) -> ProptestConfig {
    const SEED: u64 = 0x00b0_a7ed;
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    println!("seed {:?}, {} cases", config.rng_seed, config.cases);
    config
}
