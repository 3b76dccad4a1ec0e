//! `POST /api/webhooks/{id}/pause` and `…/resume`. Either loses nothing: the endpoint's place in the log
//! stays. Doing it again changes nothing.

use actix_web::{HttpResponse, web};
use amoiq_events::webhook::WebhookCommand;

use super::{Manager, Registrar, view::EndpointView};
use crate::api::problem::Problem;

/// Stops deliveries to an endpoint for now.
///
/// # Errors
/// See the catalogue.
pub async fn pause(
    manager: Manager,
    id: web::Path<String>,
    registrar: web::Data<Registrar>,
) -> Result<HttpResponse, Problem> {
    switch(&manager, &id, &registrar, WebhookCommand::Pause).await
}

/// Delivers again, to one that was paused or disabled, from where it was.
///
/// # Errors
/// See the catalogue.
pub async fn resume(
    manager: Manager,
    id: web::Path<String>,
    registrar: web::Data<Registrar>,
) -> Result<HttpResponse, Problem> {
    switch(&manager, &id, &registrar, WebhookCommand::Resume).await
}

async fn switch(
    manager: &Manager,
    id: &str,
    registrar: &Registrar,
    command: WebhookCommand,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(id)?;
    let switched = registrar.command(manager, &endpoint.id, command).await?;
    Ok(HttpResponse::Ok().json(EndpointView::of(&switched)))
}
