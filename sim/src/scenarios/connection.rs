//! Scenarios about sockets and what passes through them.

use super::stage::Stage;
use crate::network::Trouble;

pub(super) async fn a_dead_socket(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.writes("note", "before").await;
    stage.all_agree().await;
    berta.client().link().kill_sockets();
    anna.writes("note", "after").await;
    stage.later(30).await;
    stage.expect(
        berta.reads("note").as_deref() == Some("before"),
        "a dead socket brings nothing",
    );
    // Keep-alives are missing, which is how a dead socket is noticed.
    stage.later(300).await;
    stage.expect(
        berta.reads("note").as_deref() == Some("after"),
        "it is noticed and made up for",
    );
}

pub(super) async fn a_socket_that_breaks_while_it_opens(stage: Stage) {
    let (anna, berta) = stage.people();
    for delay_ms in [10, 40, 60, 80, 100, 130, 160, 200] {
        berta.client().link().break_sockets();
        crate::clock::pass(delay_ms).await;
        berta.client().link().break_sockets();
        stage.later(40).await;
    }
    anna.writes("note", "heard").await;
    stage.later(60).await;
    stage.expect(
        berta.reads("note").as_deref() == Some("heard"),
        "subscriptions were started again",
    );
    stage.expect(berta.client().link().sockets() <= 1, "on one socket");
}

pub(super) async fn everybody_reconnects_at_once(stage: Stage) {
    let (anna, berta) = stage.people();
    let before = anna.requests() + berta.requests();
    for _ in 0..10 {
        for person in [&anna, &berta] {
            person.client().link().break_sockets();
        }
        stage.later(60).await;
    }
    let requests = anna.requests() + berta.requests() - before;
    stage.expect(
        requests < 400,
        &format!("ten reconnections cost few requests, not {requests}"),
    );
    anna.writes("note", "still here").await;
    stage.all_agree().await;
}

pub(super) async fn messages_out_of_order_and_twice(stage: Stage) {
    let (anna, berta) = stage.people();
    berta.suffers(Trouble::FramesReordered(700));
    berta.suffers(Trouble::FramesDoubled(700));
    for number in 0..40 {
        anna.writes("note", &number.to_string()).await;
        crate::clock::pass(180).await;
    }
    stage.later(60).await;
    stage.expect(
        berta.reads("note").as_deref() == Some("39"),
        "the newest text wins, whatever came last",
    );
}

pub(super) async fn a_login_page_instead_of_the_server(stage: Stage) {
    let (anna, berta) = stage.people();
    anna.suffers(Trouble::CaptivePortal);
    anna.client().link().break_sockets();
    anna.writes("note", "from the hotel").await;
    stage.later(300).await;
    stage.expect(
        anna.waiting() == 1 && anna.refused() == 0,
        "a login page is no verdict",
    );
    anna.comes_online();
    stage.all_agree().await;
    stage.expect(
        berta.reads("note").as_deref() == Some("from the hotel"),
        "the change arrives",
    );
}

pub(super) async fn credentials_that_run_out(stage: Stage) {
    let (anna, berta) = stage.people();
    let expired = Trouble::Refused {
        status: 401,
        per_mille: 1_000,
        retry_after_ms: None,
    };
    anna.suffers(expired.clone());
    for number in 0..5 {
        anna.writes(&format!("note {number}"), "signed out").await;
    }
    stage.later(600).await;
    stage.expect(
        anna.waiting() == 5 && anna.refused() == 0,
        "everything waits for the next sign-in",
    );
    anna.client().link().take_off(&expired);
    stage.all_agree().await;
    stage.expect(berta.sees("Note") == 5, "and is sent then");
}
