//! How connections end: after a time, by the service, or because there are too many.

use std::time::{Duration, Instant};

use amoiq_testkit::{
    ApiResponse, AppLauncher, SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY,
};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789abcdef";

#[test]
fn an_agents_connection_ends_with_its_token_and_a_visitors_stays() {
    let app = TestApp::start();
    let visitor = app.mint_token(
        SECRET_KEY,
        &json!({ "userId": "u-1", "role": "visitor", "sessionId": SESSION, "ttlSeconds": 1 }),
    );
    let mut visitor = SocketClient::connect(&app, &visitor);
    for role in ["agent", "admin"] {
        let token = app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": role, "ttlSeconds": 1 }));
        let mut socket = SocketClient::connect(&app, &token);
        let (events, code) = socket.until_closed();
        let error = events.iter().find(|(name, _)| name == "error").expect("an error");
        assert_eq!(error.1["code"], "INVALID_JWT_TOKEN");
        assert_eq!(code, 1005, "the websocket itself is closed, so that the client comes back");
    }
    assert_eq!(visitor.call("message", &json!({ "text": "still here" }))["success"], true);
}

#[test]
fn a_service_that_stops_closes_every_websocket_and_ends_in_time() {
    let mut app = TestApp::start();
    let mut sockets: Vec<_> = (0..100).map(|_| SocketClient::connect(&app, WIDGET_KEY)).collect();
    let since = Instant::now();
    app.signal("TERM");
    for socket in &mut sockets {
        assert_eq!(socket.until_closed().1, 1001, "going away, which is not final for the client");
    }
    let (status, _) = app.terminate();
    assert!(status.success(), "{status}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_client_that_does_not_identify_itself_is_disconnected() {
    let app = AppLauncher::new().environment("AMOIQ__REALTIME__CONNECT_TIMEOUT_MS", "300").start();
    let since = Instant::now();
    let (_, code) = SocketHandshake::default().open(&app).until_closed();
    assert_eq!(code, 1008);
    assert!(since.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_client_that_does_not_answer_pings_is_disconnected() {
    let app = AppLauncher::new()
        .environment("AMOIQ__REALTIME__PING_INTERVAL_MS", "200")
        .environment("AMOIQ__REALTIME__PING_TIMEOUT_MS", "200")
        .environment("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "50")
        .start();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    let silent = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    assert_eq!(admin.next("user_online")["sessionId"], SESSION);
    // Nothing is read from it, so nothing is answered; nothing closes it either.
    assert_eq!(admin.next("user_offline")["userId"], format!("anonymous-{SESSION}"));
    drop(silent);
}

#[test]
fn connections_over_a_limit_are_refused_if_none_are_held_and_places_become_free_again() {
    for (key, status) in [("CONNECTIONS_PER_IP", 429), ("MAX_CONNECTIONS", 503)] {
        let limit = format!("AMOIQ__REALTIME__{key}");
        let start = AppLauncher::new().environment(&limit, "3");
        let app = start.environment("AMOIQ__REALTIME__HELD_CONNECTIONS", "0").start();
        let mut sockets: Vec<_> = (0..3).map(|_| SocketClient::connect(&app, WIDGET_KEY)).collect();
        for transport in ["polling", "websocket"] {
            let path = format!("/socket.io/?EIO=4&transport={transport}");
            let refused = ApiResponse::to(app.request(Method::GET, &path));
            assert_eq!(refused.status, status, "{refused:?}");
            assert!(refused.body["message"].is_string() && !refused.header("retry-after").is_empty());
        }
        sockets.pop();
        amoiq_testkit::eventually("a place is free", || {
            app.request(Method::GET, "/socket.io/?EIO=4&transport=polling")
                .send()
                .expect("an answer")
                .status()
                == 200
        });
    }
}

/// Opens a polling connection. Returns its URL.
fn polling(app: &TestApp) -> String {
    const POLLING: &str = "/socket.io/?tenantId=demo&EIO=4&transport=polling";
    let open = app.request(Method::GET, POLLING).send().expect("an answer").text().expect("text");
    let open: Value = serde_json::from_str(&open[1..]).expect("JSON");
    format!("{POLLING}&sid={}", open["sid"].as_str().expect("a sid"))
}

#[test]
fn a_connection_that_connects_again_and_again_is_ended() {
    let app = TestApp::start();
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    let session = polling(&app);
    let packets = (0..1_000).map(|number| {
        let auth = json!({ "token": WIDGET_KEY, "userId": format!("u-{number}") });
        format!("40{auth}\u{1e}41")
    });
    let body = packets.collect::<Vec<_>>().join("\u{1e}");
    app.request(Method::POST, &session).body(body).send().expect("an answer");
    let gone = app.request(Method::GET, &session).send().expect("an answer");
    assert_eq!(gone.status(), 400);
    let list = agent.call("get_online_users", &json!({}));
    assert!(list["total"].as_u64().is_some_and(|total| total <= 16), "{list}");
}

#[test]
fn a_connection_that_tries_credentials_is_ended() {
    let app = TestApp::start();
    let mut guesser = SocketHandshake::default().open(&app);
    for number in 0..5 {
        guesser.text(&format!("40{}", json!({ "token": format!("sk_guess_{number:08}") })));
        assert_eq!(guesser.refusal()["message"], "INVALID_API_KEY");
    }
    guesser.text(&format!("40{}", json!({ "token": "sk_guess_00000005" })));
    assert_eq!(guesser.until_closed().1, 1008);
}

#[test]
fn a_sudden_crowd_disconnects_nobody_who_reads() {
    let app = TestApp::start();
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    let page = "x".repeat(2_000);
    let mut crowd: Vec<_> = (0..400).map(|_| SocketHandshake::default().open(&app)).collect();
    for visitor in &mut crowd {
        let auth = json!({ "token": WIDGET_KEY, "url": page, "origin": page, "domain": page });
        visitor.text(&format!("40{auth}"));
    }
    for _ in &crowd {
        agent.next("user_online");
    }
}

#[test]
fn many_long_messages_at_once_disconnect_nobody_who_reads() {
    let app = TestApp::start();
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    let text = "\u{1f600}".repeat(10_000);
    let session = |number: usize| json!({ "sessionId": format!("session-of-visitor-{number:04}") });
    let mut visitors: Vec<_> =
        (0..20).map(|n| SocketClient::connect_with(&app, WIDGET_KEY, &session(n))).collect();
    for _ in 0..5 {
        for visitor in &mut visitors {
            visitor.emit("message", &json!({ "text": text }));
        }
    }
    for _ in 0..100 {
        agent.next("meta_message_created");
    }
}

#[test]
fn a_poll_after_a_burst_is_answered_with_no_more_than_may_wait() {
    let app = TestApp::start();
    let session = polling(&app);
    let poll = || app.request(Method::GET, &session).send().expect("an answer").text().expect("text");
    let connect = format!("40{}", json!({ "token": SECRET_KEY }));
    app.request(Method::POST, &session).body(connect).send().expect("an answer");
    assert!(poll().starts_with("40{"));
    let mut visitor = SocketClient::connect(&app, WIDGET_KEY);
    let text = "x".repeat(10_000);
    let said: Vec<_> = (0..20).map(|_| SocketClient::connect_with(&app, WIDGET_KEY, &json!({}))).collect();
    for mut visitor in said {
        (0..10).for_each(|_| visitor.emit("message", &json!({ "text": text })));
        assert_eq!(visitor.call("get_online_users", &json!({}))["code"], "FORBIDDEN", "all is said");
    }
    assert_eq!(visitor.call("message", &json!({ "text": "last" }))["success"], true);
    let (mut messages, mut polls) = (0, 0);
    while messages < 201 {
        let answer = poll();
        assert!(answer.len() <= 1024 * 1024, "{}", answer.len());
        messages += answer.matches("meta_message_created").count();
        polls += 1;
    }
    assert!(polls > 1);
}
