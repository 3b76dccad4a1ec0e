//! A client that remembers its answers and does not give up.

use std::{cell::RefCell, collections::HashMap};

use amoiq_testkit::{ApiResponse, TestApp, WIDGET_KEY, eventually};
use serde_json::{Value, json};

use crate::durability::history;

/// A client with one session. It sends a message again, with the same id, until it is accepted.
pub struct Client {
    session: &'static str,
    /// The accepted messages with their ids, in order.
    taken: RefCell<Vec<(String, String)>>,
}

impl Client {
    pub fn new(session: &'static str) -> Self {
        Self { session, taken: RefCell::default() }
    }

    /// Sends the next message, or the one that was refused, once.
    pub fn send(&self, app: &TestApp) -> ApiResponse {
        let number = self.taken.borrow().len();
        // Of a length that fills a small disk.
        let text = format!("message-{number}");
        let body = json!({
            "sessionId": self.session,
            "userId": "ann",
            "text": format!("{text} {}", "x".repeat(3_000)),
            "clientMessageId": text,
        });
        let answer = app.post(WIDGET_KEY, "/webchat/message", &body);
        if answer.status == 200 {
            let id = answer.body["messageId"].as_str().expect("an id").to_owned();
            self.taken.borrow_mut().push((text, id));
        }
        answer
    }

    /// Sends messages until this many were accepted.
    pub fn take(&self, app: &TestApp, count: usize) {
        for _ in 0..count {
            eventually("a message is taken", || self.send(app).status == 200);
        }
    }

    /// Checks that everything that was accepted is there once, in order and whole. The message that was refused last may come
    /// after it: its outcome is unknown.
    pub fn check(&self, app: &TestApp) {
        let history = history(app, self.session);
        let taken = self.taken.borrow();
        for (place, message) in history.iter().enumerate() {
            assert_eq!(message["seq"], place + 1);
            let text = message["text"].as_str().expect("a text");
            assert_eq!(text, format!("message-{place} {}", "x".repeat(3_000)), "not whole");
        }
        let ids: HashMap<&str, &Value> =
            history.iter().map(|m| (m["clientMessageId"].as_str().expect("an id"), &m["id"])).collect();
        assert_eq!(ids.len(), history.len(), "a message is there twice");
        for (text, id) in taken.iter() {
            assert_eq!(ids.get(text.as_str()).map(|id| id.as_str()), Some(Some(id.as_str())), "{text}");
        }
        assert!(history.len() <= taken.len() + 1, "more than was sent");
    }
}
