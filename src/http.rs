//! The routes. A handler parses, asks an actor and maps the answer; there is one file a resource. Where there is a
//! `GET` there is a `HEAD`.
//!
//! | route | file |
//! |---|---|
//! | `POST /webchat/message` | [`messages`] |
//! | `GET /api/chat/messages` | [`history`] |
//! | `POST /api/chat/anonymous-token`, `POST /api/chat/token` | [`tokens`] |
//! | `GET /api/chat/online-users` | [`online_users`] |
//! | `POST /api/chat/sessions/{sessionId}/close` | [`sessions`] |
//! | `/api/webhooks`, and everything below it | [`webhooks`] |
//! | `GET /healthz`, `GET /readyz` | [`health`] |

use actix_web::{HttpResponse, Route, guard, web};

use crate::api::problem::Problem;

pub mod authenticated;
pub mod body;
pub mod health;
pub mod history;
pub mod messages;
pub mod middleware;
pub mod online_users;
pub mod sessions;
pub mod tokens;
pub mod webhooks;

/// Every route there is.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("/webchat/message", "POST", [web::post().to(messages::send)]))
        .service(resource("/api/chat/messages", "GET, HEAD", [get_or_head().to(history::read)]))
        .service(resource("/api/chat/anonymous-token", "POST", [web::post().to(tokens::anonymous)]))
        .service(resource("/api/chat/token", "POST", [web::post().to(tokens::mint)]))
        .service(resource("/api/chat/online-users", "GET, HEAD", [get_or_head().to(online_users::list)]))
        .service(resource("/api/chat/sessions/{session}/close", "POST", [web::post().to(sessions::close)]))
        .configure(webhook_routes)
        .service(resource("/healthz", "GET, HEAD", [get_or_head().to(health::alive)]))
        .service(resource("/readyz", "GET, HEAD", [get_or_head().to(health::ready)]))
        .default_service(web::to(not_found));
}

fn webhook_routes(routes: &mut web::ServiceConfig) {
    use webhooks::{deliveries, endpoints, replay, test};
    let all = [get_or_head().to(endpoints::list), web::post().to(endpoints::create)];
    let one = [
        get_or_head().to(endpoints::read),
        web::patch().to(endpoints::change),
        web::delete().to(endpoints::delete),
    ];
    let replays =
        [get_or_head().to(replay::progress), web::post().to(replay::start), web::delete().to(replay::cancel)];
    let redeliver = "/api/webhooks/{webhook}/deliveries/{message}/redeliver";
    let skip_one = "/api/webhooks/{webhook}/deliveries/{message}/skip";
    let skip_many = "/api/webhooks/{webhook}/deliveries/skip";
    routes
        .service(resource("/api/webhooks", "GET, HEAD, POST", all))
        .service(resource("/api/webhooks/{webhook}", "GET, HEAD, PATCH, DELETE", one))
        .service(resource("/api/webhooks/{webhook}/pause", "POST", [web::post().to(endpoints::pause)]))
        .service(resource("/api/webhooks/{webhook}/resume", "POST", [web::post().to(endpoints::resume)]))
        .service(resource("/api/webhooks/{webhook}/test", "POST", [web::post().to(test::test)]))
        .service(resource(
            "/api/webhooks/{webhook}/rotate-secret",
            "POST",
            [web::post().to(endpoints::rotate_secret)],
        ))
        .service(resource(
            "/api/webhooks/{webhook}/deliveries",
            "GET, HEAD",
            [get_or_head().to(deliveries::list)],
        ))
        .service(resource(redeliver, "POST", [web::post().to(deliveries::redeliver)]))
        .service(resource(skip_one, "POST", [web::post().to(deliveries::skip)]))
        .service(resource(skip_many, "POST", [web::post().to(deliveries::skip_many)]))
        .service(resource("/api/webhooks/{webhook}/replay", "GET, HEAD, POST, DELETE", replays));
}

/// A path with its methods; any other is told which they are.
fn resource<const N: usize>(
    path: &'static str,
    allow: &'static str,
    routes: [Route; N],
) -> actix_web::Resource {
    let other = move || async move { Err::<HttpResponse, _>(Problem::MethodNotAllowed { allow }) };
    let resource = web::resource(path).default_service(web::to(other));
    routes.into_iter().fold(resource, actix_web::Resource::route)
}

/// `HEAD` is `GET` whose body is left out, which the server does.
pub fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}
