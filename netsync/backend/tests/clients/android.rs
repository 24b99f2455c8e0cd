//! Documents of the Android client: fields in alphabetical order after the metadata, relations of both directions nested,
//! only the variables in use declared, `"variables": null` when there are none.

use serde_json::{Value as Json, json};

use crate::decode::{Blog, Page, Story, Synced, bench, connect, decode, heard, only, posts, start};
use crate::support::{Bench, KEY};

/// A post with its parent, and the first of that parent's posts.
pub(crate) const POST: &str = "__typename
    _deleted
    _lastChangedAt
    _version
    at
    blog {
      __typename
      _deleted
      _lastChangedAt
      _version
      createdAt
      id
      name
      posts {
        items {
          __typename
          _deleted
          _lastChangedAt
          _version
          id
        }
        nextToken
        startedAt
      }
      updatedAt
    }
    createdAt
    id
    rating
    status
    tags
    title
    updatedAt
    where {
      lat
      lon
    }";

pub(crate) fn mutation(kind: &str, field: &str) -> String {
    format!(
        "mutation {kind}Post($input: {kind}PostInput!) {{\n  {field}(input: $input) {{\n    {POST}\n  }}\n}}\n"
    )
}

pub(crate) fn subscription(kind: &str) -> Json {
    let document = format!("subscription On{kind}Post {{\n  on{kind}Post {{\n    {POST}\n  }}\n}}\n");
    json!({"query": document, "variables": null})
}

pub(crate) fn blog() -> Blog {
    Blog {
        id: "b1".to_owned(),
        name: Some("news".to_owned()),
    }
}

fn sync(declared: &str, given: &str) -> String {
    format!(
        "query SyncPosts({declared}) {{\n  syncPosts({given}) {{\n    items {{\n      {POST}\n    }}\n    nextToken\n    \
         startedAt\n  }}\n}}\n"
    )
}

fn page(bench: &Bench, declared: &str, given: &str, variables: Json) -> Page {
    decode(bench, &sync(declared, given), variables)
}

#[test]
fn android_creates_updates_and_deletes() {
    let bench = bench();
    let story = Story {
        create: &mutation("Create", "createPost"),
        update: &mutation("Update", "updatePost"),
        update_if: &format!(
            "mutation UpdatePost($condition: ModelPostConditionInput, $input: UpdatePostInput!) {{\n  \
             updatePost(condition: $condition, input: $input) {{\n    {POST}\n  }}\n}}\n"
        ),
        delete: &mutation("Delete", "deletePost"),
    };
    story.check(&bench, &blog());
}

#[test]
fn android_syncs_from_the_beginning_without_a_cursor_then_from_one() {
    let bench = bench();
    posts(&bench, 3);
    let first = page(&bench, "$limit: Int", "limit: $limit", json!({"limit": 2}));
    assert_eq!(first.items.len(), 2);
    let rest = page(
        &bench,
        "$limit: Int, $nextToken: String",
        "limit: $limit, nextToken: $nextToken",
        json!({"limit": 2, "nextToken": first.next_token}),
    );
    assert_eq!(rest.items.len(), 1);
    assert_eq!((rest.next_token, rest.started_at), (None, first.started_at));
    let since = first.started_at + 1;
    let update = mutation("Update", "updatePost");
    let _: Synced = decode(
        &bench,
        &update,
        json!({"input": {"id": "p2", "title": "new", "_version": 1}}),
    );
    let delta = page(
        &bench,
        "$lastSync: AWSTimestamp, $limit: Int",
        "lastSync: $lastSync, limit: $limit",
        json!({"lastSync": since, "limit": 1000}),
    );
    let rows: Vec<(&str, i32)> = delta
        .items
        .iter()
        .map(|row| (row.model.title.as_str(), row.metadata.version))
        .collect();
    assert_eq!(rows, [("new", 2)]);
}

#[test]
fn the_filter_of_android_that_matches_nothing_gives_no_rows() {
    let bench = bench();
    posts(&bench, 2);
    let rows = |filter: Json| {
        let declared = "$filter: ModelPostFilterInput, $limit: Int";
        let variables = json!({"filter": filter, "limit": 1000});
        page(&bench, declared, "filter: $filter, limit: $limit", variables)
            .items
            .len()
    };
    assert_eq!(rows(json!({"and": [{"id": {"eq": null}}]})), 0);
    assert_eq!(
        rows(json!({"and": [{"rating": {"gt": 0}}, {"title": {"beginsWith": "t"}}]})),
        1
    );
    assert_eq!(
        rows(json!({"or": [{"id": {"eq": "p0"}}, {"not": {"rating": {"eq": 0}}}]})),
        2
    );
}

#[test]
fn the_first_rows_of_the_other_direction_come_with_a_record() {
    let bench = bench();
    posts(&bench, 3);
    let list = format!(
        "query ListPosts {{\n  listPosts {{\n    items {{\n      {POST}\n    }}\n    nextToken\n  }}\n}}\n"
    );
    let (status, mut body) = bench.post(&json!({"query": list, "variables": null}));
    assert_eq!(status, 200, "{body}");
    let page: Json = only(body["data"].take());
    for post in page["items"].as_array().unwrap() {
        let siblings = &post["blog"]["posts"];
        assert_eq!(siblings["items"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&siblings["nextToken"], &siblings["startedAt"]),
            (&Json::Null, &Json::Null)
        );
    }
}

#[test]
fn android_hears_of_changes_on_a_connection_with_headers() {
    let bench = bench();
    let headers = [
        ("x-api-key", KEY),
        ("host", "localhost"),
        ("sec-websocket-protocol", "graphql-ws"),
    ];
    let connection = connect(&bench, &headers, None);
    for kind in ["Create", "Update", "Delete"] {
        start(&bench, connection, kind, &subscription(kind));
    }
    let ask = |kind: &str, field: &str, input: Json| -> Synced {
        decode(&bench, &mutation(kind, field), json!({"input": input}))
    };
    let answers = [
        ask(
            "Create",
            "createPost",
            json!({"id": "p1", "title": "one", "blogId": "b1"}),
        ),
        ask(
            "Update",
            "updatePost",
            json!({"id": "p1", "rating": 2, "_version": 1}),
        ),
        ask("Delete", "deletePost", json!({"id": "p1", "_version": 2})),
    ];
    let heard = heard(&bench, connection);
    let ids: Vec<&str> = heard.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["Create", "Update", "Delete"]);
    for (answer, (_, message)) in answers.iter().zip(&heard) {
        assert_eq!(message, answer);
    }
}
