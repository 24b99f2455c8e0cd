//! Authorization of a served backend as people set it up: development tokens and a file of identities.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::serve::{API_KEY, ServeProcess};

const SCHEMA: &str = "type Note @model @auth(rules: [{ allow: owner }, { allow: groups, groups: [\"Admin\"] }]) { text: String }
type Page @model @auth(rules: [{ allow: public, operations: [read] }]) { text: String }
";

/// Status and body of the reply to a query with one more header.
fn post(server: &ServeProcess, header: &str, query: &str) -> (u16, Json) {
    let address = server
        .url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/graphql"))
        .expect("the endpoint has the usual form");
    let body = json!({ "query": query }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("the server answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        serde_json::from_str(body).expect("the body is JSON"),
    )
}

fn token(secret: &Path, user: &str, groups: &[&str]) -> String {
    let mut command = landfall();
    command
        .args(["serve", "token", "--user", user, "--dev-secret"])
        .arg(secret);
    if !groups.is_empty() {
        command.args(["--groups", &groups.join(",")]);
    }
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    format!(
        "authorization: {}",
        String::from_utf8_lossy(&output.stdout).trim()
    )
}

#[test]
fn development_tokens_let_users_in_and_keep_their_records_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (schema, secret) = (folder.path().join("schema.graphql"), folder.path().join("secret"));
    std::fs::write(&schema, SCHEMA).expect("the file can be written");
    let path = secret.to_str().expect("its name is text");
    let server = ServeProcess::start(&schema, &["--dev-tokens", "--dev-secret", path]);
    let (alice, bob) = (token(&secret, "alice", &[]), token(&secret, "bob", &[]));
    let admin = token(&secret, "carol", &["Staff", "Admin"]);
    let create = "mutation { createNote(input: {id: \"n\", text: \"t\"}) { id owner } }";
    let (status, body) = post(&server, &alice, create);
    assert_eq!(
        (status, &body["data"]["createNote"]["owner"]),
        (200, &json!("alice")),
        "{body}"
    );
    let seen = |who: &str| {
        post(&server, who, "{ listNotes { items { id } } }").1["data"]["listNotes"]["items"].take()
    };
    assert_eq!(seen(&alice), json!([{"id": "n"}]));
    assert_eq!(seen(&bob), json!([]));
    assert_eq!(seen(&admin), json!([{"id": "n"}]));
    let key = format!("x-api-key: {API_KEY}");
    assert_eq!(seen(&key), Json::Null);
    let (status, _) = post(&server, &key, "{ listPages { items { id } } }");
    assert_eq!(status, 200);
    let stranger = token(&folder.path().join("another"), "alice", &[]);
    for header in ["x-other: 1", &stranger, &alice[..alice.len() - 2]] {
        assert_eq!(post(&server, header, create).0, 401, "{header}");
    }
}

#[test]
fn a_file_of_identities_leaves_no_key_that_everybody_knows() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (schema, auth) = (
        folder.path().join("schema.graphql"),
        folder.path().join("auth.json"),
    );
    std::fs::write(&schema, SCHEMA).expect("the file can be written");
    let keys =
        json!({"apiKeys": [{"key": "da2-good"}, {"key": "da2-old", "expiresAt": "2020-01-01T00:00:00Z"}]});
    std::fs::write(&auth, keys.to_string()).expect("the file can be written");
    let server = ServeProcess::start(&schema, &["--auth", auth.to_str().expect("its name is text")]);
    let status = |key: &str| {
        post(
            &server,
            &format!("x-api-key: {key}"),
            "{ listPages { items { id } } }",
        )
        .0
    };
    let keys = ["da2-good", "da2-old", "da2-landfall", "da2-guess"];
    assert_eq!(keys.map(status), [200, 401, 401, 401]);
}

#[test]
fn a_shell_calls_with_a_token_from_a_flag_or_from_a_file_that_may_change() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (schema, secret) = (folder.path().join("schema.graphql"), folder.path().join("secret"));
    std::fs::write(&schema, SCHEMA).expect("the file can be written");
    let path = secret.to_str().expect("its name is text");
    let server = ServeProcess::start(&schema, &["--dev-tokens", "--dev-secret", path]);
    let bare = |header: String| header.replace("authorization: ", "");
    let alice = bare(token(&secret, "alice", &[]));
    let file = folder.path().join("token");
    std::fs::write(&file, "expired").expect("the file can be written");
    let file_name = file.to_str().expect("its name is text");

    let flags = ["--endpoint", &server.url, "--token", &alice];
    let mut by_flag = LineClient::landfall("alice", &schema, &flags);
    by_flag.ok(&json!({"op": "start"}));
    let note = by_flag.save("Note", &json!({"text": "hers"}));
    by_flag.wait_hub("outboxMutationProcessed");

    let flags = ["--endpoint", &server.url, "--token-file", file_name];
    let mut by_file = LineClient::landfall("alice elsewhere", &schema, &flags);
    by_file.ok(&json!({"op": "start"}));
    let errors = by_file.ok(&json!({"op": "errors"})).to_string();
    assert!(errors.contains("Unauthorized"), "{errors}");
    std::fs::write(&file, &alice).expect("the file can be written");
    by_file.ok(&json!({"op": "stop"}));
    by_file.ok(&json!({"op": "start"}));
    by_file.wait_for("Note", &note["id"], &json!({"text": "hers"}));
    by_file.update("Note", &note["id"], &json!({"text": "changed"}));
    by_flag.wait_for("Note", &note["id"], &json!({"text": "changed"}));
    for client in [by_flag, by_file] {
        assert!(client.exit().success());
    }
}

#[test]
fn a_shell_signs_with_the_credentials_of_the_environment() {
    const IAM_SCHEMA: &str =
        "type Note @model @auth(rules: [{ allow: private, provider: iam }]) { text: String }";
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (schema, auth) = (
        folder.path().join("schema.graphql"),
        folder.path().join("auth.json"),
    );
    std::fs::write(&schema, IAM_SCHEMA).expect("the file can be written");
    let identities = json!({"iam": {"region": "eu-west-1", "credentials": [
        {"accessKeyId": "AKIATEST", "secretAccessKey": "s3cret", "role": "authenticated"}
    ]}});
    std::fs::write(&auth, identities.to_string()).expect("the file can be written");
    let server = ServeProcess::start(&schema, &["--auth", auth.to_str().expect("its name is text")]);
    let shell = |secret: &str| {
        let mut command = landfall();
        command.args(["shell", "--json", "--iam", "--region", "eu-west-1", "--schema"]);
        command.arg(&schema).args(["--endpoint", &server.url]);
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST");
        command.env("AWS_SECRET_ACCESS_KEY", secret);
        command.env_remove("AWS_SESSION_TOKEN");
        LineClient::spawn("a shell that signs", &mut command)
    };
    let mut store = shell("s3cret");
    store.ok(&json!({"op": "start"}));
    let note = store.save("Note", &json!({"text": "signed"}));
    let mut other = shell("s3cret");
    other.ok(&json!({"op": "start"}));
    other.wait_for("Note", &note["id"], &json!({"text": "signed"}));

    let mut stranger = shell("guessed");
    stranger.ok(&json!({"op": "start"}));
    let errors = stranger.ok(&json!({"op": "errors"})).to_string();
    assert!(
        errors.contains("Unauthorized") && !errors.contains("guessed"),
        "{errors}"
    );
}
