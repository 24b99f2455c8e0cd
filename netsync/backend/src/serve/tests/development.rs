//! A server to develop against: faults on demand, the tables, the page; and that no other server has them.

use super::*;

async fn develop() -> (Arc<Backend>, ServerHandle) {
    let options = ServeOptions {
        development: true,
        ..ServeOptions::default()
    };
    start_with(Limits::default(), options).await
}

/// Calls the endpoint for administration; the status and the body.
async fn admin(server: &ServerHandle, method: &str, path: &str, body: &str) -> (String, Json) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-landfall-admin: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        server.local_addr,
        body.len()
    );
    let (head, body) = exchange(server, &request).await;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

async fn inject(server: &ServerHandle, faults: &[&str]) -> (String, Json) {
    let body = json!({"faults": faults}).to_string();
    admin(server, "POST", "/_admin/faults", &body).await
}

/// The status of a query.
async fn ask(server: &ServerHandle) -> String {
    let (head, _) = exchange(server, &post_text("{ listPosts { nextToken } }")).await;
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_server_that_is_not_in_development_mode_has_none_of_it() {
    let (_, server) = start().await;
    for path in [
        "/",
        "/_page/page.js",
        "/_page/graphiql.js",
        "/_admin",
        "/_admin/faults",
        "/_admin/tables/Post",
    ] {
        let (status, _) = admin(&server, "GET", path, "").await;
        assert_eq!(status, "404", "{path}");
    }
    assert_eq!(inject(&server, &["fail=503"]).await.0, "404");
    let refused = server.inject(FaultCommand::Purge).unwrap_err();
    assert!(refused.to_string().contains("--dev"), "{refused}");
    assert_eq!(ask(&server).await, "200");
    server.shutdown().await;
    let kv = KvStore::in_memory().unwrap();
    let config = BackendConfig::with_api_key(KEY);
    let backend = Arc::new(Backend::new(fixtures::blog(), config, kv, os_entropy()).unwrap());
    let options = ServeOptions {
        development: true,
        ..ServeOptions::default()
    };
    let refused = serve_with(([0, 0, 0, 0], 0).into(), backend, options)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("this machine only"), "{refused}");
}

#[tokio::test]
async fn pages_of_other_origins_do_not_reach_the_endpoint() {
    let (_, server) = develop().await;
    let own = format!("host: {}", server.local_addr);
    for (headers, status) in [
        (format!("{own}\r\nx-landfall-admin: 1"), "200"),
        (own, "403"),
        ("host: evil.example\r\nx-landfall-admin: 1".to_owned(), "403"),
    ] {
        let request = format!("GET /_admin HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
        let (head, _) = exchange(&server, &request).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{headers}: {head}"
        );
        assert!(!head.contains("access-control"), "{head}");
    }
    let preflight = "OPTIONS /_admin/faults HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: https://evil.example\r\n\
                     access-control-request-headers: x-landfall-admin\r\nconnection: close\r\n\r\n";
    let (head, _) = exchange(&server, preflight).await;
    assert!(!head.contains("access-control"), "{head}");
    server.shutdown().await;
}

