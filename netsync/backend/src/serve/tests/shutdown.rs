//! The end of a server: what runs is finished, what does not finish is not waited for.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn calls_under_way_are_answered_and_nobody_else_is_let_in() {
    let (backend, server) = start().await;
    backend.faults().delay_replies(1, 200);
    let mut socket = connect(&server).await;
    subscribe(&mut socket, "s", "subscription { onCreatePost { id } }").await;
    let mut idle = TcpStream::connect(server.local_addr).await.unwrap();
    let address = server.local_addr;
    let mut calling = TcpStream::connect(address).await.unwrap();
    calling.write_all(create_text("p").as_bytes()).await.unwrap();
    // It is under way: it was committed, and its reply is held back.
    assert_eq!(next_json(&mut socket).await["type"], "data");
    let (reply, goodbye, ()) = tokio::join!(
        async {
            let mut reply = String::new();
            calling.read_to_string(&mut reply).await.unwrap();
            reply
        },
        close_code(&mut socket),
        server.shutdown(),
    );
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.contains("createPost"),
        "{reply}"
    );
    assert_eq!(goodbye, Some(1001));
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "idle sockets are closed");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn clients_that_never_finish_are_not_waited_for() {
    let options = ServeOptions {
        shutdown_time: Duration::from_millis(200),
        ..ServeOptions::default()
    };
    let (_, server) = start_with(Limits::default(), options).await;
    let mut halfway = TcpStream::connect(server.local_addr).await.unwrap();
    halfway.write_all(post_head(1_000).as_bytes()).await.unwrap();
    // It neither reads nor answers the goodbye.
    let silent = connect(&server).await;
    // A call that is answered shows that the server has seen the others.
    exchange(&server, &create_text("p")).await;
    let begun = std::time::Instant::now();
    server.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut reply = Vec::new();
    let _ = halfway.read_to_end(&mut reply).await;
    assert_eq!(reply, b"");
    drop(silent);
}

#[tokio::test]
async fn a_server_that_is_stopped_as_soon_as_it_began_ends() {
    let (_, server) = start().await;
    // Nothing that it is made of had its turn yet.
    let ended = tokio::time::timeout(Duration::from_secs(20), server.shutdown()).await;
    assert!(ended.is_ok(), "it does not end");
}
