//! The operator interface: tenants, keys and webhooks of the running service, over HTTP on its own address
//! (`operator.bind`) with its own token. It also serves `GET /metrics` for Prometheus.
//!
//! Every change is an event that records who made it (`operator:<name>`) and when. The command line is a client of this
//! interface: it reads the address and the token from `operator.json` in the data directory ([`connection_file`]).
//! Browsers do not call it, so there is no CORS. Errors have the same form as those of the public API. Every `GET` route
//! also answers `HEAD`.
//!
//! | route | file |
//! |---|---|
//! | `GET`, `POST /operator/tenants`, `GET`, `PATCH /operator/tenants/{tenant}` | [`tenants`] |
//! | `GET`, `POST …/keys`, `DELETE …/keys/{key}` | [`keys`] |
//! | `GET /operator/webhooks`, `GET …/webhooks` | [`webhooks::list`] |
//! | `POST …/webhooks`, `PATCH`, `DELETE …/webhooks/{webhook}` | [`webhooks`] |
//! | `POST /operator/erase` | [`erasure`] |
//! | `GET /metrics` | [`scrape`] |
//! | `POST …/webhooks/{webhook}/pause`, `resume`, `disable`, `rotate-secret` | [`webhooks`] |
//! | `GET`, `POST`, `DELETE /operator/rebuild` | [`rebuilds`] |

use actix_web::{HttpResponse, web};

use crate::{api::problem::Problem, http::get_or_head};

pub mod connection_file;
pub mod erasure;
pub mod error;
pub mod keys;
pub mod rebuilds;
pub mod request;
pub mod scrape;
pub mod server;
pub mod services;
pub mod tenants;
pub mod token;
pub mod webhooks;

pub use error::OperatorError;
pub use request::{ChangeRequest, OperatorIdentity};
pub use server::OperatorServer;
pub use services::OperatorServices;

/// Where Prometheus scrapes.
const METRICS: &str = "/metrics";

/// Registers every route.
fn configure(routes: &mut web::ServiceConfig) {
    let tenant = web::resource("/operator/tenants/{tenant}")
        .route(get_or_head().to(tenants::show))
        .route(web::patch().to(tenants::update));
    let rebuilds = web::resource("/operator/rebuild")
        .route(get_or_head().to(rebuilds::show))
        .route(web::post().to(rebuilds::start))
        .route(web::delete().to(rebuilds::cancel));
    let webhook = web::resource("/operator/tenants/{tenant}/webhooks/{webhook}")
        .route(web::patch().to(webhooks::update))
        .route(web::delete().to(webhooks::delete));
    routes
        .service(list_and_create(
            "/operator/tenants",
            get_or_head().to(tenants::list),
            web::post().to(tenants::create),
        ))
        .service(with_allow(tenant, "GET, HEAD, PATCH"))
        .service(with_allow(rebuilds, "GET, HEAD, POST, DELETE"))
        .service(list_and_create(
            "/operator/tenants/{tenant}/keys",
            get_or_head().to(keys::list),
            web::post().to(keys::issue),
        ))
        .service(with_allow(
            web::resource("/operator/tenants/{tenant}/keys/{key}").route(web::delete().to(keys::revoke)),
            "DELETE",
        ))
        .service(list_and_create(
            "/operator/tenants/{tenant}/webhooks",
            get_or_head().to(webhooks::list::of_tenant),
            web::post().to(webhooks::register),
        ))
        .service(with_allow(
            web::resource("/operator/webhooks").route(get_or_head().to(webhooks::list::all)),
            "GET, HEAD",
        ))
        .service(with_allow(webhook, "PATCH, DELETE"))
        .service(webhook_action("pause", web::post().to(webhooks::pause)))
        .service(webhook_action("resume", web::post().to(webhooks::resume)))
        .service(webhook_action("disable", web::post().to(webhooks::disable)))
        .service(webhook_action("rotate-secret", web::post().to(webhooks::rotate_secret)))
        .service(with_allow(web::resource("/operator/erase").route(web::post().to(erasure::erase)), "POST"))
        .service(with_allow(web::resource(METRICS).route(get_or_head().to(scrape::scrape)), "GET, HEAD"))
        .default_service(web::to(not_found));
}

/// A resource with a list and a way to add to it.
fn list_and_create(path: &'static str, get: actix_web::Route, post: actix_web::Route) -> actix_web::Resource {
    with_allow(web::resource(path).route(get).route(post), "GET, HEAD, POST")
}

/// Something that is done to a webhook.
fn webhook_action(action: &str, post: actix_web::Route) -> actix_web::Resource {
    let path = format!("/operator/tenants/{{tenant}}/webhooks/{{webhook}}/{action}");
    with_allow(web::resource(path).route(post), "POST")
}

/// Answers every other method with the methods that the resource has.
fn with_allow(resource: actix_web::Resource, allow: &'static str) -> actix_web::Resource {
    resource.default_service(web::to(move || async move {
        Err::<HttpResponse, _>(Problem::MethodNotAllowed { allow: allow.into() })
    }))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}
