//! What an erasure asks of the disk.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::disk::FaultyDisk;
use crate::app::{Answer, SECRET, WIDGET, client};

#[test]
fn an_erasure_is_answered_when_the_cut_of_each_write_ahead_log_is_synced() {
    let disk = FaultyDisk::new("sync 5 /nothing");
    let app = disk.starting().app();
    for number in 0..5 {
        app.say(WIDGET, "session-to-be-erased", &format!("she says {number}"));
    }
    assert_eq!(app.messages(SECRET, "sessionId=session-to-be-erased").len(), 5);
    let said = fs::read(disk.data().join("operator.json")).expect("the file is there");
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    let text = |name: &str| said[name].as_str().expect("a text");
    let asking = client().request(Method::POST, format!("{}/operator/erase", text("operator")));
    let order = json!({ "tenant": "demo", "session": "session-to-be-erased" });
    let answer = Answer::of(asking.bearer_auth(text("token")).json(&order));
    let calls = disk.calls();
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    for file in ["log.db-wal", "views.db-wal", "outbox.db-wal"] {
        let last = |call: &str| {
            calls.iter().rposition(|line| line.starts_with(call) && line.ends_with(&format!("/{file}")))
        };
        let cut = last("cut").unwrap_or_else(|| panic!("{file} is not cut: {calls:?}"));
        assert!(last("sync").is_some_and(|synced| synced > cut), "{file}: {calls:?}");
    }
}
