//! The operator's interface: tenants, keys and webhooks of the running service, over HTTP on an address
//! of its own (`operator.bind`), with a token of its own.
//!
//! Beside it, for Prometheus, `GET /metrics`.
//!
//! Every change is an event that says who made it (`operator:<name>`) and when. The command line is its
//! client: it finds address and token in `operator.json` in the data directory ([`door`]). Pages never
//! come here, so there is no CORS; an error has the same form as everywhere. Where there is a `GET` there is a `HEAD`.
//!
//! | route | file |
//! |---|---|
//! | `GET`, `POST /operator/tenants`, `GET`, `PATCH /operator/tenants/{tenant}` | [`tenants`] |
//! | `GET`, `POST …/keys`, `DELETE …/keys/{key}` | [`keys`] |
//! | `GET /operator/webhooks`, `GET …/webhooks` | [`standings`] |
//! | `POST …/webhooks`, `PATCH`, `DELETE …/webhooks/{webhook}` | [`webhooks`] |
//! | `POST /operator/erase` | [`erase`] |
//! | `GET /metrics` | [`scrape`] |
//! | `POST …/webhooks/{webhook}/pause`, `resume`, `disable`, `rotate-secret` | [`webhooks`] |
//! | `GET`, `POST`, `DELETE /operator/rebuild` | [`rebuild`] |

use actix_web::{HttpResponse, web};

use crate::{api::problem::Problem, http::get_or_head};

pub mod author;
pub mod change;
pub mod desk;
pub mod door;
pub mod erase;
pub mod keys;
pub mod last_backup;
pub mod rebuild;
pub mod refusal;
pub mod scrape;
pub mod server;
pub mod standings;
pub mod tenants;
pub mod token;
pub mod webhooks;

pub use author::Operator;
pub use change::Change;
pub use desk::Desk;
pub use refusal::Refusal;
pub use server::OperatorServer;

/// Where Prometheus scrapes.
const METRICS: &str = "/metrics";

/// Every route there is.
fn configure(routes: &mut web::ServiceConfig) {
    let tenant = web::resource("/operator/tenants/{tenant}")
        .route(get_or_head().to(tenants::show))
        .route(web::patch().to(tenants::update));
    let rebuilds = web::resource("/operator/rebuild")
        .route(get_or_head().to(rebuild::show))
        .route(web::post().to(rebuild::start))
        .route(web::delete().to(rebuild::cancel));
    let webhook = web::resource("/operator/tenants/{tenant}/webhooks/{webhook}")
        .route(web::patch().to(webhooks::update))
        .route(web::delete().to(webhooks::delete));
    routes
        .service(both("/operator/tenants", get_or_head().to(tenants::list), web::post().to(tenants::create)))
        .service(other(tenant, "GET, HEAD, PATCH"))
        .service(other(rebuilds, "GET, HEAD, POST, DELETE"))
        .service(both(
            "/operator/tenants/{tenant}/keys",
            get_or_head().to(keys::list),
            web::post().to(keys::issue),
        ))
        .service(other(
            web::resource("/operator/tenants/{tenant}/keys/{key}").route(web::delete().to(keys::revoke)),
            "DELETE",
        ))
        .service(both(
            "/operator/tenants/{tenant}/webhooks",
            get_or_head().to(standings::list),
            web::post().to(webhooks::register),
        ))
        .service(other(
            web::resource("/operator/webhooks").route(get_or_head().to(standings::list_all)),
            "GET, HEAD",
        ))
        .service(other(webhook, "PATCH, DELETE"))
        .service(other(
            web::resource("/operator/tenants/{tenant}/webhooks/{webhook}/{action}")
                .route(web::post().to(webhooks::act)),
            "POST",
        ))
        .service(other(web::resource("/operator/erase").route(web::post().to(erase::erase)), "POST"))
        .service(other(web::resource(METRICS).route(get_or_head().to(scrape::scrape)), "GET, HEAD"))
        .default_service(web::to(not_found));
}

/// A list, and adding to it.
fn both(path: &'static str, get: actix_web::Route, post: actix_web::Route) -> actix_web::Resource {
    other(web::resource(path).route(get).route(post), "GET, HEAD, POST")
}

/// Tells any other method which ones there are.
fn other(resource: actix_web::Resource, allow: &'static str) -> actix_web::Resource {
    resource.default_service(web::to(move || async move {
        Err::<HttpResponse, _>(Problem::MethodNotAllowed { allow })
    }))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}
