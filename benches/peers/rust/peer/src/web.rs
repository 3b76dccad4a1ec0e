//! Messages over HTTP.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;

use crate::message::{ChatServer, MessageRefusal, PostedAnswer, PostedMessage, is_known};

const BODY_BYTES: usize = 128 * 1_024;

/// The routes.
pub fn router(chat: ChatServer) -> Router {
    Router::new()
        .route("/webchat/message", post(post_message))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(chat)
}

async fn post_message(
    State(chat): State<ChatServer>,
    headers: HeaderMap,
    Json(posted): Json<PostedMessage>,
) -> Result<Json<PostedAnswer>, MessageRefusal> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !authorization.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(is_known) {
        return Err(MessageRefusal { status: 401, error: "INVALID_KEY", message: "the key is not known" });
    }
    chat.post(posted).await.map(Json)
}

impl IntoResponse for MessageRefusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "success": false, "error": self.error, "message": self.message })))
            .into_response()
    }
}
