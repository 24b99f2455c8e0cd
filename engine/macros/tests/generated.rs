//! Generated models compile without a warning and do what they promise.
//!
//! The crate `landfall` is stood in for by this test, so that the generator is tested without the engine: what is
//! re-exported here is exactly what generated code names.
#![deny(missing_docs, warnings, clippy::all)]
#![allow(dead_code)] // Not every generated function is called here.

extern crate self as landfall;

pub use landfall_core::{
    AwsDate, AwsDateTime, AwsEmail, AwsIpAddress, AwsPhone, AwsTime, AwsTimestamp, AwsUrl, Base, BelongsTo,
    BuildError, DecodeError, Field, FieldValue, HasMany, HasOne, IntoField, Model, NonModel, RecordId,
    Schema, SyncMetadata, UnknownEnumValue, Value, ValueFault,
};

/// What generated code names and users do not.
pub mod __private {
    pub use landfall_core::{
        BuildFields, IdPart, Pending, default_of, embedded_schema, take_member, take_value,
    };
    pub use {serde, serde_json};

    use std::sync::atomic::{AtomicUsize, Ordering};

    static IDS: AtomicUsize = AtomicUsize::new(1);

    /// A fresh identifier.
    pub fn new_id() -> String {
        format!("id{}", IDS.fetch_add(1, Ordering::Relaxed))
    }
}

mod blog {
    landfall_macros::include_schema!("../../tests/fixtures/schemas/blog.graphql");
}

mod everything {
    landfall_macros::include_schema!("../../tests/fixtures/schemas/everything.graphql");
}

mod legacy {
    landfall_macros::include_schema!("../../tests/fixtures/schemas/legacy.graphql");
}

/// Types of a schema may be called like Rust's own.
mod shadows {
    landfall_macros::include_schema!("../../tests/fixtures/schemas/shadows.graphql");
}

use blog::{Blog, Comment, Location, Post, PostStatus};
use landfall_core::{
    BuildFault, Op, Predicate, Record, RecordVersion, Related, Sort, TypedPredicate, parents,
    schema_from_json, schema_to_json, validate,
};
use serde_json::json;

fn blog() -> Blog {
    Blog::builder().name("B").build().expect("complete")
}

fn post(blog: &Blog) -> Post {
    Post::builder()
        .title("T")
        .status(PostStatus::Draft)
        .rating(4)
        .score(2)
        .tags(["a", "b"])
        .meta(json!({"k": [1, null]}))
        .location(
            Location::builder()
                .city("Oslo")
                .lat(59.9)
                .build()
                .expect("complete"),
        )
        .published_at("2026-11-21T10:15:30Z")
        .blog(blog)
        .build()
        .expect("complete")
}

#[test]
fn a_builder_makes_identifiers_and_foreign_keys() {
    let (blog, other) = (blog(), blog());
    assert!(blog.id.starts_with("id") && blog.id != other.id);
    let post = post(&blog);
    assert_eq!(post.blog_id.as_deref(), Some(&*blog.id));
    assert_eq!((post.rating, post.score), (Some(4), Some(2.0)));
    assert_eq!(post.created_at, None);
    let comment = Comment::builder()
        .content("C")
        .post(&post)
        .build()
        .expect("complete");
    assert_eq!(comment.post_comments_id, Some(post.id.clone()));
    assert!(comment.base().row().is_none() && comment.sync_metadata().is_none());
}

#[test]
fn a_builder_says_everything_that_is_wrong() {
    let error = Post::builder()
        .published_at("soon")
        .build()
        .expect_err("incomplete");
    assert_eq!(
        error.to_string(),
        "`Post` cannot be built: `title` is required; `status` is required; `publishedAt` takes a date and time with \
         an offset, such as 2026-11-21T10:15:30.123Z, not a string (\"soon\")"
    );
    let error = everything::Device::builder()
        .org("o")
        .build()
        .expect_err("incomplete");
    assert_eq!(
        error.to_string(),
        "`Device` cannot be built: `serial` is required; `rev` is required"
    );
}

