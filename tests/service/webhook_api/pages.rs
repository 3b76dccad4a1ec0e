//! Deliveries page by page.

use serde_json::{Value, json};

use super::Given;

fn ids(page: &Value) -> Vec<String> {
    let listed = page["deliveries"].as_array().expect("a list");
    listed.iter().map(|one| one["messageId"].as_str().expect("an id").to_owned()).collect()
}

/// Every page of a list, in turn.
fn pages(given: &Given, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = given.get(&format!("/deliveries?{query}&cursor={cursor}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        pages.push(ids(&answer.body));
        assert_eq!(answer.body["hasMore"], answer.body["nextCursor"].is_string(), "{answer:?}");
        match answer.body["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return pages,
        }
    }
}

#[test]
fn pages_show_every_delivery_once_the_newest_first() {
    let given = Given::new();
    let mut said: Vec<_> = (0..5).map(|number| given.say(&format!("number {number}"))).collect();
    said.iter().for_each(|id| drop(given.delivery(id, "delivered")));
    said.reverse();
    assert_eq!(pages(&given, "limit=2"), [&said[..2], &said[2..4], &said[4..]]);
    assert_eq!(pages(&given, "limit=5"), [&said[..]]);
    assert_eq!(pages(&given, "limit=100"), [&said[..]]);
    assert_eq!(pages(&given, ""), [&said[..]]);
}

#[test]
fn a_page_shows_only_what_was_requested() {
    let given = Given::new();
    let good = given.say("taken");
    given.delivery(&good, "delivered");
    given.receiver.answer(500, "");
    let failed = given.say("never taken");
    given.delivery(&failed, "failed");
    given.post("/pause", &json!({}));
    given.post(&format!("/deliveries/{failed}/redeliver"), &json!({}));
    let pending = given.delivery(&failed, "pending");
    assert!(pending["nextAttemptAt"].is_string(), "{pending}");
    for (status, expected) in [("delivered", vec![good]), ("pending", vec![failed]), ("failed", vec![])] {
        assert_eq!(pages(&given, &format!("status={status}")), [expected], "{status}");
    }
}

#[test]
fn an_exhausted_delivery_stays_listed_as_failed_and_can_be_redelivered() {
    let given = Given::new();
    given.receiver.answer(500, "");
    let id = given.say("hello");
    let failed = given.delivery(&id, "failed");
    assert_eq!(failed["nextAttemptAt"], Value::Null);
    assert_eq!(failed["attempts"].as_array().map(Vec::len), Some(12), "as many as the schedule has");
    given.receiver.answer(200, "");
    assert_eq!(given.post(&format!("/deliveries/{id}/redeliver"), &json!({})).status, 202);
    given.delivery(&id, "delivered");
}

#[test]
fn an_invalid_query_names_the_field() {
    let given = Given::new();
    for (query, field) in [
        ("status=lost", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=7", "cursor"),
        ("cursor=d.x", "cursor"),
    ] {
        let answer = given.get(&format!("/deliveries?{query}"));
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{query}: {answer:?}");
        assert!(answer.body["details"]["fields"][field].is_string(), "{query}: {answer:?}");
    }
}
