//! SIGTERM and SIGINT: requests in flight are answered, nobody can delay the stop, and the next start serves at once.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, FaultyDisk, PATIENCE, SECRET_KEY, TestApp, WIDGET_KEY, eventually};

use crate::durability::history;

const SESSION: &str = "session-of-a-service-that-stops";

/// The longest from the signal to the end.
const END: Duration = Duration::from_secs(5);

/// The longest from the start to an answer.
const BEGIN: Duration = Duration::from_secs(2);

#[test]
fn a_request_in_flight_is_answered_before_the_program_ends() {
    for signal in ["TERM", "INT"] {
        let disk = FaultyDisk::new("sync 0 /log.db");
        let mut app = disk.starting().environment("AMOIQ__LOG__LEVEL", "info").start();
        app.say(WIDGET_KEY, SESSION, "one");
        disk.set();
        let id = std::thread::scope(|scope| {
            let in_flight = scope.spawn(|| app.say(WIDGET_KEY, SESSION, "two"));
            disk.wait_until_held();
            app.signal(signal);
            eventually("it is stopping", || app.printed(&["stopping"]));
            eventually("nobody is let in", || connect(&app).is_err());
            assert!(!in_flight.is_finished());
            disk.clear();
            in_flight.join().expect("an answer")
        });
        assert_ends(&mut app, Instant::now());
        let since = Instant::now();
        let app = disk.starting().start();
        assert_eq!(history(&app, SESSION)[1]["id"], *id);
        assert!(since.elapsed() < BEGIN, "{:?}", since.elapsed());
    }
}

#[test]
fn idle_and_half_used_connections_do_not_delay_the_stop() {
    for signal in ["TERM", "INT"] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut app = AppLauncher::new().data(directory.path()).start();
        for number in 0..50 {
            app.say(WIDGET_KEY, SESSION, &format!("message {number}"));
        }
        let body = "POST /webchat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
            Authorization: Bearer wk_demo_0000000000000000\r\nContent-Length: 60\r\n\r\n{\"text\":";
        let texts = ["", "GET /hea", "GET /healthz HTTP/1.1\r\nHost: a\r\n", body];
        let open: Vec<_> = texts.iter().map(|text| send(&app, text)).collect();
        let mut idle = send(&app, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        let since = Instant::now();
        app.signal(signal);
        assert_ends(&mut app, since);
        drop((open, idle));
        let since = Instant::now();
        let app = AppLauncher::new().data(directory.path()).start();
        assert_eq!(app.get(SECRET_KEY, "/readyz").status, 200);
        assert_eq!(history(&app, SESSION).len(), 50);
        assert!(since.elapsed() < BEGIN, "{:?}", since.elapsed());
    }
}

#[test]
fn a_hanging_disk_ends_readiness_and_does_not_delay_the_stop() {
    let disk = FaultyDisk::new("sync 0 /log.db");
    let mut app = disk.starting().start();
    disk.set();
    let body = format!(r#"{{"text":"two","sessionId":"{SESSION}"}}"#);
    let length = body.len();
    let message = format!(
        "POST /webchat/message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {WIDGET_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let _waits = send(&app, &message);
    disk.wait_until_held();
    eventually("it is not ready", || app.get(SECRET_KEY, "/readyz").status == 503);
    let reasons = app.get(SECRET_KEY, "/readyz").body["reasons"].to_string();
    assert!(reasons.contains("a commit has taken more than 5 s"), "{reasons}");
    let since = Instant::now();
    app.signal("TERM");
    assert_ends(&mut app, since);
}

#[test]
fn messages_accepted_during_the_stop_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut app = AppLauncher::new().data(directory.path()).start();
    let request = || {
        let body = serde_json::json!({"sessionId": SESSION, "text": "at the end"});
        let request =
            app.request(reqwest::Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY).json(&body);
        request.send().ok().filter(|answer| answer.status() == 200)
    };
    let write = || std::iter::from_fn(request).count();
    let taken: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(write)).collect();
        eventually("messages are taken", || history(&app, SESSION).len() > 100);
        app.signal("TERM");
        writers.into_iter().map(|writer| writer.join().expect("a count")).sum()
    });
    assert_ends(&mut app, Instant::now());
    let left = std::fs::metadata(directory.path().join("log.db-wal")).map_or(0, |file| file.len());
    assert_eq!(left, 0, "a log that was closed is one file");
    let kept = history(&AppLauncher::new().data(directory.path()).start(), SESSION).len();
    assert!((taken..=taken + 8).contains(&kept), "{taken} were taken, {kept} are kept");
}

/// It ends by itself, in time and with success.
fn assert_ends(app: &mut TestApp, since: Instant) {
    let ended = loop {
        if let Some(status) = app.exit_status() {
            break status;
        }
        assert!(since.elapsed() < PATIENCE, "it does not end");
        std::thread::yield_now();
    };
    assert_eq!(ended.code(), Some(0));
    assert!(since.elapsed() < END, "{:?}", since.elapsed());
}

fn connect(app: &TestApp) -> std::io::Result<TcpStream> {
    TcpStream::connect(app.address().trim_start_matches("http://"))
}

/// A connection on which a text was sent.
fn send(app: &TestApp, text: &str) -> TcpStream {
    let mut stream = connect(app).expect("a connection");
    stream.write_all(text.as_bytes()).expect("sent");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}