/// A `Sample` whose required fields are set.
fn sample() -> everything::SampleBuilder {
    everything::Sample::builder()
        .id("s")
        .text("t")
        .flag(true)
        .small(i32::MIN)
        .real(1)
        .kinds([everything::Kind::First])
}

/// What `build` says after the name of the type.
fn refused<T: std::fmt::Debug>(built: Result<T, BuildError>) -> String {
    let error = built.expect_err("something does not fit").to_string();
    let (_, faults) = error.split_once(" cannot be built: ").expect("the type first");
    faults.to_owned()
}

#[test]
fn a_builder_refuses_what_a_save_would_refuse() {
    let none = [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "an infinite one"),
        (f64::NEG_INFINITY, "an infinite one"),
    ];
    for (real, found) in none {
        let expected = format!("`real` takes a finite number, not {found}");
        assert_eq!(refused(sample().real(real).build()), expected);
    }
    assert_eq!(
        refused(sample().id("").build()),
        "`id` is part of the identifier and must not be empty"
    );
    let day = "takes a date such as 2026-11-21, 2026-11-21Z or 2026-11-21+01:00, not a string";
    assert_eq!(
        refused(sample().days(["2026-02-30", "2026-11-21", "soon"]).build()),
        format!("`days[0]` {day} (\"2026-02-30\"); `days[2]` {day} (\"soon\")")
    );
    let deep = (0..=landfall_core::VALUE_DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(
        refused(sample().json(deep).build()),
        "`json` is nested deeper than 64 levels"
    );
    let large = "x".repeat(landfall_core::RECORD_BYTES_MAX);
    assert!(refused(sample().text(large).build()).starts_with("`text` makes the record "));
    let device = everything::Device::builder().org("o").serial("").rev(1).build();
    assert_eq!(
        refused(device),
        "`serial` is part of the identifier and must not be empty"
    );
    let bounds = sample()
        .stamp(i64::MAX)
        .small(i32::MAX)
        .real(f64::MIN)
        .kinds(Vec::new());
    let built = bounds.build().expect("the bounds themselves fit");
    assert_eq!(built.stamp, Some(AwsTimestamp(i64::MAX)));
}

#[test]
fn everything_that_is_wrong_with_a_record_is_one_error() {
    let mut inner = Location::builder().city("Oslo").build().expect("complete");
    inner.lat = Some(f64::NAN);
    let error = Post::builder()
        .score(f64::INFINITY)
        .location(inner)
        .published_at("soon")
        .status(PostStatus::Draft)
        .build();
    assert_eq!(
        refused(error),
        "`title` is required; `score` takes a finite number, not an infinite one; `location.lat` takes a finite number, not \
         NaN; `publishedAt` takes a date and time with an offset, such as 2026-11-21T10:15:30.123Z, not a \
         string (\"soon\")"
    );
    let object = Location::builder().lat(f64::NAN).build();
    assert_eq!(
        refused(object),
        "`city` is required; `lat` takes a finite number, not NaN"
    );
}

#[test]
fn a_builder_and_a_save_say_the_same() {
    let good = sample().build().expect("complete");
    let bad = everything::Sample::copy_of(&good, |draft| draft.real = f64::NAN);
    let by_save = bad.validated().expect_err("not a number").faults;
    let by_build = sample().real(f64::NAN).build().expect_err("not a number").faults;
    let by_save: Vec<BuildFault> = by_save.into_iter().map(BuildFault::Invalid).collect();
    assert_eq!(by_build, by_save);
    assert_eq!(good.clone().validated(), Ok(good));
}

#[test]
fn values_go_out_and_come_back_in_slot_order() {
    let post = post(&blog());
    let mut values = post.to_values();
    let def = Post::def();
    assert_eq!(values.len(), def.stored_len());
    validate(Post::schema(), def, &mut values).expect("values of the schema");
    assert_eq!(values, post.to_values(), "they are in the form that rows hold");
    assert_eq!(
        values[def.slot("status").expect("stored").index()],
        Value::from("DRAFT")
    );
    let again = Post::from_parts(values, None, Base::NONE).expect("fits");
    assert_eq!(again, post);
    let record = post.to_record();
    assert_eq!(Post::from_record(record).expect("fits"), post);
    assert!(Comment::from_record(Record::new(def.clone(), Vec::new())).is_err());
}

