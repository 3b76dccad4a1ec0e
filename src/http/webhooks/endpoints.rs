//! Webhooks themselves: `GET` and `POST /api/webhooks`; `GET`, `PATCH` and `DELETE /api/webhooks/{id}`; and
//! `POST …/pause`, `…/resume` and `…/rotate-secret`.

use actix_web::{HttpResponse, http::header, web};
use amoiq_actors::webhooks::WebhooksHandle;
use amoiq_events::{EventLog, webhook::WebhookCommand};

use super::{WebhookAdmin, WebhookRegistrar, registrar::check_changeable};
use crate::api::{
    problem::{Problem, in_time},
    webhooks::{
        WebhookResponse, WebhookStatusResponse, WebhookWithStatusResponse, WebhooksResponse, WithSecret,
        settings::{RotateSecretRequest, WebhookSettingsRequest},
    },
};

/// Lists the tenant's webhooks, the oldest first.
///
/// # Errors
/// See the catalogue.
pub async fn list(admin: WebhookAdmin) -> Result<HttpResponse, Problem> {
    let mut known: Vec<_> = admin.0.principal.tenant.webhooks().collect();
    known.sort_by_key(|(_, webhook)| webhook.registered.position);
    let webhooks = known.into_iter().map(|(id, webhook)| WebhookResponse::new(id, webhook)).collect();
    Ok(HttpResponse::Ok().json(WebhooksResponse { webhooks }))
}

/// Creates a webhook and tells its secret, once. It receives the messages that are sent from now on.
///
/// # Errors
/// See the catalogue.
pub async fn create(
    mut admin: WebhookAdmin<WebhookSettingsRequest>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    let settings = admin.take_body().settings(&registrar.destinations)?;
    let endpoint = registrar.register(&admin, settings).await?;
    let location = format!("/api/webhooks/{}", endpoint.id);
    let response = WithSecret::created(WebhookResponse::from(&endpoint), &endpoint.webhook);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(response))
}

/// Shows a webhook, and how its deliveries are getting on.
///
/// # Errors
/// See the catalogue.
pub async fn read(
    admin: WebhookAdmin,
    id: web::Path<String>,
    webhooks: web::Data<WebhooksHandle>,
    store: web::Data<dyn EventLog>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    let standing = in_time(webhooks.status(&endpoint.tenant, &endpoint.id)).await?;
    Ok(HttpResponse::Ok().json(WebhookWithStatusResponse {
        webhook: WebhookResponse::from(&endpoint),
        standing: WebhookStatusResponse::of(&standing, &**store),
    }))
}

/// Changes the settings that the body names. Attempts from now on follow the new settings.
///
/// # Errors
/// See the catalogue.
pub async fn change(
    mut admin: WebhookAdmin<WebhookSettingsRequest>,
    id: web::Path<String>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    check_changeable(&endpoint)?;
    let change = admin.take_body().change(&registrar.destinations)?;
    let changed = registrar.command(&admin, &endpoint.id, WebhookCommand::Change(change)).await?;
    Ok(HttpResponse::Ok().json(WebhookResponse::from(&changed)))
}

/// Deletes a webhook. Deliveries that wait for it are dropped.
///
/// # Errors
/// See the catalogue.
pub async fn delete(
    admin: WebhookAdmin,
    id: web::Path<String>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    check_changeable(&endpoint)?;
    registrar.delete(&admin, &endpoint.id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Pauses deliveries. None is lost: the webhook keeps its position in the log. Repeating it changes nothing.
///
/// # Errors
/// See the catalogue.
pub async fn pause(
    admin: WebhookAdmin,
    id: web::Path<String>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    switch(&admin, &id, &registrar, WebhookCommand::Pause).await
}

/// Resumes deliveries to a webhook that was paused or disabled, from the position where it stopped.
///
/// # Errors
/// See the catalogue.
pub async fn resume(
    admin: WebhookAdmin,
    id: web::Path<String>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    switch(&admin, &id, &registrar, WebhookCommand::Resume).await
}

async fn switch(
    admin: &WebhookAdmin,
    id: &str,
    registrar: &WebhookRegistrar,
    command: WebhookCommand,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(id)?;
    let switched = registrar.command(admin, &endpoint.id, command).await?;
    Ok(HttpResponse::Ok().json(WebhookResponse::from(&switched)))
}

/// Replaces a webhook's secret and tells the new one, once. The one before signs as well for a while, unless it leaked
/// (`expirePrevious`); the one before that signs nothing any more.
///
/// # Errors
/// See the catalogue.
pub async fn rotate_secret(
    mut admin: WebhookAdmin<RotateSecretRequest>,
    id: web::Path<String>,
    registrar: web::Data<WebhookRegistrar>,
) -> Result<HttpResponse, Problem> {
    let endpoint = admin.endpoint(&id)?;
    check_changeable(&endpoint)?;
    let is_leaked = admin.take_body().expire_previous.value("expirePrevious")?.unwrap_or_default();
    let rotated = registrar.command(&admin, &endpoint.id, registrar.rotation(is_leaked)).await?;
    let response = WithSecret::rotated(WebhookResponse::from(&rotated), &rotated.webhook);
    Ok(HttpResponse::Ok().json(response))
}
