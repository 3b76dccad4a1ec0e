//! `server.drain_seconds`: between the signal to stop and the closing of the port the service is not ready, and serves as
//! before.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually};
use reqwest::Method;
use serde_json::json;

const SESSION: &str = "session-of-a-service-that-drains";

/// As long as one of several nodes drains without a setting.
const DRAIN: Duration = Duration::from_secs(5);

/// The longest from the signal to the next process's first answer.
const RESTART: Duration = Duration::from_secs(8);

/// Longer than any test waits.
const ENDLESS: &str = "600";

fn draining(seconds: &str) -> AppLauncher {
    AppLauncher::new().environment("AMOIQ__SERVER__DRAIN_SECONDS", seconds)
}

fn is_draining(app: &TestApp) -> bool {
    app.get(SECRET_KEY, "/readyz").body["status"] == "draining"
}

fn is_open(app: &TestApp) -> bool {
    TcpStream::connect(app.socket_address()).is_ok()
}

#[test]
fn while_it_drains_it_is_not_ready_and_takes_requests_and_sockets() {
    for signal in ["TERM", "INT"] {
        let mut app = draining(ENDLESS).start();
        let mut before = SocketClient::connect(&app, WIDGET_KEY);
        app.signal(signal);
        eventually("it drains", || is_draining(&app));
        let ready = app.get(SECRET_KEY, "/readyz");
        assert_eq!(ready.status, 503);
        assert_eq!(ready.body, json!({"status": "draining", "reasons": ["the service is about to stop"]}));
        assert_eq!(app.request(Method::HEAD, "/readyz").send().expect("an answer").status(), 503);
        assert_eq!(app.get(SECRET_KEY, "/healthz").status, 200);
        let said = cli::failure_of(app.data(), &["health"]);
        assert!(said.contains("not ready") && said.contains("draining"), "{said}");
        app.say(WIDGET_KEY, SESSION, "over HTTP");
        let mut during = SocketClient::connect(&app, WIDGET_KEY);
        for socket in [&mut before, &mut during] {
            let taken = socket.call("message", &json!({"sessionId": SESSION, "text": "over a socket"}));
            assert_eq!(taken["success"], true, "{taken}");
        }
        assert_eq!(app.texts(SECRET_KEY, SESSION).expect("a history").len(), 3);
        // Nobody needs to wait: another signal ends the drain.
        app.signal(signal);
        for socket in [&mut before, &mut during] {
            assert_eq!(socket.until_closed().1, 1001);
        }
        let mut status = None;
        eventually("it ends", || {
            status = app.exit_status();
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

#[test]
fn one_of_several_nodes_drains_for_5_s_and_its_restart_takes_less_than_8_s() {
    // A machine that does other work takes longer now and then.
    assert!((0..3).any(|_| drained_restart() < RESTART));
}

/// Restarts a node that drains, and says how long that took.
fn drained_restart() -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let node = || AppLauncher::new().environment("AMOIQ__CLUSTER__NODE", "a").data(directory.path());
    let mut app = node().start();
    let mut sockets: Vec<_> = (0..50).map(|_| SocketClient::connect(&app, WIDGET_KEY)).collect();
    let since = Instant::now();
    app.signal("TERM");
    eventually("it drains", || is_draining(&app));
    let mut closed = None;
    eventually("the port is closed", || {
        // Not in the last moment: the port may close between the look and the request.
        if is_open(&app) && since.elapsed() < DRAIN - Duration::from_secs(1) {
            app.say(WIDGET_KEY, SESSION, "during the drain");
        } else if !is_open(&app) {
            closed = Some(since.elapsed());
        }
        closed.is_some()
    });
    assert!(closed >= Some(DRAIN), "{closed:?}");
    eventually("it ends", || app.exit_status().is_some());
    assert!(app.exit_status().is_some_and(|status| status.success()));
    let after = node().start();
    assert_eq!(after.get(SECRET_KEY, "/readyz").status, 200);
    let restarted = since.elapsed();
    assert!(sockets.iter_mut().all(|socket| socket.until_closed().1 == 1001));
    assert!(!after.texts(SECRET_KEY, SESSION).expect("a history").is_empty());
    restarted
}

#[test]
fn one_service_alone_does_not_drain() {
    let mut app = TestApp::start();
    let _socket = SocketClient::connect(&app, WIDGET_KEY);
    let (status, time) = app.terminate();
    assert!(status.success() && time < DRAIN, "{status}, {time:?}");
}
