//! Sockets: they join a session's room, and send messages.

use serde::Deserialize;
use serde_json::json;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
};

use crate::message::{ChatServer, PostedMessage, is_known, room};

/// What a client connects with.
#[derive(Deserialize)]
struct ConnectKey {
    token: String,
}

/// The session that a client joins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JoinedSession {
    session_id: String,
}

/// Serves the default namespace.
pub fn serve(io: &SocketIo, chat: &ChatServer) {
    let chat = chat.clone();
    // The library runs what follows CONNECT beside the first events. What precedes CONNECT is over before them, so nobody's
    // first event is lost.
    let admit = async move |socket: SocketRef, Data(key): Data<ConnectKey>| {
        if !is_known(&key.token) {
            return Err("INVALID_KEY");
        }
        socket.on("join:session", join);
        socket.on("message", async move |Data(posted): Data<PostedMessage>, ack: AckSender| {
            drop(match chat.post(posted).await {
                Ok(answer) => ack.send(&answer),
                Err(refusal) => ack.send(&json!({ "success": false, "error": refusal.error })),
            });
        });
        Ok(())
    };
    io.ns("/", (async || {}).with(admit));
}

async fn join(socket: SocketRef, Data(joined): Data<JoinedSession>, ack: AckSender) {
    socket.join(room(&joined.session_id));
    drop(ack.send(&json!({ "success": true, "sessionId": joined.session_id })));
}
