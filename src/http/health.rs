//! `GET /healthz` and `GET /readyz`: for whoever restarts the service, and for whoever sends it traffic.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{HttpRequest, HttpResponse, http::Method, web};
use amoiq_actors::inbox::InboxView;
use amoiq_events::{EventStore, store::StoreHealth};

use crate::api::{
    health::{HealthResponse, HealthStatus, UnavailableResponse},
    online::OnlineDirectory,
};

/// How far a projection may be behind the log while the service counts as ready, in positions: what
/// it folds in within a second.
const READY_LAG_EVENTS: u64 = 50_000;

const PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Whether a request asks for the health of the service.
pub fn is_health_check(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && PATHS.contains(&request.path())
}

/// Whether the service is about to stop: it takes whatever comes, and load balancers should send new clients elsewhere.
#[derive(Debug, Default)]
pub struct DrainState(AtomicBool);

impl DrainState {
    /// From now on the service is not ready.
    pub fn start(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The process answers.
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(HealthResponse { status: HealthStatus::Ok })
}

/// The service stays, the store takes writes and is read, and the projections follow it; otherwise 503 and the reasons.
pub async fn ready(
    drain: web::Data<DrainState>,
    store: web::Data<dyn EventStore>,
    inbox: web::Data<InboxView>,
    online: web::Data<OnlineDirectory>,
) -> HttpResponse {
    if drain.is_draining() {
        return unavailable(HealthStatus::Draining, vec!["the service is about to stop".to_owned()]);
    }
    let mut reasons = Vec::new();
    match store.health() {
        StoreHealth::Writable => {}
        StoreHealth::Failing(reason) => reasons.push(format!("the store does not take writes: {reason}")),
        StoreHealth::Unreadable(reason) => reasons.push(format!("the store is not read: {reason}")),
    }
    if let Some(unreadable) = inbox.unreadable() {
        reasons.push(format!("the read models are not read: {unreadable}"));
    }
    if let Some(failure) = inbox.progress().failure() {
        reasons.push(format!("the inbox does not follow the log: {failure}"));
    }
    if let Some(failure) = online.users.progress().failure() {
        reasons.push(format!("the list of who is online does not follow the log: {failure}"));
    }
    let lag = store.events_after(inbox.progress().position());
    // While there is nothing to serve from, the answers that need it say so; the others do not wait.
    if lag > READY_LAG_EVENTS && !inbox.progress().is_filling() {
        reasons.push(format!("the inbox is {lag} events behind the log"));
    }
    if reasons.is_empty() {
        HttpResponse::Ok().json(HealthResponse { status: HealthStatus::Ready })
    } else {
        unavailable(HealthStatus::Unavailable, reasons)
    }
}

fn unavailable(status: HealthStatus, reasons: Vec<String>) -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(UnavailableResponse { status, reasons })
}
