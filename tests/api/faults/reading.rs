//! Reads that the disk does not let through: each has an end, and what could not be read is not called damaged.

use std::thread;

use serde_json::json;

use super::disk::FaultyDisk;
use crate::app::{Answer, SECRET, TestApp, WIDGET, eventually};

const SESSION: &str = "session-behind-a-hanging-disk";

fn history(app: &TestApp, session: &str) -> Answer {
    app.get(SECRET, &format!("/api/chat/messages?sessionId={session}"))
}

#[test]
fn what_waits_for_a_session_whose_write_hangs_is_told_so_in_time() {
    let disk = FaultyDisk::new("sync 0 /log.db-wal");
    let app = disk.starting().app();
    let asking = |session: &str| json!({ "sessionId": session, "text": "hello", "userId": "ann" });
    assert_eq!(app.post(WIDGET, "/webchat/message", &asking(SESSION)).status, 200);
    assert_eq!(app.post(WIDGET, "/webchat/message", &asking("session-of-nobody-else")).status, 200);
    eventually("the read model follows", || {
        app.get(SECRET, "/api/chat/messages?userId=ann").body["messages"].as_array().map(Vec::len) == Some(2)
    });
    disk.set();
    // None of these is answered by the disk: it hangs until all of them were told.
    thread::scope(|scope| {
        let writing = scope.spawn(|| app.post(WIDGET, "/webchat/message", &asking(SESSION)));
        disk.wait_until_held();
        let others = [
            scope.spawn(|| history(&app, SESSION)),
            scope.spawn(|| app.get(WIDGET, &format!("/api/chat/messages?sessionId={SESSION}"))),
            scope.spawn(|| app.get(SECRET, "/api/chat/messages?userId=ann")),
            scope.spawn(|| app.post(WIDGET, "/api/chat/anonymous-token", &json!({ "sessionId": SESSION }))),
            scope.spawn(|| app.post(SECRET, &format!("/api/chat/sessions/{SESSION}/close"), &json!({}))),
            writing,
        ];
        assert_eq!(history(&app, "session-of-nobody-else").status, 200);
        assert_eq!(app.get(SECRET, "/api/chat/online-users").status, 200);
        for other in others {
            let answer = other.join().expect("an answer");
            assert_eq!(answer.error(), (503, "STORE_UNAVAILABLE"));
            assert_eq!(answer.header("retry-after"), "1");
        }
    });
    disk.clear();
    eventually("the session is read again", || history(&app, SESSION).status == 200);
}
