//! Base and delta sync.

use super::*;

const MINUTE_MS: i64 = 60_000;

const SYNC: &str = "query operation($limit: Int, $nextToken: String, $lastSync: AWSTimestamp, $filter: ModelPostFilterInput) \
                    { syncPosts(limit: $limit, nextToken: $nextToken, lastSync: $lastSync, filter: $filter) \
                    { items { id title _version _deleted _lastChangedAt } nextToken startedAt } }";

fn sync(bench: &Bench, variables: Json) -> Json {
    bench.data(SYNC, variables)["syncPosts"].take()
}

/// `id:version` of each item, tombstones in parentheses.
fn trace(page: &Json) -> String {
    let one = |item: &Json| {
        let text = format!("{}:{}", item["id"].as_str().unwrap(), item["_version"]);
        if item["_deleted"] == true {
            format!("({text})")
        } else {
            text
        }
    };
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Two posts: one changed twice, one created and deleted; changes at 1 to 5 milliseconds.
fn changed() -> Bench {
    let bench = bench();
    bench.create(json!({"id": "p1", "title": "a0"}));
    bench.update(json!({"id": "p1", "title": "a1", "_version": 1}));
    bench.create(json!({"id": "p2", "title": "b"}));
    bench.update(json!({"id": "p1", "title": "a", "_version": 2}));
    bench.delete(json!({"id": "p2", "_version": 1}));
    bench
}

#[test]
fn a_base_sync_gives_each_record_once_tombstones_included() {
    let bench = changed();
    for last_sync in [Json::Null, json!(0)] {
        let page = sync(&bench, json!({"lastSync": last_sync}));
        assert_eq!(trace(&page), "p1:3 (p2:2)");
        let first = json!({"id": "p1", "title": "a", "_version": 3, "_deleted": null, "_lastChangedAt": START_MS + 4});
        assert_eq!(page["items"][0], first);
        assert_eq!(
            (&page["nextToken"], &page["startedAt"]),
            (&Json::Null, &json!(bench.now_ms.get()))
        );
    }
}

#[test]
fn a_delta_sync_gives_every_change_in_its_order() {
    let bench = changed();
    assert_eq!(
        trace(&sync(&bench, json!({"lastSync": START_MS}))),
        "p1:1 p1:2 p2:1 p1:3 (p2:2)"
    );
    let boundary = trace(&sync(&bench, json!({"lastSync": START_MS + 4})));
    assert_eq!(boundary, "p1:3 (p2:2)", "the boundary is included");
    assert_eq!(trace(&sync(&bench, json!({"lastSync": START_MS + 6}))), "");
}

#[test]
fn a_cursor_older_than_the_delta_gets_a_base_sync_without_being_told() {
    let bench = changed();
    bench.now_ms.set(START_MS + 3 + 30 * MINUTE_MS - 1);
    let delta = trace(&sync(&bench, json!({"lastSync": START_MS + 3})));
    assert_eq!(delta, "p2:1 p1:3 (p2:2)", "just within the window");
    let base = trace(&sync(&bench, json!({"lastSync": START_MS + 3})));
    assert_eq!(base, "p1:3 (p2:2)", "a millisecond later it is not");
}

#[test]
fn pages_count_before_the_filter_and_share_the_first_started_at() {
    let bench = bench();
    for n in 0..5 {
        bench.create(json!({"id": format!("p{n}"), "title": "t", "rating": n}));
    }
    let filter = json!({"rating": {"ge": 3}});
    let first = sync(&bench, json!({"limit": 2, "filter": filter}));
    assert_eq!(trace(&first), "", "empty, and yet there is more");
    let started_at = first["startedAt"].clone();
    let second = sync(
        &bench,
        json!({"limit": 2, "filter": filter, "nextToken": first["nextToken"]}),
    );
    let third = sync(
        &bench,
        json!({"limit": 2, "filter": filter, "nextToken": second["nextToken"]}),
    );
    assert_eq!(
        (trace(&second), trace(&third)),
        ("p3:1".to_owned(), "p4:1".to_owned())
    );
    assert_eq!(
        (&second["startedAt"], &third["startedAt"]),
        (&started_at, &started_at)
    );
    assert_eq!(third["nextToken"], Json::Null);
}

#[test]
fn a_change_during_a_paged_sync_comes_with_the_next_delta() {
    let bench = bench();
    for id in ["p1", "p2", "p3"] {
        bench.create(json!({"id": id, "title": "t"}));
    }
    let first = sync(&bench, json!({"limit": 2}));
    bench.update(json!({"id": "p1", "title": "late", "_version": 1})); // behind the page
    let second = sync(&bench, json!({"limit": 2, "nextToken": first["nextToken"]}));
    assert_eq!(
        (trace(&first), trace(&second)),
        ("p1:1 p2:1".to_owned(), "p3:1".to_owned())
    );
    assert_eq!(
        trace(&sync(&bench, json!({"lastSync": second["startedAt"]}))),
        "p1:2"
    );
}

#[test]
fn a_delta_goes_on_in_pages_even_if_the_window_closes_meanwhile() {
    let bench = changed();
    let first = sync(&bench, json!({"lastSync": START_MS, "limit": 2}));
    bench.now_ms.set(START_MS + 40 * MINUTE_MS);
    assert_eq!(bench.backend.purge(bench.now_ms.get()).unwrap().changes, 0);
    let second = sync(
        &bench,
        json!({"lastSync": START_MS, "limit": 3, "nextToken": first["nextToken"]}),
    );
    assert_eq!(
        (trace(&first), trace(&second)),
        ("p1:1 p1:2".to_owned(), "p2:1 p1:3 (p2:2)".to_owned())
    );
    bench.now_ms.set(START_MS + 70 * MINUTE_MS);
    let body = bench.ask(
        SYNC,
        json!({"lastSync": START_MS, "limit": 2, "nextToken": first["nextToken"]}),
    );
    assert_eq!(
        only_error(&body).0,
        "UserIllegalArgumentException",
        "the token is too old to be honest"
    );
}

#[test]
fn filters_apply_to_both_kinds_and_to_tombstones() {
    let bench = changed();
    for (last_sync, expected) in [(json!(0), "(p2:2)"), (json!(START_MS), "p2:1 (p2:2)")] {
        let filtered = |filter: Json| trace(&sync(&bench, json!({"lastSync": last_sync, "filter": filter})));
        assert_eq!(filtered(json!({"title": {"eq": "b"}})), expected);
        assert_eq!(filtered(json!({"and": [{"id": {"eq": null}}]})), "");
        assert_eq!(filtered(json!({"_deleted": {"eq": true}})), "(p2:2)");
    }
}

#[test]
fn an_equality_on_an_index_reads_only_its_partition_and_finds_the_same_rows() {
    let bench = bench();
    for (id, blog, title) in [
        ("p1", "c", "x"),
        ("p2", "b", "z"),
        ("p3", "b", "a"),
        ("p4", "c", "y"),
    ] {
        bench.create(json!({"id": id, "blogId": blog, "title": title}));
    }
    // Without a value for the sort key the record is not in DynamoDB's index, but a scan would find it.
    bench.create(json!({"id": "p5", "blogId": "b", "title": "q"}));
    bench.update(json!({"id": "p5", "title": null, "_version": 1}));
    let page = |limit: usize, filter: &Json, token: &Json| {
        let query = "query($n: Int, $f: ModelPostFilterInput, $t: String) \
                     { syncPosts(limit: $n, filter: $f, nextToken: $t) { items { id } nextToken startedAt } }";
        bench.data(query, json!({"n": limit, "f": filter, "t": token}))["syncPosts"].take()
    };
    let by_index = json!({"and": [{"blogId": {"eq": "b"}}, {"title": {"ne": "z"}}]});
    let first = page(2, &by_index, &Json::Null);
    let second = page(2, &by_index, &first["nextToken"]);
    // Three rows in the partition: two pages of at most two evaluated rows.
    assert_eq!(
        (ids(&first), ids(&second), &second["nextToken"]),
        ("p5 p3".into(), String::new(), &Json::Null)
    );
    let scanned = page(
        100,
        &json!({"or": [{"blogId": {"eq": "b"}}, {"blogId": {"eq": "b"}}], "title": {"ne": "z"}}),
        &Json::Null,
    );
    assert_eq!(ids(&scanned), "p3 p5");
    assert_eq!(
        ids(&page(1, &json!({"and": [{"id": {"eq": "p4"}}]}), &Json::Null)),
        "p4"
    );
}

#[test]
fn the_query_shape_that_trips_real_appsync_works_here() {
    let bench = bench();
    for (id, title) in [("p1", "a"), ("p2", "f"), ("p3", "z")] {
        bench.create(json!({"id": id, "blogId": "b", "title": title}));
    }
    let range = json!({"title": {"between": ["a", "f"]}});
    let filter = json!({"and": [{"blogId": {"eq": "b"}}, range, {"title": {"ne": "a"}}]});
    assert_eq!(trace(&sync(&bench, json!({"filter": filter}))), "p2:1");
}

#[test]
fn a_base_sync_after_the_purge_no_longer_knows_the_tombstone() {
    let bench = changed();
    bench.now_ms.set(START_MS + 43_201 * MINUTE_MS);
    assert_eq!(
        trace(&sync(&bench, json!({}))),
        "p1:3",
        "gone before it is purged"
    );
    let report = bench.backend.purge(bench.now_ms.get()).unwrap();
    assert_eq!((report.tombstones, report.changes), (1, 5));
    assert_eq!(bench.backend.records("Post").unwrap().len(), 1);
    let again = bench.create(json!({"id": "p2", "title": "again"}));
    assert_eq!(again["_version"], 1, "a new life starts at version 1");
}

/// Every row that a paged query gives, page after page.
fn drain(bench: &Bench, limit: usize, last_sync: i64, filter: &Json) -> String {
    let mut rows = Vec::new();
    let mut token = Json::Null;
    loop {
        let variables = json!({"limit": limit, "lastSync": last_sync, "filter": filter, "nextToken": token});
        let page = sync(bench, variables);
        rows.extend((!page["items"].as_array().unwrap().is_empty()).then(|| trace(&page)));
        token = page["nextToken"].clone();
        if token.is_null() {
            return rows.join(" ");
        }
    }
}

#[test]
fn pages_of_any_size_give_the_same_rows() {
    let bench = bench();
    for n in 0..9 {
        let blog = if n % 2 == 0 { "b" } else { "c" };
        bench.create(json!({"id": format!("p{n}"), "title": format!("t{}", n % 4), "blogId": blog}));
    }
    bench.delete(json!({"id": "p4", "_version": 1}));
    bench.update(json!({"id": "p2", "rating": 5, "_version": 1}));
    let partition = json!({"and": [{"blogId": {"eq": "b"}}, {"title": {"ne": "t2"}}]});
    for (last_sync, filter, expected) in [
        (0, Json::Null, "p0:1 p1:1 p2:2 p3:1 (p4:2) p5:1 p6:1 p7:1 p8:1"),
        // By the index, so in the order of its sort key.
        (0, json!({"blogId": {"eq": "b"}}), "p0:1 (p4:2) p8:1 p2:2 p6:1"),
        (0, partition, "p0:1 (p4:2) p8:1"),
        (START_MS + 8, Json::Null, "p7:1 p8:1 (p4:2) p2:2"),
    ] {
        for limit in 1..=10 {
            assert_eq!(
                drain(&bench, limit, last_sync, &filter),
                expected,
                "limit {limit}, filter {filter}"
            );
        }
    }
}

#[test]
fn a_page_ends_after_a_megabyte() {
    let bench = bench();
    for n in 0..5 {
        bench.create(json!({"id": format!("p{n}"), "title": "x".repeat(300 * 1024)}));
    }
    let query = "query($t: String) { syncPosts(nextToken: $t) { items { id } nextToken } }";
    let first = bench.data(query, json!({}))["syncPosts"].take();
    assert_eq!(ids(&first), "p0 p1 p2 p3");
    assert_eq!(
        ids(&bench.data(query, json!({"t": first["nextToken"]}))["syncPosts"]),
        "p4"
    );
}

#[test]
fn rows_of_the_delta_table_have_appsyncs_keys_and_an_end() {
    let bench = changed();
    let rows = bench.backend.delta_rows("Post").unwrap();
    let last = &rows[rows.len() - 1];
    assert_eq!((last.ds_pk.as_str(), rows.len()), ("Post:2023-11-14", 5));
    assert!(
        last.ds_sk.starts_with("22:13:20.0") && last.ds_sk.ends_with(":p2:2"),
        "{}",
        last.ds_sk
    );
    // Half an hour for a change; the tombstone itself stays thirty days.
    assert_eq!(last.ttl_s, START_MS / 1_000 + 30 * 60);
    assert!(last.record.sync.deleted);
    assert!(bench.backend.delta_rows("Nope").is_err());
}

#[test]
fn both_times_to_live_can_be_set_and_follow_the_given_clock() {
    let config = BackendConfig {
        base_ttl_minutes: 10,
        delta_ttl_minutes: 2,
        ..BackendConfig::with_api_key(KEY)
    };
    let bench = bench_with(fixtures::blog(), config);
    bench.create(json!({"id": "p1", "title": "a"}));
    bench.create(json!({"id": "p2", "title": "b"}));
    bench.delete(json!({"id": "p2", "_version": 1}));
    let since = bench.now_ms.get();
    let rows = |bench: &Bench| trace(&sync(bench, json!({"lastSync": since})));
    bench.now_ms.set(since + 2 * MINUTE_MS - 1);
    assert_eq!(rows(&bench), "(p2:2)", "a delta within two minutes");
    bench.now_ms.set(since + 2 * MINUTE_MS);
    assert_eq!(rows(&bench), "p1:1 (p2:2)", "the base after them");
    bench.now_ms.set(since + 10 * MINUTE_MS);
    assert_eq!(rows(&bench), "p1:1", "the tombstone lived ten minutes");
}
