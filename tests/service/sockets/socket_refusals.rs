//! Sockets that cannot be served as they are: too many, too old, or with too much to say.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use amoiq_testkit::{
    ApiResponse, AppLauncher, SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY, eventually,
};
use reqwest::Method;
use serde_json::json;

/// The shortest time that a client is held.
const HOLD: Duration = Duration::from_secs(5);

#[test]
fn a_client_of_engine_io_3_can_read_why_it_is_refused_and_the_log_reports_it_once_a_minute() {
    let app = AppLauncher::new().environment("AMOIQ__LOG__LEVEL", "info").start();
    for transport in ["polling", "websocket", "polling", "websocket"] {
        let path = format!("/socket.io/?EIO=3&transport={transport}");
        let refused =
            ApiResponse::to(app.request(Method::GET, &path).header("origin", "https://site.example"));
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!(5)), "{transport}");
        assert!(refused.body["message"].as_str().is_some_and(|message| message.contains("Engine.IO 4")));
        assert_eq!(refused.header("access-control-allow-origin"), "https://site.example");
        assert_eq!(refused.header("access-control-allow-credentials"), "true");
    }
    let line = ["INFO", "Engine.IO", "https://site.example"];
    eventually("it is said", || app.printed(&line));
    assert_eq!(app.printed_times(&line), 1);
}

#[test]
fn a_connect_over_16_kib_is_refused_with_the_reason_and_the_next_one_succeeds() {
    let app = TestApp::start();
    let mut socket = SocketHandshake::default().open(&app);
    socket.text(&format!("40{}", json!({ "token": WIDGET_KEY, "note": "x".repeat(16 * 1024) })));
    let refused = socket.packet().expect("an answer");
    let refused: serde_json::Value =
        serde_json::from_str(refused.strip_prefix("44").expect("a refusal")).expect("JSON");
    assert_eq!(refused["message"], "PAYLOAD_TOO_LARGE");
    assert_eq!(refused["data"]["code"], "PAYLOAD_TOO_LARGE");
    assert_eq!(refused["data"]["details"], json!({ "limitBytes": 16 * 1024 }));
    socket.text(&format!("40{}", json!({ "token": WIDGET_KEY })));
    assert!(socket.packet().is_some_and(|packet| packet.starts_with("40{")));
}

#[test]
fn an_event_is_answered_with_everything_that_is_wrong_with_it() {
    let app = TestApp::start();
    let mut socket = SocketClient::connect(&app, SECRET_KEY);
    let cases: [(&str, &[&str]); 4] = [
        ("message", &["sessionId", "tenantId", "text"]),
        ("join:session", &["sessionId", "tenantId"]),
        ("leave:session", &["sessionId", "tenantId"]),
        ("get_online_users", &["tenantId"]),
    ];
    for (event, wrong) in cases {
        let refused = socket.call(event, &json!({ "tenantId": [], "sessionId": {} }));
        assert_eq!(refused["code"], "VALIDATION_FAILED", "{event}: {refused}");
        let fields = refused["details"]["fields"].as_object().expect("the fields");
        assert_eq!(fields.keys().collect::<Vec<_>>(), wrong, "{event}: {refused}");
    }
}

#[test]
fn a_visitor_without_a_free_place_is_held_and_is_neither_served_nor_online() {
    let app = AppLauncher::new().environment("AMOIQ__REALTIME__MAX_CONNECTIONS", "2").start();
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    let served = SocketClient::connect(&app, WIDGET_KEY);
    let since = Instant::now();
    let mut held = SocketHandshake::default().open(&app);
    held.text(&format!("40{}", json!({ "token": WIDGET_KEY })));
    held.text(&format!("42{}", json!(["message", { "text": "does anybody hear me" }])));
    assert_eq!(agent.call("get_online_users", &json!({}))["total"], 1);
    assert_eq!(held.until_closed(), (Vec::new(), 1013));
    assert!((HOLD..3 * HOLD + HOLD).contains(&since.elapsed()), "{:?}", since.elapsed());
    drop(served);
    let mut again = SocketClient::connect(&app, WIDGET_KEY);
    assert_eq!(again.call("message", &json!({ "text": "now" }))["success"], true);
}

#[test]
fn a_client_that_guesses_too_often_is_held_and_not_refused_for_good() {
    let app = AppLauncher::new()
        .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1000")
        .environment("AMOIQ__RATE_LIMIT__SESSION_MISSES_PER_MINUTE", "1")
        .start();
    let name =
        |number: u32| json!({ "token": WIDGET_KEY, "sessionId": format!("session-of-a-guess-{number}") });
    drop(
        SocketHandshake { auth: name(1), ..SocketHandshake::default() }
            .connect(&app)
            .expect("the first one is let in"),
    );
    let since = Instant::now();
    let mut guesser = SocketHandshake::default().open(&app);
    guesser.text(&format!("40{}", name(2)));
    assert_eq!(guesser.until_closed(), (Vec::new(), 1013));
    assert!(since.elapsed() >= HOLD, "{:?}", since.elapsed());
}

#[test]
fn when_descriptors_run_short_a_visitor_for_whom_there_is_no_room_is_refused_and_not_held() {
    // Of 256 descriptors 112 are for connections of clients, and the last 7 of these are not for held clients.
    let app = AppLauncher::new()
        .wrapped_in(&["prlimit", "--nofile=256:256"])
        .environment("AMOIQ__REALTIME__MAX_CONNECTIONS", "2")
        .start();
    let served = [SocketClient::connect(&app, WIDGET_KEY), SocketClient::connect(&app, SECRET_KEY)];
    let knock = || ApiResponse::to(app.request(Method::GET, "/socket.io/?EIO=4&transport=polling"));
    assert_eq!(knock().status, 200, "it is held");
    let held: Vec<_> = (0..97).map(|_| SocketHandshake::default().open(&app)).collect();
    let address = app.address().strip_prefix("http://").expect("an address");
    let others: Vec<_> = (0..10).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    eventually("there is no room to wait", || knock().status == 503);
    assert_eq!(knock().header("retry-after"), "5");
    drop((served, held, others));
    eventually("there is room again", || knock().status == 200);
}