#[tokio::test]
async fn calls_fail_are_throttled_and_lost_on_demand_until_all_is_put_right() {
    let (backend, server) = develop().await;
    let (status, state) = inject(&server, &["fail=503*2", "lose-replies=1"]).await;
    assert_eq!(
        (status.as_str(), &state["faults"]),
        ("200", &json!(["fail=503*2", "lose-replies=1"]))
    );
    assert_eq!(
        (ask(&server).await, ask(&server).await),
        ("503".to_owned(), "503".to_owned())
    );
    let (_, lost) = exchange(&server, &create_text("p")).await;
    assert!(!lost.contains("createPost"), "{lost}");
    assert_eq!(backend.records("Post").unwrap().len(), 1, "it took effect");
    assert_eq!(ask(&server).await, "200");
    inject(&server, &["clock=1700000000000", "throttle=0"]).await;
    assert_eq!(ask(&server).await, "429");
    assert_eq!(inject(&server, &["clear"]).await.1["faults"], json!([]));
    assert_eq!(ask(&server).await, "200");
    // One wrong fault, and none of them is injected.
    for faults in [&["fail=503", "nonsense"][..], &["fail=200"]] {
        let (status, body) = inject(&server, faults).await;
        assert_eq!(status, "400");
        assert!(body["error"].as_str().unwrap().contains("is no fault"), "{body}");
    }
    assert_eq!(admin(&server, "POST", "/_admin/faults", "junk").await.0, "400");
    assert_eq!(admin(&server, "GET", "/_admin", "").await.1["faults"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn sockets_are_cut_messages_doubled_and_time_moved_on_demand() {
    let (backend, server) = develop().await;
    let mut socket = connect(&server).await;
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    inject(&server, &["duplicate-messages=1", "delay=50"]).await;
    exchange(&server, &create_text("p1")).await;
    for _ in 0..2 {
        assert_eq!(
            next_json(&mut socket).await["payload"]["data"]["onCreatePost"]["id"],
            "p1"
        );
    }
    inject(&server, &["cut-sockets"]).await;
    assert_eq!(close_code(&mut socket).await, None);
    let delete = "mutation { deletePost(input: {id: \"p1\", _version: 1}) { id } }";
    post(&server, delete).await;
    let month_ms = 31 * 24 * 60 * 60 * 1_000_i64;
    let before_ms = admin(&server, "GET", "/_admin", "").await.1["clockMs"]
        .as_i64()
        .unwrap();
    let moved = inject(&server, &[&format!("clock=+{month_ms}"), "purge"]).await.1;
    assert!(
        moved["clockMs"].as_i64().unwrap() >= before_ms + month_ms,
        "{moved}"
    );
    assert_eq!(backend.records("Post").unwrap(), [], "the tombstone is gone");
    server
        .inject(FaultCommand::SetClock { unix_ms: before_ms })
        .unwrap();
    let after_ms = admin(&server, "GET", "/_admin", "").await.1["clockMs"]
        .as_i64()
        .unwrap();
    assert!((before_ms..before_ms + month_ms).contains(&after_ms));
    server.shutdown().await;
}

#[tokio::test]
async fn tables_are_shown_page_by_page_as_they_are_stored() {
    let (_, server) = develop().await;
    for n in 0..5 {
        exchange(&server, &create_text(&format!("p{n}"))).await;
    }
    post(
        &server,
        "mutation { deletePost(input: {id: \"p0\", _version: 1}) { id } }",
    )
    .await;
    let (_, first) = admin(&server, "GET", "/_admin/tables/Post?limit=3", "").await;
    let ids = |page: &Json| -> Vec<String> {
        let rows = page["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&first), ["p0", "p1", "p2"]);
    assert_eq!(
        (&first["rows"][0]["_deleted"], &first["rows"][0]["_version"]),
        (&json!(true), &json!(2))
    );
    let next = first["next"].as_str().unwrap();
    let (_, second) = admin(
        &server,
        "GET",
        &format!("/_admin/tables/Post?limit=3&after={next}"),
        "",
    )
    .await;
    assert_eq!(
        (ids(&second), &second["next"]),
        (vec!["p3".to_owned(), "p4".to_owned()], &json!(null))
    );
    let (_, changes) = admin(&server, "GET", "/_admin/tables/Post?changes=true", "").await;
    assert_eq!(ids(&changes).len(), 6);
    assert_eq!(admin(&server, "GET", "/_admin/tables/Nope", "").await.0, "404");
    assert_eq!(
        admin(&server, "GET", "/_admin/tables/Post?after=%21", "").await.0,
        "400"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let (_, server) = develop().await;
    let load = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let (head, body) = exchange(&server, &request).await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(
            head.contains("content-security-policy: default-src 'none'; script-src 'self';"),
            "{path}: {head}"
        );
        (head, body)
    };
    let (_, page) = load("/").await;
    let addresses: Vec<&str> = page
        .split('"')
        .filter(|text| text.starts_with("/_page/"))
        .collect();
    assert_eq!(addresses.len(), 7, "{addresses:?}");
    for path in addresses {
        let (head, body) = load(path).await;
        let kind = if path.ends_with(".css") {
            "text/css"
        } else {
            "text/javascript"
        };
        assert!(head.contains(kind), "{path}: {head}");
        if head.contains("content-encoding: gzip") {
            continue;
        }
        assert!(
            !body.contains("http://") && !body.contains("https://") && !body.contains("innerHTML"),
            "{path}"
        );
    }
    server.shutdown().await;
}
