//! `/operator/tenants/{tenant}/webhooks`: webhooks, as the operator manages them.
//!
//! The rules are those of the management API, with two differences: `webhooks.endpoints_per_tenant` limits what customers
//! create, not what operators create, and the values of headers are not shown, because they may be the customer's secrets.

pub mod list;

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId, WebhookId,
    tenant::{ManagedBy, TenantCommand, TenantRefusal},
    webhook::{Webhook, WebhookCommand, WebhookRefusal},
};

use super::{ChangeRequest, OperatorError, OperatorIdentity, OperatorServices, services};
use crate::api::{
    problem::Problem,
    webhooks::{
        DisableWebhookRequest, OperatorWebhookResponse, WebhookDeletedResponse, WithSecret,
        settings::{RotateSecretRequest, WebhookSettingsRequest},
    },
};

const NOT_FOUND: OperatorError = OperatorError::Tenant(TenantRefusal::Webhook(WebhookRefusal::NotFound));

/// The tenant and the id of a webhook in a path.
type WebhookPath = web::Path<(String, String)>;

/// `POST …/webhooks`: creates a webhook. The response contains the secret.
///
/// # Errors
/// When the tenant does not exist, or a field is invalid.
pub async fn register(
    ChangeRequest { operator, body }: ChangeRequest<WebhookSettingsRequest>,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let tenant = services::tenant_id(&path)?;
    let settings = body.settings(&services.registrar.destinations)?;
    let (id, secret) = (services.registrar.new_id()?, services.registrar.new_secret());
    let command = WebhookCommand::Register { settings, secret, source: ManagedBy::Operator };
    let created = execute(&services, (&tenant, &id), command, operator).await?;
    let shown = OperatorWebhookResponse::new(&tenant, &id, &created);
    Ok(HttpResponse::Created().json(WithSecret::created(shown, &created)))
}

/// `PATCH …/webhooks/{webhook}`: an absent field keeps its value, `null` removes it.
///
/// # Errors
/// When the webhook does not exist or comes from the configuration, or a field is invalid.
pub async fn update(
    ChangeRequest { operator, body }: ChangeRequest<WebhookSettingsRequest>,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<OperatorWebhookResponse>, OperatorError> {
    let command = WebhookCommand::Change(body.change(&services.registrar.destinations)?);
    change(&services, &path, command, operator).await
}

/// `DELETE …/webhooks/{webhook}`: deletes a webhook permanently.
///
/// # Errors
/// When the webhook does not exist, or comes from the configuration.
pub async fn delete(
    operator: OperatorIdentity,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<WebhookDeletedResponse>, OperatorError> {
    let (tenant, id) = ids(&path)?;
    services.execute(&tenant, TenantCommand::Webhook(id.clone(), WebhookCommand::Delete), operator).await?;
    Ok(web::Json(WebhookDeletedResponse { id, deleted: true }))
}

/// `POST …/webhooks/{webhook}/pause`
///
/// # Errors
/// When the webhook does not exist.
pub async fn pause(
    operator: OperatorIdentity,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<OperatorWebhookResponse>, OperatorError> {
    change(&services, &path, WebhookCommand::Pause, operator).await
}

/// `POST …/webhooks/{webhook}/resume`
///
/// # Errors
/// When the webhook does not exist.
pub async fn resume(
    operator: OperatorIdentity,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<OperatorWebhookResponse>, OperatorError> {
    change(&services, &path, WebhookCommand::Resume, operator).await
}

/// `POST …/webhooks/{webhook}/disable`
///
/// # Errors
/// When the webhook does not exist, or the reason is too long.
pub async fn disable(
    ChangeRequest { operator, body }: ChangeRequest<DisableWebhookRequest>,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<OperatorWebhookResponse>, OperatorError> {
    change(&services, &path, WebhookCommand::Disable { reason: body.reason()? }, operator).await
}

/// `POST …/webhooks/{webhook}/rotate-secret`: replaces the secret. The response contains the new one.
///
/// # Errors
/// When the webhook does not exist.
pub async fn rotate_secret(
    ChangeRequest { operator, body }: ChangeRequest<RotateSecretRequest>,
    path: WebhookPath,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<WithSecret<OperatorWebhookResponse>>, OperatorError> {
    let (tenant, id) = ids(&path)?;
    let is_leaked = body.expire_previous.value("expirePrevious")?.unwrap_or_default();
    let rotated =
        execute(&services, (&tenant, &id), services.registrar.rotation(is_leaked), operator).await?;
    let shown = OperatorWebhookResponse::new(&tenant, &id, &rotated);
    Ok(web::Json(WithSecret::rotated(shown, &rotated)))
}

fn ids(path: &WebhookPath) -> Result<(TenantId, WebhookId), Problem> {
    let (tenant, webhook) = &**path;
    Ok((services::tenant_id(tenant)?, services::path_id("webhook", WebhookId::parse(webhook))?))
}

/// Changes a webhook and shows it.
async fn change(
    services: &OperatorServices,
    path: &WebhookPath,
    command: WebhookCommand,
    operator: OperatorIdentity,
) -> Result<web::Json<OperatorWebhookResponse>, OperatorError> {
    let (tenant, id) = ids(path)?;
    let changed = execute(services, (&tenant, &id), command, operator).await?;
    Ok(web::Json(OperatorWebhookResponse::new(&tenant, &id, &changed)))
}

/// Executes a command on a webhook of a tenant and returns the webhook as it is afterwards.
async fn execute(
    services: &OperatorServices,
    (tenant, id): (&TenantId, &WebhookId),
    command: WebhookCommand,
    operator: OperatorIdentity,
) -> Result<Webhook, OperatorError> {
    services.execute(tenant, TenantCommand::Webhook(id.clone(), command), operator).await?;
    services.tenant(tenant)?.webhook(id).cloned().ok_or(NOT_FOUND)
}
