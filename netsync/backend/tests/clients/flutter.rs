//! The Flutter client: documents of the platform below it, over a connection of its own making.

use serde_json::{Value as Json, json};

use crate::android::{blog, mutation, subscription};
use crate::decode::{Synced, bench, connect, decode, heard, start};
use crate::support::KEY;

#[test]
fn flutter_hears_of_changes_on_a_connection_with_a_payload_and_headers() {
    let bench = bench();
    let headers = [
        ("x-api-key", KEY),
        ("accept", "application/json, text/javascript"),
        ("content-encoding", "amz-1.0"),
        ("content-type", "application/json; charset=utf-8"),
        ("host", "localhost"),
        ("sec-websocket-protocol", "graphql-ws"),
    ];
    let connection = connect(&bench, &headers, Some("payload=e30%3D"));
    let id = "0f0e2c64-8c3d-4c55-9f0a-1d6b3f7f8a10";
    // The document goes through as the platform wrote it, the variables as an object.
    let mut request = subscription("Create");
    request["variables"] = json!({});
    start(&bench, connection, id, &request);
    let input = json!({"id": "p1", "title": "one", "blogId": "b1", "status": "DRAFT"});
    let created: Synced = decode(&bench, &mutation("Create", "createPost"), json!({"input": input}));
    assert_eq!(created.model.blog, Some(blog()));
    assert_eq!(heard(&bench, connection), [(id.to_owned(), created)]);

    let stop = json!({"id": id, "type": "stop"}).to_string();
    bench.backend.frame_in(bench.now_ms.get(), connection, &stop);
    let frames: Vec<Json> = crate::decode::frames(&bench, connection);
    assert_eq!(frames, [json!({"id": id, "type": "complete"})]);
}
