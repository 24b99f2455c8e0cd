use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::*;
use crate::aws::{AwsDate, AwsDateTime, AwsTimestamp};
use crate::predicate::Predicate;
use crate::test_support;

/// `Post` of the blog schema, written by hand as far as the tests need it.
#[derive(Clone, Debug, PartialEq)]
struct Post {
    id: String,
    title: String,
    rating: Option<i32>,
    score: Option<f64>,
    tags: Option<Vec<String>>,
    rest: Vec<Value>,
    sync: Option<SyncMetadata>,
    base: Base,
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(test_support::blog()));

const RATING: Field<Post, Option<i32>> = Field::new("rating");
const TITLE: Field<Post, String> = Field::new("title");
const TAGS: Field<Post, Option<Vec<String>>> = Field::new("tags");
const SCORE: Field<Post, Option<f64>> = Field::new("score");
const AT: Field<Post, Option<AwsDateTime>> = Field::new("createdAt");

impl Model for Post {
    const NAME: &'static str = "Post";

    fn schema() -> &'static Arc<Schema> {
        &SCHEMA
    }

    fn record_id(&self) -> RecordId {
        RecordId::text(&*self.id)
    }

    fn to_values(&self) -> Vec<Value> {
        let mut values = vec![
            self.id.to_value(),
            self.title.to_value(),
            self.rating.to_value(),
            self.score.to_value(),
            self.tags.to_value(),
        ];
        values.extend(self.rest.iter().cloned());
        values
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn from_parts(values: Vec<Value>, sync: Option<SyncMetadata>, base: Base) -> Result<Self, DecodeError> {
        let mut values = values.into_iter();
        Ok(Self {
            id: take_value(&mut values, "Post", "id")?,
            title: take_value(&mut values, "Post", "title")?,
            rating: take_value(&mut values, "Post", "rating")?,
            score: take_value(&mut values, "Post", "score")?,
            tags: take_value(&mut values, "Post", "tags")?,
            rest: values.collect(),
            sync,
            base,
        })
    }

    fn sync_metadata(&self) -> Option<SyncMetadata> {
        self.sync
    }
}

fn record(text: &str) -> Record {
    let def = test_support::blog_model("Post");
    let row = test_support::row(&def, text);
    Record::new(def, row).with_sync(Some(test_support::sync(3)))
}

/// Shows which of four posts the predicate selects.
#[track_caller]
fn check(predicate: TypedPredicate<Post>, expected: &str) {
    let posts = [
        "id=a title=x rating=1 score=1.5 tags=[red,blue]",
        "id=b title=xy rating=5 score=2.0 tags=[blue]",
        "id=c title=z",
        "id=d title=Z rating=9 createdAt=2026-11-21T10:15:00Z",
    ];
    let bound = predicate
        .into_predicate()
        .bind(Post::def())
        .expect("fits the model");
    let selected = posts
        .iter()
        .map(|text| record(text))
        .filter(|post| bound.matches(post.values()));
    let ids: Vec<String> = selected
        .map(|post| post.id().expect("an identifier").to_string())
        .collect();
    assert_eq!(ids.join(""), expected);
}

#[test]
fn predicates_take_plain_operands_for_optional_fields() {
    check(RATING.gt(4), "bd");
    check(RATING.between(1, 5), "ab");
    check(RATING.eq(Some(9)), "d");
    check(RATING.eq(None), "c");
    check(RATING.is_null(), "c");
    check(RATING.is_present().and(TITLE.begins_with("x")), "ab");
    check(RATING.is_in([1, 9]), "ad");
    check(RATING.le(1).or(TITLE.eq("z")), "ac");
    check(RATING.gt(4).not(), "a");
    check(!TITLE.eq("x".to_owned()), "bcd");
    let title = "x".to_owned();
    check(TITLE.ne(&title), "bcd");
    check(TITLE.contains("y"), "b");
    check(TAGS.contains("red"), "a");
    check(TAGS.not_contains("red"), "b");
    check(TAGS.eq(vec!["blue".to_owned()]), "b");
    check(SCORE.ge(2), "b");
    check(SCORE.lt(1.75), "a");
    check(AT.ge("2026-11"), "d");
    check(AT.begins_with("2025"), "");
    check(TypedPredicate::all(), "abcd");
}

#[test]
fn sorts_keep_their_significance() {
    let keys: Vec<crate::Sort> = RATING.desc().then(TITLE.asc()).into();
    assert_eq!(
        keys,
        [crate::Sort::descending("rating"), crate::Sort::ascending("title")]
    );
}

#[test]
fn a_record_gains_its_type_and_loses_it() {
    let post = Post::from_record(record("id=a title=x rating=4 score=2 tags=[r]")).expect("fits");
    assert_eq!(
        (post.rating, post.score, post.tags.as_deref()),
        (Some(4), Some(2.0), Some(&["r".to_owned()][..]))
    );
    assert_eq!(post.record_key().to_string(), "Post/a");
    assert_eq!(
        post.to_record(),
        record("id=a title=x rating=4 score=2.0 tags=[r]")
    );
}

#[test]
fn values_of_another_schema_are_refused_with_their_place() {
    let show = |record: Record| Post::from_record(record).expect_err("does not fit").to_string();
    assert_eq!(
        show(record("id=a title=x rating=high")),
        "`Post` cannot be read: `rating` takes an integer, not a string; \
         generate the models again from the schema of the store"
    );
    assert!(show(record("id=a")).contains("`title` takes a string, not null"));
    assert!(
        show(record("id=a title=x rating=9999999999"))
            .contains("`rating` takes a 32-bit integer, not 9999999999")
    );
    assert!(show(record("id=a title=x tags=[a,1]")).contains("`tags[1]` takes a string, not an integer"));
    let blog = Record::new(test_support::blog_model("Blog"), Vec::new());
    assert!(show(blog).contains("takes a record of this model, not one of `Blog`"));
}

