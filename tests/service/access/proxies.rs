//! Behind proxies: which address counts as the client's, and what operators are told when none is trusted.

use amoiq_testkit::{ApiResponse, AppLauncher, SocketHandshake, TestApp, eventually};
use reqwest::Method;
use serde_json::json;

const READ: &str = "/api/chat/messages?sessionId=session-0123456789";
const KEY: &str = "wk_acme_00000";
const TENANT: &str = "[[tenants]]\nid = 'acme'\nwidget_keys = ['wk_acme_00000']";

/// A service that trusts these networks, with a limit that no test reaches.
fn trusting(networks: &str) -> TestApp {
    AppLauncher::new()
        .config(TENANT)
        .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1000")
        .environment("AMOIQ__SERVER__TRUSTED_PROXIES", networks)
        .start()
}

/// How many requests the client that these headers name has left.
fn left(app: &TestApp, headers: &[(&str, &str)]) -> u32 {
    let request = app.request(Method::GET, READ).bearer_auth(KEY);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = ApiResponse::to(request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-ratelimit-remaining").parse().expect("a number")
}

#[test]
fn an_address_is_recognised_however_a_proxy_writes_it() {
    let app = trusting("127.0.0.0/8");
    let spellings = [
        ["198.51.100.1", "198.51.100.2"],
        ["198.51.100.1:51001", "198.51.100.2:51002"],
        ["\"198.51.100.1\"", "\"198.51.100.2\""],
        ["\"198.51.100.1:51001\"", "\"198.51.100.2:51002\""],
        ["198.51.100.1,", "198.51.100.2, "],
        ["6.6.6.6, 198.51.100.1:4711 , 127.0.0.9:80", "6.6.6.6,198.51.100.2,127.0.0.9"],
        ["::ffff:198.51.100.1", "[::ffff:198.51.100.2]:443"],
        ["2001:db8:1::1", "2001:db8:2::1"],
        ["[2001:db8:1::1]", "[2001:db8:2::1]"],
        ["[2001:db8:1::1]:443", "[2001:db8:2::1]:51002"],
        ["\"[2001:db8:1::1]:443\"", "\"[2001:db8:2::1]\""],
        ["2001:db8:1::1%eth0", "[2001:db8:2::1%25eth0]:443"],
    ];
    let (mut v4, mut v6) = (1000, 1000);
    for pair in spellings {
        let expected = if pair[0].contains("db8") { &mut v6 } else { &mut v4 };
        *expected -= 1;
        for spelling in pair {
            let left = left(&app, &[("x-forwarded-for", spelling)]);
            assert_eq!(left, *expected, "{spelling} is one of two clients");
        }
    }
}

#[test]
fn an_invalid_address_ends_the_search_and_is_reported_once() {
    let app = trusting("127.0.0.0/8");
    let mut proxy = 1000;
    for unreadable in ["unknown", "_hidden", "198.51.100.9:x", "[2001:db8::9", "198.51.100.9%1"] {
        proxy -= 1;
        let said = format!("6.6.6.6, {unreadable}");
        assert_eq!(left(&app, &[("x-forwarded-for", &said)]), proxy, "{said}: the proxy counts");
    }
    assert_eq!(
        left(&app, &[("x-forwarded-for", "unknown, 198.51.100.9")]),
        999,
        "the one to its right counts"
    );
    let line = ["X-Forwarded-For is no address", "unknown", "127.0.0.1"];
    eventually("it is said", || app.printed(&line));
    assert_eq!(app.printed_times(&["is no address"]), 1);
}

#[test]
fn an_untrusted_proxy_is_reported_with_the_missing_setting() {
    let app = trusting("10.0.0.0/8");
    for header in [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")] {
        for _ in 0..3 {
            left(&app, &[header]);
        }
    }
    let line = r#"trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1/32\"]"#;
    eventually("it is said", || app.printed(&["WARN", "127.0.0.1", "server.trusted_proxies", line]));
    assert_eq!(left(&app, &[]), 993, "all of them are one client");
    let auth = json!({ "token": KEY });
    SocketHandshake { auth, headers: &[("x-forwarded-for", "198.51.100.1")], ..SocketHandshake::default() }
        .connect(&app)
        .expect("it connects");
    assert_eq!(app.printed_times(&["server.trusted_proxies"]), 1, "once a minute");
}

#[test]
fn a_client_that_comes_directly_is_no_reason_for_a_warning() {
    let app = trusting("10.0.0.0/8");
    left(&app, &[("x-real-ip", "198.51.100.1"), ("via", "1.1 proxy")]);
    assert_eq!(app.printed_times(&["trusted_proxies"]), 0);
}

#[test]
fn the_forwarded_header_is_not_used_and_a_proxy_that_sends_only_it_is_reported() {
    let app = trusting("127.0.0.0/8");
    assert_eq!(left(&app, &[("forwarded", "for=198.51.100.1")]), 999);
    assert_eq!(left(&app, &[("forwarded", "for=198.51.100.2")]), 998, "both are the proxy");
    eventually("it is said", || app.printed(&["127.0.0.1", "Forwarded and no X-Forwarded-For"]));
    // A header that the client writes itself passes a proxy that sets the other one.
    let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(left(&app, &both), 999);
    assert_eq!(app.printed_times(&["Forwarded and no"]), 1);
}

#[test]
fn the_demo_is_not_for_use_behind_a_proxy_whatever_the_header() {
    let app = TestApp::start();
    for header in ["x-forwarded-for", "forwarded"] {
        let request = app.request(Method::GET, READ).bearer_auth(amoiq_testkit::WIDGET_KEY);
        assert_eq!(
            ApiResponse::to(request.header(header, "for=198.51.100.1")).error(),
            (403, "FORBIDDEN"),
            "{header}"
        );
    }
}

#[test]
fn a_websocket_request_without_its_upgrade_is_answered_with_the_cause() {
    let app = trusting("127.0.0.0/8");
    let path = "/socket.io/?EIO=4&transport=websocket";
    for headers in [
        &[][..],
        &[("connection", "close")],
        &[("connection", "upgrade")],
        &[("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "h2c")],
    ] {
        let request = app.request(Method::GET, path);
        let answer = ApiResponse::to(
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)),
        );
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!(3)), "{headers:?}");
        let message = answer.body["message"].as_str().expect("a message");
        assert!(message.contains("Upgrade: websocket") && message.contains("proxy"), "{message}");
    }
    eventually("it is said", || app.printed(&["WARN", "Upgrade: websocket", "127.0.0.1"]));
    assert_eq!(app.printed_times(&["Upgrade: websocket"]), 1, "once a minute");
}
