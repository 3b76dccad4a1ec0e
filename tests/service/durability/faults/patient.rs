//! A client that knows what it was told, and does not give up.

use std::{cell::RefCell, collections::HashMap};

use amoiq_testkit::{ApiResponse, TestApp, WIDGET_KEY, eventually};
use serde_json::{Value, json};

use crate::durability::history;

/// A client with one session. A message that was not taken is sent again, with its id, until it is.
pub struct Client {
    session: &'static str,
    /// What was taken, and under which id, in order.
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

    /// Has so many messages taken.
    pub fn take(&self, app: &TestApp, count: usize) {
        for _ in 0..count {
            eventually("a message is taken", || self.send(app).status == 200);
        }
    }

    /// Everything that was taken is there once, in order, whole. Behind it may stand the message that
    /// was refused last: nobody knows of it.
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