#[test]
fn a_path_goes_through_lists_and_objects() {
    let fault = ValueFault::new("a string", "null")
        .in_member("city")
        .in_element(2)
        .in_member("places");
    assert_eq!(fault.to_string(), "`places[2].city` takes a string, not null");
    let fault = ValueFault::new("a string", "null")
        .in_element(1)
        .in_element(0)
        .in_member("grid");
    assert_eq!(fault.path, "grid[0][1]");
}

#[test]
fn json_keeps_its_shape() {
    let json = json!({"a": [1, 2.5, null, "x"], "b": {"c": true}});
    assert_eq!(
        serde_json::Value::from_value(json.to_value()).expect("JSON"),
        json
    );
    assert_eq!(
        Option::<serde_json::Value>::from_value(Value::Null).expect("JSON"),
        None
    );
}

#[test]
fn relations_know_where_the_other_side_is() {
    let comment = test_support::blog_model("Comment");
    let of = |text: &str| related(&comment, "post", &test_support::row(&comment, text));
    assert_eq!(of("id=c postId=p"), Some(Related::ById("p".into())));
    assert_eq!(of("id=c"), Some(Related::Nothing));
    assert_eq!(related(&comment, "content", &[]), None);
    let post = Post::from_record(record("id=a title=x")).expect("fits");
    let comments = HasMany::<Post, Post>::new("comments").of(&post);
    assert_eq!(
        comments,
        Related::Where(Predicate::field("postId", crate::Op::Eq("a".into())))
    );
}

/// Takes the first fields of a `Post` as a generated builder does, and says what `build` says.
fn built(
    id: &str,
    title: Option<&str>,
    score: f64,
) -> Result<(String, String, Option<i32>, Option<f64>), String> {
    let (mut of_id, mut of_title, mut of_score) = (
        Pending::<String>::default(),
        Pending::<String>::default(),
        Pending::<Option<f64>>::default(),
    );
    of_id.set(id);
    title.into_iter().for_each(|title| of_title.set(title));
    of_score.set(score);
    let mut fields = BuildFields::of(&SCHEMA, "Post", 4);
    let id = fields.or_else(of_id, || "made".to_owned());
    let title = fields.required(of_title, "title");
    let rating = fields.made(Some(4));
    let score = fields.or_else(of_score, || None);
    fields
        .build(|| Some((id?, title?, rating?, score?)))
        .map_err(|error| error.to_string())
}

#[test]
fn a_builder_says_everything_that_is_wrong_in_field_order() {
    let good = built("p1", Some("x"), 2.5);
    assert_eq!(good, Ok(("p1".to_owned(), "x".to_owned(), Some(4), Some(2.5))));
    assert_eq!(
        built("", None, f64::NAN).expect_err("nothing fits"),
        "`Post` cannot be built: `id` is part of the identifier and must not be empty; `title` is required; `score` takes \
         a finite number, not NaN"
    );
}

#[test]
fn a_builder_of_an_object_says_everything_that_is_wrong() {
    let (city, mut lat) = (Pending::<String>::default(), Pending::<Option<f64>>::default());
    lat.set(f64::INFINITY);
    let mut fields = BuildFields::of(&SCHEMA, "Place", 2);
    let city = fields.required(city, "city");
    let lat = fields.or_else(lat, || None);
    let error = fields.build(|| Some((city?, lat?))).expect_err("no city");
    assert_eq!(error.faults[0], BuildFault::Missing { field: "city" });
    assert_eq!(
        error.to_string(),
        "`Place` cannot be built: `city` is required; `lat` takes a finite number, not an infinite one"
    );
}

#[test]
fn a_setter_keeps_what_does_not_fit_for_the_builder_to_judge() {
    let at: Result<Option<AwsDateTime>, Value> = "soon".into_field();
    assert_eq!(at, Err("soon".into()));
    let at: Result<Option<AwsDateTime>, Value> = "2026-11-21T10:15Z".into_field();
    assert_eq!(
        at.ok().flatten().map(String::from).as_deref(),
        Some("2026-11-21T10:15Z")
    );
    let tags: Result<Vec<String>, Value> = ["a", "b"].into_field();
    assert_eq!(tags, Ok(vec!["a".to_owned(), "b".to_owned()]));
    let days: Result<Vec<AwsDate>, Value> = ["soon", "2026-11-21", "2026-02-30"].into_field();
    let given = ["soon", "2026-11-21", "2026-02-30"].map(Value::from).to_vec();
    assert_eq!(days, Err(Value::List(given)), "good elements keep their places");
    let stamp: Result<Option<AwsTimestamp>, Value> = 5.into_field();
    assert_eq!(stamp, Ok(Some(AwsTimestamp(5))));
}

#[test]
fn a_copy_is_validated_when_it_is_asked_for() {
    let post = Post::from_record(record("id=a title=x score=2.5")).expect("fits");
    assert_eq!(post.clone().validated(), Ok(post.clone()));
    let (mut bad, tags) = (post, vec!["x".repeat(crate::RECORD_BYTES_MAX)]);
    (bad.id, bad.score) = (String::new(), Some(f64::NEG_INFINITY));
    let faults = bad.clone().validated().expect_err("two faults").faults;
    assert_eq!(
        faults.iter().map(|fault| &*fault.path).collect::<Vec<_>>(),
        ["score", "id"]
    );
    (bad.id, bad.score, bad.tags) = ("a".into(), None, Some(tags));
    let error = bad.validated().expect_err("it is too large").to_string();
    assert!(
        error.starts_with("`Post` cannot be saved: `tags` makes the record"),
        "{error}"
    );
}
