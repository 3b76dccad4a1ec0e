//! What an erasure needs from the disk.

use amoiq_testkit::{FaultyDisk, OperatorClient, SECRET_KEY, WIDGET_KEY};
use reqwest::Method;
use serde_json::json;

#[test]
fn an_erasure_is_answered_when_each_truncated_write_ahead_log_is_synced() {
    let disk = FaultyDisk::new("sync 5 /nothing");
    let app = disk.starting().start();
    for number in 0..5 {
        app.say(WIDGET_KEY, "session-to-be-erased", &format!("she says {number}"));
    }
    assert_eq!(app.messages(SECRET_KEY, "sessionId=session-to-be-erased").len(), 5);
    let order = json!({ "tenant": "demo", "session": "session-to-be-erased" });
    let answer = OperatorClient::of(&app).send(Method::POST, "/operator/erase", Some(&order));
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
