//! The store of an earlier release opens in this one, with its contents.

use std::{collections::BTreeSet, path::Path};

use amoiq_events::event::CATALOGUE;
use amoiq_testkit::{AppLauncher, cli, eventually, store_invariants::inbox_rows};
use rusqlite::Connection;
use serde_json::Value;

use crate::operations::{
    backups::refused,
    stores::released_stores::{FIXTURE_SECRET, configuration, has_settled, unpacked},
};

/// The programs that made the fixtures: the first one that had conversations, and every release.
const RELEASES: [&str; 2] = ["first", "0.1.0"];

/// Types that no fixture has, and why.
const NOT_IN_A_FIXTURE: [(&str, &str); 1] =
    [("session.erased", "no command and no route erased a session when the fixture was made")];

#[test]
fn the_store_of_an_earlier_release_opens_with_its_contents() {
    for release in RELEASES {
        let (data, expected) = unpacked(release);
        has_what_it_had(data.path(), &expected);
    }
}

#[test]
fn a_log_without_checksums_in_its_index_is_migrated() {
    let (data, expected) = unpacked("first");
    let schema = || -> i64 {
        let conn = Connection::open(data.path().join("log.db")).expect("a database");
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number")
    };
    assert_eq!(schema(), 1);
    refused(&cli::run(data.path(), &["events"]), "start the service on it once");
    assert_eq!(schema(), 1, "looking changes nothing");
    has_what_it_had(data.path(), &expected);
    assert_eq!(schema(), 2);
}

#[test]
fn the_fixtures_have_every_type_of_event() {
    let mut types = BTreeSet::new();
    for release in RELEASES {
        let (_data, expected) = unpacked(release);
        let events = expected["events"].as_array().expect("a list");
        types.extend(events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()));
    }
    for kind in CATALOGUE {
        let is_excused = NOT_IN_A_FIXTURE.iter().any(|(name, _)| *name == kind.name);
        assert_ne!(types.contains(kind.name), is_excused, "{}: in a fixture, or excused", kind.name);
    }
}

/// Starts the service on it and reads; then verifies, and rebuilds the inbox.
fn has_what_it_had(data: &Path, expected: &Value) {
    let configuration = configuration();
    let service = AppLauncher::new().data(data).config_file(&configuration).start();
    for (session, messages) in expected["histories"].as_object().expect("histories") {
        let path = format!("/api/chat/messages?limit=500&sessionId={}", session.replace(' ', "%20"));
        let history = service.get(FIXTURE_SECRET, &path).expect_status(200);
        has_all_of(messages, &history["messages"]);
    }
    let listed: Value =
        serde_json::from_str(&cli::stdout_of(data, &["webhook", "list", "--tenant", "acme", "--json"]))
            .expect("JSON");
    let of = |list: &Value, field: &str| -> Vec<Value> {
        let mut webhooks = list.as_array().expect("a list").clone();
        webhooks.sort_by_key(|webhook| webhook["id"].to_string());
        webhooks.iter().map(|webhook| webhook[field].clone()).collect()
    };
    for field in ["id", "url", "description", "ratePerSecond", "createdAt"] {
        assert_eq!(of(&listed["webhooks"], field), of(&expected["webhooks"], field), "{field}");
    }
    // A service that stops earlier would rebuild it after the next start, and there would be nothing to compare with.
    eventually("the inbox is made", || has_settled(data));
    service.stop();
    let (code, result) = cli::verify(data, &[]);
    assert_eq!(code, 0, "{result}");
    let lines = cli::stdout_of(data, &["events", "export"]);
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let known = expected["events"].as_array().expect("a list");
    assert_eq!(&events[..known.len()], &known[..], "what is stored does not change");

    let before = inbox_rows(data).expect("the inbox");
    assert!(before.iter().flatten().count() > 3, "{before:?}");
    cli::stdout_of(data, &["rebuild", "inbox"]);
    assert_eq!(inbox_rows(data).expect("the inbox"), before);
}

/// Everything that was in the answer is still there; a later release may add more.
fn has_all_of(expected: &Value, found: &Value) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                has_all_of(value, found.get(name).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{found:?}");
            expected.iter().zip(found).for_each(|(expected, found)| has_all_of(expected, found));
        }
        (expected, found) => assert_eq!(expected, found),
    }
}
