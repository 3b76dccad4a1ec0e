//! The routes. A handler parses, asks an actor and maps the answer; there is one file a resource.
//!
//! | route | file |
//! |---|---|
//! | `POST /webchat/message` | [`send`] |
//! | `GET /api/chat/messages` | [`history`] |
//! | `POST /api/chat/anonymous-token`, `POST /api/chat/token` | [`tokens`] |
//! | `GET /api/chat/online-users` | [`online_users`] |
//! | `POST /api/chat/sessions/{sessionId}/close` | [`sessions`] |
//! | `GET /healthz`, `GET /readyz` | [`health`] |

use actix_web::{HttpResponse, Route, guard, web};

use crate::problem::Problem;

pub mod access;
pub mod body;
pub mod context;
pub mod cors;
pub mod fields;
pub mod health;
pub mod history;
pub mod limits;
pub mod online_users;
pub mod send;
pub mod sessions;
pub mod tokens;
pub mod trace;
pub mod traceparent;
pub mod user_history;

pub use context::Context;

/// Every route there is.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("/webchat/message", "POST", web::post().to(send::send)))
        .service(resource("/api/chat/messages", "GET", web::get().to(history::read)))
        .service(resource("/api/chat/anonymous-token", "POST", web::post().to(tokens::anonymous)))
        .service(resource("/api/chat/token", "POST", web::post().to(tokens::mint)))
        .service(resource("/api/chat/online-users", "GET", web::get().to(online_users::list)))
        .service(resource("/api/chat/sessions/{session}/close", "POST", web::post().to(sessions::close)))
        .service(resource("/healthz", "GET, HEAD", get_or_head().to(health::alive)))
        .service(resource("/readyz", "GET, HEAD", get_or_head().to(health::ready)))
        .default_service(web::to(not_found));
}

/// A path with one method; any other is told which one.
fn resource(path: &'static str, allow: &'static str, route: Route) -> actix_web::Resource {
    let other = move || async move { Err::<HttpResponse, _>(Problem::MethodNotAllowed { allow }) };
    web::resource(path).route(route).default_service(web::to(other))
}

fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}