#[test]
fn values_of_another_schema_are_refused_with_their_place() {
    let post = post(&blog());
    let with = |field: &str, value: Value| {
        let mut record = post.to_record();
        assert!(record.set(field, value));
        Post::from_record(record).expect_err("does not fit").to_string()
    };
    let status = with("status", "LOST".into());
    assert!(
        status.contains("`status` takes one of DRAFT, ACTIVE, ARCHIVED, not LOST"),
        "{status}"
    );
    let city = with(
        "location",
        Value::Object([("city".to_owned(), Value::Int(1))].into()),
    );
    assert!(
        city.contains("`location.city` takes a string, not an integer"),
        "{city}"
    );
}

#[test]
fn predicates_sorts_and_relations_are_typed() {
    let predicate = Post::rating().gt(4).and(Post::status().eq(PostStatus::Active));
    let expected =
        Predicate::field("rating", Op::Gt(4.into())).and(Predicate::field("status", Op::Eq("ACTIVE".into())));
    assert_eq!(Predicate::from(predicate.clone()), expected);
    predicate
        .as_predicate()
        .bind(Post::def())
        .expect("fits the model");
    let more: TypedPredicate<Post> = Post::title()
        .begins_with("T")
        .or(Post::tags().contains("a"))
        .and(Post::score().ge(1).or(Post::blog_id().is_null()))
        .and(Post::published_at().ge("2026-11"))
        .and(Post::status().is_in([PostStatus::Draft, PostStatus::Archived]))
        .and(!Post::created_at().is_present());
    let bound = more.into_predicate().bind(Post::def()).expect("fits the model");
    assert!(bound.matches(&post(&blog()).to_values()));
    let sort: Vec<Sort> = Post::rating().desc().then(Post::id().asc()).into();
    assert_eq!(sort, [Sort::descending("rating"), Sort::ascending("id")]);

    let blog = blog();
    let post = post(&blog);
    assert_eq!(Post::blog().of(&post), Related::ById(blog.record_id()));
    let posts = Related::Where(Predicate::field("blogId", Op::Eq(blog.id.as_str().into())));
    assert_eq!(Blog::posts().of(&blog), posts);
    assert_eq!(parents(Post::schema(), Post::def(), &post.to_values()).len(), 1);
}

#[test]
fn a_copy_keeps_what_makes_it_the_same_record() {
    let sync = SyncMetadata {
        version: RecordVersion(3),
        last_changed_at_ms: 5,
        deleted: false,
    };
    let values = post(&blog()).to_values();
    let row = Base::of_row(vec![1].into());
    let stored = Post::from_parts(values, Some(sync), row).expect("fits");
    let changed = Post::copy_of(&stored, |draft| {
        draft.title = "new".into();
        draft.id = "stolen".into();
        draft.created_at = "2026-11-21T10:15:30Z".parse().ok();
    });
    assert_eq!(
        (changed.title.as_str(), &changed.id, &changed.created_at),
        ("new", &stored.id, &None)
    );
    assert_eq!(changed.sync_metadata(), Some(sync));
    assert!(changed.base().row().is_some());
}

#[test]
fn enums_are_text_outside() {
    assert_eq!(PostStatus::ALL.len(), 3);
    assert_eq!("ACTIVE".parse(), Ok(PostStatus::Active));
    assert_eq!(PostStatus::Archived.to_string(), "ARCHIVED");
    let error = "active".parse::<PostStatus>().expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "\"active\" is no value of `PostStatus`; its values are DRAFT, ACTIVE, ARCHIVED"
    );
    assert_eq!(
        serde_json::to_value(PostStatus::Draft).expect("JSON"),
        json!("DRAFT")
    );
    assert_eq!(
        serde_json::from_value::<PostStatus>(json!("ACTIVE")).expect("a value"),
        PostStatus::Active
    );
    assert!(
        serde_json::from_value::<PostStatus>(json!("NO"))
            .expect_err("unknown")
            .to_string()
            .contains("\"NO\"")
    );
}

