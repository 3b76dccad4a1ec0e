//! How connections end: by the clock, by the service, by being too many.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    app::{SECRET, Start, TestApp, WIDGET},
    socket::{Dial, Socket},
};

const SESSION: &str = "session-0123456789abcdef";

#[test]
fn an_agents_connection_ends_with_its_token_and_a_visitors_stays() {
    let app = TestApp::start();
    let visitor = app
        .mint(SECRET, &json!({ "userId": "u-1", "role": "visitor", "sessionId": SESSION, "ttlSeconds": 1 }));
    let mut visitor = Socket::connect(&app, &visitor);
    for role in ["agent", "admin"] {
        let token = app.mint(SECRET, &json!({ "userId": "ann", "role": role, "ttlSeconds": 1 }));
        let mut socket = Socket::connect(&app, &token);
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
    let mut sockets: Vec<_> = (0..100).map(|_| Socket::connect(&app, WIDGET)).collect();
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
fn a_client_that_does_not_say_who_it_is_is_let_go() {
    let app = Start::new().environment("AMOIQ__REALTIME__CONNECT_TIMEOUT_MS", "300").app();
    let since = Instant::now();
    let (_, code) = Dial::default().open(&app).until_closed();
    assert_eq!(code, 1008);
    assert!(since.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_client_that_does_not_answer_pings_is_let_go() {
    let app = Start::new()
        .environment("AMOIQ__REALTIME__PING_INTERVAL_MS", "200")
        .environment("AMOIQ__REALTIME__PING_TIMEOUT_MS", "200")
        .environment("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "50")
        .app();
    let mut admin = Socket::connect(&app, SECRET);
    let silent = Socket::connect_with(&app, WIDGET, &json!({ "sessionId": SESSION }));
    assert_eq!(admin.next("user_online")["sessionId"], SESSION);
    // Nothing is read from it, so nothing is answered; nothing closes it either.
    assert_eq!(admin.next("user_offline")["userId"], format!("anonymous-{SESSION}"));
    drop(silent);
}

#[test]
fn connections_over_a_limit_are_refused_and_places_become_free_again() {
    for (key, status) in [("CONNECTIONS_PER_IP", 429), ("MAX_CONNECTIONS", 503)] {
        let app = Start::new().environment(&format!("AMOIQ__REALTIME__{key}"), "3").app();
        let mut sockets: Vec<_> = (0..3).map(|_| Socket::connect(&app, WIDGET)).collect();
        for transport in ["polling", "websocket"] {
            let path = format!("/socket.io/?EIO=4&transport={transport}");
            let refused = crate::app::Answer::of(app.request(reqwest::Method::GET, &path));
            assert_eq!(refused.status, status, "{refused:?}");
            assert!(refused.body["message"].is_string() && !refused.header("retry-after").is_empty());
        }
        sockets.pop();
        crate::app::eventually("a place is free", || {
            app.request(reqwest::Method::GET, "/socket.io/?EIO=4&transport=polling")
                .send()
                .expect("an answer")
                .status()
                == 200
        });
    }
}
