//! `GET /operator/cluster`: the nodes that write the same log, what each does, and how far this one is behind.

use std::time::Duration;

use actix_web::web;
use amoiq_events::cluster::LeaseError;

use super::{OperatorError, OperatorServices};
use crate::api::{operator::cluster::ClusterResponse, problem::Problem};

/// How long the list waits for the database.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The nodes and their leases.
///
/// # Errors
/// When the database with the leases does not answer in time, or this node is not registered there at the moment.
pub async fn show(
    services: web::Data<OperatorServices>,
) -> Result<web::Json<ClusterResponse>, OperatorError> {
    let listed = tokio::time::timeout(TIMEOUT, services.leases.leases()).await;
    let leases = match listed {
        Ok(listed) => listed.map_err(unavailable)?,
        Err(_elapsed) => return Err(Problem::StoreUnavailable.into()),
    };
    let view = services.leases.view().borrow().clone();
    let lag = services.tenants.store.events_after(services.inbox.progress().position());
    Ok(web::Json(ClusterResponse::new(&view, &leases, lag)))
}

fn unavailable(error: LeaseError) -> Problem {
    tracing::warn!(%error, "the leases of the nodes cannot be listed");
    Problem::StoreUnavailable
}
