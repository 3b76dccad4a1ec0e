//! What Prometheus scrapes: a number for everything that happened, and nothing about any person.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use amoiq_testkit::{
    AppLauncher, OperatorClient, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually,
    metric_value, scrape,
};
use reqwest::Method;

const SESSION: &str = "session-metrics-0123456789";

#[test]
fn every_request_is_counted_once_by_its_pattern() {
    let app = TestApp::start();
    let sent = "amoiq_http_requests_total{route=\"/webchat/message\",method=\"POST\",status=\"200\"}";
    let closed = "amoiq_http_requests_total{route=\"/api/chat/sessions/{session}/close\",method=\"POST\",\
                  status=\"200\"}";
    assert_eq!(metric_value(&scrape(&app), sent), None);
    for _ in 0..3 {
        app.say(WIDGET_KEY, SESSION, "hello");
    }
    app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &serde_json::json!({}));
    drop(app.request(Method::GET, "/wp-login.php?secret=1").send());
    let after = scrape(&app);
    assert_eq!(metric_value(&after, sent), Some(3.0));
    assert_eq!(metric_value(&after, closed), Some(1.0));
    let count = "amoiq_http_request_duration_seconds_count{route=\"/webchat/message\",method=\"POST\"}";
    assert_eq!(metric_value(&after, count), Some(3.0));
    assert!(!after.contains("wp-login") && !after.contains(SESSION) && !after.contains("demo"), "{after}");
}

#[test]
fn appends_and_commits_are_counted() {
    let app = TestApp::start();
    let number = |name: &str| metric_value(&scrape(&app), name).expect(name);
    let before = number("amoiq_store_events_total");
    app.say(WIDGET_KEY, SESSION, "hello");
    // session.started, conversation.started, message.created
    assert!(number("amoiq_store_events_total") >= before + 3.0);
    eventually("the list of online users follows", || {
        number("amoiq_store_head_position") == number("amoiq_projection_position{projection=\"online\"}")
    });
    eventually("the inbox follows", || number("amoiq_projection_lag_events{projection=\"inbox\"}") == 0.0);
    assert_eq!(number("amoiq_projection_lag_seconds{projection=\"inbox\"}"), 0.0);
    assert_eq!(number("amoiq_store_append_errors_total{kind=\"unavailable\"}"), 0.0);
    assert_eq!(
        number("amoiq_store_commit_events_sum"),
        number("amoiq_store_events_total"),
        "every event is part of one commit"
    );
    assert!(number("amoiq_store_file_size_bytes{file=\"log.db\"}") > 0.0);
}

#[test]
fn requests_through_a_proxy_that_is_not_trusted_are_counted_once_each() {
    let app = TestApp::start();
    let number =
        || metric_value(&scrape(&app), "amoiq_untrusted_forwarded_requests_total").expect("a number");
    assert_eq!(number(), 0.0);
    let get = |path: &str| app.request(Method::GET, path).header("x-forwarded-for", "198.51.100.1").send();
    assert!(get("/api/chat/messages?sessionId=session-metrics-0123456789").is_ok());
    assert_eq!(number(), 1.0);
    assert!(get("/socket.io/?EIO=4&transport=polling").is_ok());
    assert_eq!(number(), 2.0);
}

#[test]
fn sockets_are_counted_while_they_are_open_and_by_how_they_ended() {
    let app = TestApp::start();
    let number = |name: &str| metric_value(&scrape(&app), name).expect(name);
    let open = "amoiq_connections{transport=\"websocket\"}";
    let socket = SocketClient::connect(&app, WIDGET_KEY);
    assert_eq!((number(open), number("amoiq_actors{kind=\"connection\"}")), (1.0, 1.0));
    eventually("they are online", || number("amoiq_presence_users") == 1.0);
    drop(socket);
    eventually("it is gone", || number(open) == 0.0);
    assert_eq!(number("amoiq_connections_opened_total"), 1.0);
    assert_eq!(number("amoiq_connections_closed_total{reason=\"transport_lost\"}"), 1.0);
}

#[test]
fn requests_over_a_limit_are_counted() {
    let app = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "2").start();
    for _ in 0..5 {
        app.get(WIDGET_KEY, "/api/chat/messages?sessionId=session-0123456789abcdef");
    }
    let after = scrape(&app);
    assert_eq!(metric_value(&after, "amoiq_rate_limit_refusals_total{limit=\"requests\"}"), Some(3.0));
}

#[test]
fn sessions_in_memory_are_counted_until_they_are_evicted() {
    let app = AppLauncher::new().environment("AMOIQ__SESSIONS__PASSIVATE_AFTER_SECONDS", "1").start();
    let sessions = || metric_value(&scrape(&app), "amoiq_actors{kind=\"session\"}");
    app.say(WIDGET_KEY, SESSION, "hello");
    assert_eq!(sessions(), Some(1.0));
    eventually("it left", || sessions() == Some(0.0));
    assert_eq!(metric_value(&scrape(&app), "amoiq_session_starts_total"), Some(1.0));
}

#[test]
fn a_scrape_has_the_requested_format() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "hello");
    let ask = |accept: Option<&str>| {
        let request = OperatorClient::of(&app).request_without_token(Method::GET, "/metrics");
        let request = match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        };
        let answer = request.send().expect("an answer");
        let kind = answer.headers()["content-type"].to_str().expect("a text").to_owned();
        (kind, answer.text().expect("a text"))
    };
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let (kind, open_metrics) = ask(Some(asked));
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open_metrics.ends_with("# EOF\n"));
    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
        let (kind, text) = ask(accept);
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        assert!(
            text.contains("# TYPE amoiq_http_requests_total counter\n") && !text.contains("# EOF"),
            "{text}"
        );
        let lint = promtool(&text);
        assert!(lint.is_none_or(|said| said.is_empty()), "promtool is not content");
    }
}

/// What `promtool check metrics` says about a scrape; `None` where it is not installed.
fn promtool(scrape: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = command.spawn().ok()?;
    checking.stdin.take().expect("a pipe").write_all(scrape.as_bytes()).expect("written");
    let output = checking.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    eprintln!("promtool: {}", String::from_utf8_lossy(&said));
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_time_of_the_last_backup_is_a_metric() {
    let app = TestApp::start();
    let last = || metric_value(&scrape(&app), "amoiq_last_backup_timestamp_seconds").expect("a time");
    assert_eq!(last(), 0.0);
    let before = metric_value(&scrape(&app), "process_start_time_seconds").expect("a time");
    let file = tempfile::tempdir().expect("a directory");
    let made = cli::run(app.data(), &["backup", &file.path().join("backup.db").display().to_string()]);
    assert!(
        made.status.success() && !String::from_utf8_lossy(&made.stderr).contains("not noted"),
        "{made:?}"
    );
    assert!(last() > before - 60.0 && last() < before + 3_600.0, "{}", last());
}

#[test]
fn an_invented_method_adds_no_series() {
    let app = TestApp::start();
    for name in ["WHATEVER", "ANYTHING"] {
        let method = Method::from_bytes(name.as_bytes()).expect("a method");
        assert_eq!(app.request(method, "/webchat/message").send().expect("an answer").status(), 405);
    }
    let after = scrape(&app);
    let other = "amoiq_http_requests_total{route=\"/webchat/message\",method=\"other\",status=\"405\"}";
    assert_eq!(metric_value(&after, other), Some(2.0));
    assert!(!after.contains("WHATEVER"));
}