#[test]
fn every_scalar_and_shape_survives_a_round_trip() {
    use everything::{Kind, Place, Sample};
    let inner = Place::builder()
        .city("inner")
        .kinds([Some(Kind::Self_), None])
        .build()
        .expect("complete");
    let place = Place::builder()
        .city("outer")
        .inner(inner)
        .at("2026-11-21T10:15Z")
        .build()
        .expect("complete");
    let sample = Sample::builder()
        .id("chosen")
        .text("t")
        .flag(true)
        .small(-1)
        .real(0.5)
        .day("2026-11-21")
        .clock("10:15")
        .moment("2026-11-21T10:15:30+01:00")
        .stamp(1_700_000_000)
        .mail("a@example.com")
        .link("https://example.com/")
        .phone("+1 555 0100")
        .address("::1")
        .json(json!([1, "x"]))
        .kind(Kind::SecondKind)
        .kinds([Kind::First, Kind::Third])
        .texts([Some("a".to_owned()), None])
        .days(["2026-11-21"])
        .jsons([json!({"a": 1})])
        .place(place.clone())
        .places([place])
        .r#type("ty")
        .self_("me")
        .builder("b")
        .copy_of("c")
        .camel_case_mix2("m")
        .build()
        .expect("complete");
    assert_eq!(sample.id, "chosen", "an identifier that is given is kept");
    let mut values = sample.to_values();
    validate(Sample::schema(), Sample::def(), &mut values).expect("values of the schema");
    assert_eq!(
        Sample::from_parts(values, None, Base::NONE).expect("fits"),
        sample
    );
    assert_eq!(
        sample
            .place
            .and_then(|place| place.inner)
            .map(|inner| inner.city)
            .as_deref(),
        Some("inner")
    );
    let made = Sample::builder()
        .text("t")
        .flag(false)
        .small(0)
        .real(0)
        .kinds(Vec::new())
        .build()
        .expect("complete");
    assert!(
        made.id.starts_with("id"),
        "an identifier that is left out is made"
    );
    assert_eq!(Sample::builder_().name(), "builder");
    assert_eq!(Sample::copy_of_().name(), "copyOf");
}

#[test]
fn composite_keys_reach_through_relations() {
    use everything::{Device, Gadget, Part, Post, PostGadgets, Project, Team};
    let device = Device::builder()
        .org("o")
        .serial("s")
        .rev(2)
        .build()
        .expect("complete");
    assert_eq!(device.record_id().to_string(), "o#s#2");
    let part = Part::builder()
        .name("p")
        .device(&device)
        .build()
        .expect("complete");
    assert_eq!(
        (part.device_parts_serial.as_deref(), part.device_parts_rev),
        (Some("s"), Some(2))
    );
    assert_eq!(Part::device().of(&part), Related::ById(device.record_id()));
    let gadget = Gadget::builder().maker("m").sortkey(7).build().expect("complete");
    let post = Post::builder().title("t").build().expect("complete");
    let join = PostGadgets::builder()
        .post(&post)
        .gadget(&gadget)
        .build()
        .expect("complete");
    assert_eq!(
        (join.gadget_maker.as_str(), join.gadgetsortkey, join.post_id),
        ("m", 7, post.id)
    );
    let team = Team::builder().build().expect("complete");
    let project = Project::builder().team(&team).build().expect("complete");
    assert_eq!(Project::team().of(&project), Related::ById(team.record_id()));
    assert!(matches!(Project::badge().of(&project), Related::Where(_)));
}

#[test]
fn generated_models_carry_their_schema() {
    for schema in [
        blog::schema(),
        everything::schema(),
        legacy::schema(),
        shadows::schema(),
    ] {
        assert_eq!(schema_from_json(&schema_to_json(schema)).as_ref(), Ok(&**schema));
    }
    assert_eq!(Post::def().name, "Post");
    assert!(std::sync::Arc::ptr_eq(Post::schema(), blog::schema()));
}

#[test]
fn types_named_like_rusts_own_do_not_disturb() {
    let option = shadows::Option::builder()
        .result("r")
        .vec([shadows::Vec::Some])
        .build()
        .expect("complete");
    let values = option.to_values();
    assert_eq!(
        shadows::Option::from_parts(values, None, Base::NONE).expect("fits"),
        option
    );
}
