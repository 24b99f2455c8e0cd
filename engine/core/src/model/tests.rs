use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::*;
use crate::aws::{AwsDateTime, AwsTimestamp};
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

#[test]
fn a_builder_says_everything_that_is_wrong() {
    let (mut title, mut tags, mut at, mut rating) = (
        Pending::<String>::default(),
        Pending::<Vec<String>>::default(),
        Pending::<Option<AwsDateTime>>::default(),
        Pending::<Option<i32>>::default(),
    );
    let mut faults = BuildFaults::default();
    tags.set(["a", "b"]);
    rating.set(4);
    at.set("soon");
    assert_eq!(
        tags.required("tags", &mut faults),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(rating.or_else("rating", &mut faults, || None), Some(Some(4)));
    assert_eq!(at.clone().or_else("at", &mut faults, || None), None);
    assert_eq!(title.clone().required("title", &mut faults), None);
    assert_eq!(
        faults.into_error("Post").to_string(),
        "`Post` cannot be built: `at` takes a date and time with an offset, such as 2026-11-21T10:15:30.123Z, \
         not \"soon\"; `title` is required"
    );
    at.set("2026-11-21T10:15Z");
    title.set("t");
    let mut faults = BuildFaults::default();
    assert_eq!(
        at.required("at", &mut faults)
            .flatten()
            .map(String::from)
            .as_deref(),
        Some("2026-11-21T10:15Z")
    );
    assert_eq!(title.required("title", &mut faults).as_deref(), Some("t"));
    let mut stamp = Pending::<Option<AwsTimestamp>>::default();
    stamp.set(5);
    assert_eq!(stamp.required("stamp", &mut faults), Some(Some(AwsTimestamp(5))));
}
