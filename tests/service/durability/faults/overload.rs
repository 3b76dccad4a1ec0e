//! Limits that are reached: requests over a limit are refused, and all others are served.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use amoiq_testkit::{FaultyDisk, PATIENCE, SECRET_KEY, TestApp, WIDGET_KEY, eventually};

use super::{Disk, patient::Client};
use crate::durability::history;

const SESSION: &str = "session-that-is-very-popular";

/// More than the 2,048 requests that wait for one session.
const REQUESTS: usize = 2_200;

#[test]
fn a_read_model_that_cannot_be_written_delays_only_its_readers() {
    let disk = FaultyDisk::new("write 5 /views.db");
    let app = disk.start();
    let history = || app.get(SECRET_KEY, "/api/chat/messages?userId=ann");
    let count = || history().body["messages"].as_array().map(Vec::len);
    let client = Client::new(SESSION);
    client.take(&app, 3);
    assert_eq!(count(), Some(3));
    disk.fail(&app);
    client.take(&app, 3);
    let behind = history();
    assert_eq!(behind.error(), (503, "OVERLOADED"));
    assert_eq!(behind.header("retry-after"), "1");
    assert_eq!(app.get(SECRET_KEY, "/healthz").status, 200);
    client.check(&app);
    disk.mend(&app);
    eventually("the read model follows", || history().status == 200);
    assert_eq!(count(), Some(6));
}

#[test]
fn requests_that_a_session_cannot_hold_are_refused_and_leave_nothing() {
    // Each request has a connection of its own, at both ends.
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=8192:"]).status();
    assert!(raised.expect("prlimit runs").success());
    let disk = FaultyDisk::new("sync 0 /log.db");
    let app = disk.start();
    disk.fail(&app);
    let mut waiting: Vec<_> = (0..REQUESTS).map(|number| send(&app, number)).collect();
    // A refusal comes while the disk is still held; answers come when it is not.
    let is_answered = |stream: &TcpStream| stream.peek(&mut [0]).is_ok();
    eventually("one is refused", || waiting.iter().any(is_answered));
    disk.mend(&app);
    let mut refused = HashSet::new();
    let mut taken = HashSet::new();
    for (number, stream) in waiting.iter_mut().enumerate() {
        let text = format!("message {number}");
        let answer = receive(stream);
        if answer.starts_with("HTTP/1.1 200") {
            taken.insert(text);
        } else if answer.contains("\"OVERLOADED\"") {
            assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
            refused.insert(text);
        }
    }
    assert!(!refused.is_empty() && taken.len() > REQUESTS / 2, "{} taken", taken.len());
    let kept = history(&app, SESSION);
    let kept: HashSet<_> = kept.iter().map(|m| m["text"].as_str().expect("a text").to_owned()).collect();
    assert!(kept.is_superset(&taken), "a message that was taken is lost");
    assert!(kept.is_disjoint(&refused), "a message that was refused is there");
    app.say(WIDGET_KEY, SESSION, "it is served again");
}

/// Sends a message on a connection of its own, and does not wait.
fn send(app: &TestApp, number: usize) -> TcpStream {
    let address = app.address().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let body = format!("{{\"sessionId\":\"{SESSION}\",\"text\":\"message {number}\"}}");
    let length = body.len();
    write!(
        stream,
        "POST /webchat/message HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {WIDGET_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    stream.set_nonblocking(true).expect("set");
    stream
}

fn receive(stream: &mut TcpStream) -> String {
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
