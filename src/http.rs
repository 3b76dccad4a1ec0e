//! The public API over HTTP. A handler parses, asks an actor and maps the answer; there is one file for each resource,
//! and `routes` is the table of them all. Every `GET` route also answers `HEAD`.
//!
//! | route | file |
//! |---|---|
//! | `POST /webchat/message` | [`messages`] |
//! | `GET /api/chat/messages`, `GET /webchat/messages` | [`history`] |
//! | `POST /webchat/session`, `/webchat/open`, `/webchat/init` | [`sessions::widget`] |
//! | `POST /api/chat/anonymous-token`, `POST /api/chat/token` | [`tokens`] |
//! | `GET /api/chat/online-users` | [`online_users`] |
//! | `POST /api/chat/sessions/{sessionId}/close` | [`sessions`] |
//! | `/api/webhooks`, and everything below it | [`webhooks`] |
//! | `GET /healthz`, `GET /readyz` | [`health`] |
//! | `GET /openapi.json` | `routes` |

pub mod authenticated;
pub mod body;
pub mod endpoint;
pub mod health;
pub mod history;
pub mod messages;
pub mod middleware;
pub mod online_users;
mod routes;
pub mod sessions;
pub mod tokens;
pub mod webhooks;

pub use routes::{configure, openapi};
