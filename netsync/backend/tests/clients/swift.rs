//! Documents of the Swift client: variables in alphabetical order, `id` first, metadata last.

use serde_json::{Value as Json, json};

use crate::decode::{Blog, Page, Story, Synced, bench, check_time, connect, decode, heard, posts, start};
use crate::support::KEY;

/// The selection of a post whose parent is loaded eagerly.
const POST: &str = "id
    at
    blog {
      id
      createdAt
      name
      updatedAt
      __typename
      _version
      _deleted
      _lastChangedAt
    }
    createdAt
    rating
    status
    tags
    title
    updatedAt
    where {
      lat
      lon
      __typename
    }
    __typename
    _version
    _deleted
    _lastChangedAt";

fn mutation(kind: &str, field: &str) -> String {
    format!(
        "mutation {kind}Post($input: {kind}PostInput!) {{\n  {field}(input: $input) {{\n    {POST}\n  }}\n}}"
    )
}

#[test]
fn swift_creates_updates_and_deletes() {
    let bench = bench();
    let story = Story {
        create: &mutation("Create", "createPost"),
        update: &mutation("Update", "updatePost"),
        update_if: &format!(
            "mutation UpdatePost($condition: ModelPostConditionInput, $input: UpdatePostInput!) {{\n  \
             updatePost(condition: $condition, input: $input) {{\n    {POST}\n  }}\n}}"
        ),
        delete: &mutation("Delete", "deletePost"),
    };
    let blog = Blog {
        id: "b1".to_owned(),
        name: Some("news".to_owned()),
    };
    story.check(&bench, &blog);
}

#[test]
fn swift_deletes_under_a_condition() {
    let bench = bench();
    posts(&bench, 1);
    let document = format!(
        "mutation DeletePost($condition: ModelPostConditionInput, $input: DeletePostInput!) {{\n  \
         deletePost(condition: $condition, input: $input) {{\n    {POST}\n  }}\n}}"
    );
    let condition = json!({"rating": {"lt": 1}});
    let input = json!({"id": "p0", "_version": 1});
    let deleted: Synced = decode(&bench, &document, json!({"condition": condition, "input": input}));
    assert_eq!(deleted.metadata.deleted, Some(true));
}

#[test]
fn swift_syncs_page_by_page_and_goes_on_from_its_cursor() {
    let bench = bench();
    posts(&bench, 3);
    let first = format!(
        "query SyncPosts($limit: Int) {{\n  syncPosts(limit: $limit) {{\n    items {{\n      {POST}\n    }}\n    \
         nextToken\n    startedAt\n  }}\n}}"
    );
    let page: Page = decode(&bench, &first, json!({"limit": 2}));
    let started_at = page.started_at;
    assert_eq!((page.items.len(), page.next_token.is_some()), (2, true));
    let next = format!(
        "query SyncPosts($limit: Int, $nextToken: String) {{\n  syncPosts(limit: $limit, nextToken: $nextToken) {{\n    \
         items {{\n      {POST}\n    }}\n    nextToken\n    startedAt\n  }}\n}}"
    );
    let page: Page = decode(&bench, &next, json!({"limit": 2, "nextToken": page.next_token}));
    assert_eq!(
        (page.items.len(), page.next_token, page.started_at),
        (1, None, started_at)
    );
    check_time(&page.items[0].model.created_at);

    let delete = mutation("Delete", "deletePost");
    bench.data(&delete, json!({"input": {"id": "p1", "_version": 1}}));
    let delta = format!(
        "query SyncPosts($filter: ModelPostFilterInput, $lastSync: AWSTimestamp, $limit: Int) {{\n  \
         syncPosts(filter: $filter, lastSync: $lastSync, limit: $limit) {{\n    items {{\n      {POST}\n    }}\n    \
         nextToken\n    startedAt\n  }}\n}}"
    );
    let filter = json!({"and": [{"rating": {"ge": 0}}]});
    let variables = json!({"filter": filter, "lastSync": started_at + 1, "limit": 1000});
    let page: Page = decode(&bench, &delta, variables);
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].metadata.deleted, Some(true));
}

#[test]
fn swift_gets_one_record_and_null_for_none() {
    let bench = bench();
    posts(&bench, 1);
    let get = format!("query GetPost($id: ID!) {{\n  getPost(id: $id) {{\n    {POST}\n  }}\n}}");
    let found: Option<Synced> = decode(&bench, &get, json!({"id": "p0"}));
    assert_eq!(found.unwrap().model.title, "t0");
    let none: Option<Synced> = decode(&bench, &get, json!({"id": "none"}));
    assert_eq!(none, None);
}

#[test]
fn swift_hears_of_changes_on_a_connection_with_headers() {
    let bench = bench();
    let headers = [("x-api-key", KEY), ("sec-websocket-protocol", "graphql-ws")];
    let connection = connect(&bench, &headers, None);
    for kind in ["Create", "Update", "Delete"] {
        let document = format!("subscription On{kind}Post {{\n  on{kind}Post {{\n    {POST}\n  }}\n}}");
        start(
            &bench,
            connection,
            kind,
            &json!({"query": document, "variables": {}}),
        );
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
    assert_eq!(heard.len(), 3);
    for (kind, (answer, (id, message))) in ["Create", "Update", "Delete"]
        .iter()
        .zip(answers.iter().zip(&heard))
    {
        assert_eq!(id, kind);
        assert_eq!(message.metadata, answer.metadata);
        assert_eq!(message.model, answer.model);
    }
}
