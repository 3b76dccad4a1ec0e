//! The lines of a request name its trace.

use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, eventually};
use reqwest::Method;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn start() -> TestApp {
    AppLauncher::new().environment("AMOIQ__LOG__LEVEL", "warn,amoiq::http=debug").start()
}

fn ask(app: &TestApp, id: &str, traceparent: &[&str]) {
    let mut request = app.request(Method::GET, "/api/chat/online-users").bearer_auth(SECRET_KEY);
    request = request.header("X-Request-Id", id);
    for value in traceparent {
        request = request.header("traceparent", *value);
    }
    assert_eq!(request.send().expect("an answer").status(), 200);
}

#[test]
fn the_lines_of_a_request_name_the_trace_that_it_came_with() {
    let app = start();
    ask(&app, "with-a-trace", &[&format!("00-{TRACE}-00f067aa0ba902b7-01")]);
    eventually("it is told", || app.printed(&["with-a-trace", TRACE]));
}

#[test]
fn a_request_without_a_good_trace_has_one_of_its_own() {
    let app = start();
    let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
    ask(&app, "without", &[]);
    ask(&app, "malformed", &["00-xyz"]);
    ask(&app, "twice", &[&good, &good]);
    for id in ["without", "malformed", "twice"] {
        eventually(id, || app.printed(&[id, "\"trace.id\":\""]));
        assert!(!app.printed(&[id, TRACE]), "{id}");
        assert!(!app.printed(&[id, "\"trace.id\":\"00000000000000000000000000000000\""]), "{id}");
    }
}
