//! `GET` and `POST /api/webhooks`, `PATCH` and `DELETE /api/webhooks/{id}`.

use actix_web::{HttpResponse, http::header, web};
use amoiq_events::webhook::WebhookCommand;
use serde::Serialize;

use super::{
    Manager, Registrar, fields,
    registrar::check_changeable,
    view::{EndpointView, SecretView},
};
use crate::api::problem::Problem;

#[derive(Serialize)]
struct List<'a> {
    webhooks: Vec<EndpointView<'a>>,
}

/// Lists the tenant's endpoints, the oldest first.
///
/// # Errors
/// See the catalogue.
pub async fn list(manager: Manager) -> Result<HttpResponse, Problem> {
    let mut known: Vec<_> = manager.principal.tenant.webhooks().collect();
    known.sort_by_key(|(_, webhook)| webhook.registered.position);
    let webhooks = known.into_iter().map(|(id, webhook)| EndpointView::new(id, webhook)).collect();
    Ok(HttpResponse::Ok().json(List { webhooks }))
}

/// Makes an endpoint and tells its secret, once. What is said from now on is for it.
///
/// # Errors
/// See the catalogue.
pub async fn create(mut manager: Manager, registrar: web::Data<Registrar>) -> Result<HttpResponse, Problem> {
    let settings = fields::settings(&mut manager.body, &registrar.destinations)?;
    let endpoint = registrar.register(&manager, settings).await?;
    let location = format!("/api/webhooks/{}", endpoint.id);
    let mut answer = HttpResponse::Created();
    Ok(answer.insert_header((header::LOCATION, location)).json(SecretView::of_new(&endpoint)))
}

/// Changes what the body names. Attempts from now on are made as it says then.
///
/// # Errors
/// See the catalogue.
pub async fn change(
    mut manager: Manager,
    id: web::Path<String>,
    registrar: web::Data<Registrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    check_changeable(&endpoint)?;
    let change = fields::change(&mut manager.body, &registrar.destinations)?;
    let changed = registrar.command(&manager, &endpoint.id, WebhookCommand::Change(change)).await?;
    Ok(HttpResponse::Ok().json(EndpointView::of(&changed)))
}

/// Ends an endpoint. What waits for it is forgotten.
///
/// # Errors
/// See the catalogue.
pub async fn delete(
    manager: Manager,
    id: web::Path<String>,
    registrar: web::Data<Registrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = manager.endpoint(&id)?;
    check_changeable(&endpoint)?;
    registrar.delete(&manager, &endpoint.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
