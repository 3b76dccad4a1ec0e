//! Reads that the disk blocks: each ends in time, and what could not be read is not reported as damaged.

use std::thread;

use amoiq_testkit::{ApiResponse, FaultyDisk, SECRET_KEY, TestApp, WIDGET_KEY, eventually};
use serde_json::json;

const SESSION: &str = "session-behind-a-hanging-disk";

fn history(app: &TestApp, session: &str) -> ApiResponse {
    app.get(SECRET_KEY, &format!("/api/chat/messages?sessionId={session}"))
}

#[test]
fn requests_for_a_session_whose_write_hangs_are_answered_in_time() {
    let disk = FaultyDisk::new("sync 0 /log.db-wal");
    let app = disk.starting().start();
    let asking = |session: &str| json!({ "sessionId": session, "text": "hello", "userId": "ann" });
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &asking(SESSION)).status, 200);
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &asking("session-of-nobody-else")).status, 200);
    eventually("the read model follows", || {
        app.get(SECRET_KEY, "/api/chat/messages?userId=ann").body["messages"].as_array().map(Vec::len)
            == Some(2)
    });
    disk.set();
    // The disk answers none of these: it hangs until all of them have their answers.
    thread::scope(|scope| {
        let writing = scope.spawn(|| app.post(WIDGET_KEY, "/webchat/message", &asking(SESSION)));
        disk.wait_until_held();
        let others = [
            scope.spawn(|| history(&app, SESSION)),
            scope.spawn(|| app.get(WIDGET_KEY, &format!("/api/chat/messages?sessionId={SESSION}"))),
            scope.spawn(|| app.get(SECRET_KEY, "/api/chat/messages?userId=ann")),
            scope.spawn(|| {
                app.post(WIDGET_KEY, "/api/chat/anonymous-token", &json!({ "sessionId": SESSION }))
            }),
            scope.spawn(|| app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &json!({}))),
            writing,
        ];
        assert_eq!(history(&app, "session-of-nobody-else").status, 200);
        assert_eq!(app.get(SECRET_KEY, "/api/chat/online-users").status, 200);
        for other in others {
            let answer = other.join().expect("an answer");
            assert_eq!(answer.error(), (503, "STORE_UNAVAILABLE"));
            assert_eq!(answer.header("retry-after"), "1");
        }
    });
    disk.clear();
    eventually("the session is read again", || history(&app, SESSION).status == 200);
}

/// Sessions of the tests with an unreadable disk: more than any cache holds.
const SESSIONS: usize = 300;

fn session(number: usize) -> String {
    format!("session-that-is-not-read-{number:04}")
}

/// A service that has none of these sessions in memory.
fn started_anew(disk: &FaultyDisk) -> TestApp {
    let app = disk.starting().start();
    for number in 0..SESSIONS {
        let body = json!({ "sessionId": session(number), "text": "x".repeat(6_000), "userId": "ann" });
        assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &body).status, 200);
    }
    let mut app = app;
    assert!(app.terminate().0.success());
    drop(app);
    disk.starting().start()
}

#[test]
fn a_log_that_cannot_be_read_is_unavailable_and_not_damaged() {
    let disk = FaultyDisk::new("read 5 /log.db");
    let app = started_anew(&disk);
    disk.set();
    for number in (0..SESSIONS).step_by(30) {
        for answer in [
            history(&app, &session(number)),
            app.post(
                WIDGET_KEY,
                "/webchat/message",
                &json!({ "sessionId": session(number + 1), "text": "y" }),
            ),
        ] {
            assert_eq!(answer.error(), (503, "STORE_UNAVAILABLE"), "{number}");
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    let unready = app.get(SECRET_KEY, "/readyz");
    assert_eq!(unready.status, 503);
    assert!(unready.body["reasons"].to_string().contains("could not be read"), "{:?}", unready.body);
    assert_eq!(app.get(SECRET_KEY, "/healthz").status, 200);

    // An operator's commands report the same meanwhile, and no copy is made.
    let beside = |arguments: &[&str]| {
        let output = disk.command(arguments).output().expect("the program runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            said.contains("could not be read") && said.contains("does not mean damage"),
            "{arguments:?}: {said}"
        );
        output.status.code()
    };
    assert_eq!(beside(&["verify"]), Some(2), "it was not looked at");
    let copied = disk.data().with_file_name("copied");
    assert_eq!(beside(&["backup", copied.to_str().expect("a path")]), Some(1));
    assert!(!copied.exists());

    disk.clear();
    eventually("it is ready again", || app.get(SECRET_KEY, "/readyz").status == 200);
    for number in (0..SESSIONS).step_by(30) {
        assert_eq!(history(&app, &session(number)).body["messages"].as_array().map(Vec::len), Some(1));
    }
    assert!(!app.printed(&["damage in the log"]) && !app.printed(&["rebuilt from the log"]));
    drop(app);
    // A start that cannot read does not advise a restore either.
    disk.set();
    let refused = disk.starting().output();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("does not mean damage"), "{said}");
    disk.clear();
    assert_eq!(disk.command(&["verify"]).status().expect("the program runs").code(), Some(0));
}

#[test]
fn read_models_and_an_outbox_that_cannot_be_read_are_neither_damaged_nor_rebuilt() {
    for file in ["views.db", "outbox.db"] {
        let disk = FaultyDisk::new(&format!("read 5 /{file}"));
        let app = started_anew(&disk);
        eventually("the read model follows", || {
            app.get(SECRET_KEY, "/api/chat/messages?userId=ann").status == 200
        });
        drop(app);
        disk.set();
        let refused = disk.starting().output();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("could not be read"), "{file}: {said}");
        disk.clear();
        let app = disk.starting().start();
        disk.set();
        if file == "views.db" {
            // Whether the query cannot read, or the projector.
            assert_eq!(app.get(SECRET_KEY, "/api/chat/messages?userId=ann").status, 503);
            assert_eq!(app.get(SECRET_KEY, "/readyz").status, 503);
        }
        disk.clear();
        eventually("it is ready again", || app.get(SECRET_KEY, "/readyz").status == 200);
        assert_eq!(app.get(SECRET_KEY, "/api/chat/messages?userId=ann").status, 200);
        assert!(!app.printed(&["built again"]) && !app.printed(&["rebuilt from"]), "{file}");
    }
}
