//! A message: whether it is allowed, stored, told to the room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use socketioxide::SocketIo;
use uuid::Uuid;

use crate::store::{MessageStore, NewMessage};

const KEY: &str = "wk_demo_0000000000000000";
const TENANT: &str = "demo";

/// What a client sends. What is not skipped is stored beside the text.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PostedMessage {
    #[serde(skip_serializing)]
    text: String,
    #[serde(skip_serializing)]
    session_id: String,
    #[serde(skip_serializing)]
    client_message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

/// What the client is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedAnswer {
    success: bool,
    message_id: Uuid,
    session_id: String,
}

/// Why a message is refused: the code and the reason.
#[derive(Debug, Clone, Copy)]
pub struct MessageRefusal {
    pub status: u16,
    pub error: &'static str,
    pub message: &'static str,
}

/// What everybody in the room is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedEvent<'a> {
    message_id: Uuid,
    session_id: &'a str,
    text: &'a str,
    sender: &'static str,
    seq: i64,
    timestamp: &'a str,
}

/// The store and the sockets.
#[derive(Clone)]
pub struct ChatServer {
    store: Arc<MessageStore>,
    io: SocketIo,
}

impl ChatServer {
    pub fn new(store: MessageStore, io: SocketIo) -> Self {
        Self { store: Arc::new(store), io }
    }

    /// Stores a message, tells the room, and answers.
    pub async fn post(&self, posted: PostedMessage) -> Result<PostedAnswer, MessageRefusal> {
        let text = posted.text.trim();
        if text.is_empty() || text.chars().count() > 10_000 {
            return Err(refusal("INVALID_TEXT", "text must have 1 to 10,000 characters"));
        }
        if !(16..=256).contains(&posted.session_id.len()) {
            return Err(refusal("INVALID_SESSION_ID", "sessionId must have 16 to 256 characters"));
        }
        let about = serde_json::to_string(&posted).map_err(failure)?;
        let new = NewMessage {
            id: Uuid::now_v7(),
            tenant: TENANT,
            session: posted.session_id.clone(),
            sender: "visitor",
            client_id: posted.client_message_id.clone(),
            text: text.to_owned(),
            about,
        };
        let stored = self.store.store(new).await.map_err(failure)?;
        if let Some((seq, created)) = stored.place {
            let event = CreatedEvent {
                message_id: stored.id,
                session_id: &posted.session_id,
                text,
                sender: "visitor",
                seq,
                timestamp: &created,
            };
            // A socket whose buffer is full misses it.
            if let Err(error) =
                self.io.to(room(&posted.session_id)).emit("meta_message_created", &event).await
            {
                eprintln!("the room was not told: {error}");
            }
        }
        Ok(PostedAnswer { success: true, message_id: stored.id, session_id: posted.session_id })
    }
}

/// Whether a key is known.
pub fn is_known(key: &str) -> bool {
    key == KEY
}

/// The room of a session.
pub fn room(session: &str) -> String {
    format!("{TENANT}:{session}")
}

fn refusal(error: &'static str, message: &'static str) -> MessageRefusal {
    MessageRefusal { status: 400, error, message }
}

fn failure(error: impl std::fmt::Display) -> MessageRefusal {
    eprintln!("not stored: {error}");
    MessageRefusal { status: 500, error: "INTERNAL_ERROR", message: "the message was not stored" }
}
