//! `/operator/tenants/{tenant}/webhooks`: endpoints, as their operator manages them.
//!
//! What an endpoint may be is what it may be by API. Two things differ: `webhooks.endpoints_per_tenant` limits
//! what customers make and not what operators do, and the values of headers are not shown, because they may
//! be the customer's secrets.

pub mod list;

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId, WebhookId,
    tenant::{ManagedBy, TenantCommand, TenantRefusal},
    webhook::{Webhook, WebhookCommand, WebhookRefusal},
};
use serde_json::{Value, json};

use super::{ChangeRequest, OperatorError, OperatorIdentity, OperatorServices, services, tenants::named};
use crate::{api::problem::Problem, http::webhooks::fields};

const NOT_FOUND: OperatorError = OperatorError::Tenant(TenantRefusal::Webhook(WebhookRefusal::NotFound));

/// `POST …/webhooks`: `url`, and what else there is to set. The answer is the only place where the
/// secret is.
///
/// # Errors
/// When there is no such tenant, or a field is wrong.
pub async fn register(
    ChangeRequest { operator, mut body }: ChangeRequest,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let tenant = services::tenant_id(&path)?;
    let settings = fields::settings(&mut body, &services.registrar.destinations)?;
    let (id, secret) = (services.registrar.new_id()?, services.registrar.new_secret());
    let command = WebhookCommand::Register { settings, secret, source: ManagedBy::Operator };
    let made = carry_out(&services, &tenant, &id, command, operator).await?;
    Ok(HttpResponse::Created().json(with_secret(view(&tenant, &id, &made), &made)))
}

/// `PATCH …/webhooks/{webhook}`: what is absent stays, `null` gives back what need not be there.
///
/// # Errors
/// When there is none, it comes from the configuration, or a field is wrong.
pub async fn update(
    ChangeRequest { operator, mut body }: ChangeRequest,
    path: web::Path<(String, String)>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    let command = WebhookCommand::Change(fields::change(&mut body, &services.registrar.destinations)?);
    let changed = carry_out(&services, &tenant, &id, command, operator).await?;
    Ok(HttpResponse::Ok().json(view(&tenant, &id, &changed)))
}

/// `DELETE …/webhooks/{webhook}`: for good.
///
/// # Errors
/// When there is none, or it comes from the configuration.
pub async fn delete(
    operator: OperatorIdentity,
    path: web::Path<(String, String)>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    services.execute(&tenant, TenantCommand::Webhook(id.clone(), WebhookCommand::Delete), operator).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "deleted": true })))
}

/// `POST …/webhooks/{webhook}/{action}`: `pause`, `resume`, `disable` with a `reason`, `rotate-secret`, with
/// `expirePrevious` when the secret leaked.
///
/// # Errors
/// When there is no such webhook or action.
pub async fn act(
    ChangeRequest { operator, mut body }: ChangeRequest,
    path: web::Path<(String, String, String)>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    let command = match path.2.as_str() {
        "pause" => WebhookCommand::Pause,
        "resume" => WebhookCommand::Resume,
        "disable" => {
            let reason = fields::note(&mut body, "reason");
            WebhookCommand::Disable { reason: reason.unwrap_or_else(|| "an operator disabled it".to_owned()) }
        }
        "rotate-secret" => services.registrar.rotation(body.flag("expirePrevious")),
        _ => return Err(Problem::NotFound.into()),
    };
    body.finish()?;
    let is_rotation = matches!(command, WebhookCommand::RotateSecret { .. });
    let now = carry_out(&services, &tenant, &id, command, operator).await?;
    let view = view(&tenant, &id, &now);
    Ok(HttpResponse::Ok().json(if is_rotation {
        let until = now.previous.as_ref().map(|(_, until)| until);
        with(with_secret(view, &now), "previousSecretValidUntil", json!(until))
    } else {
        view
    }))
}

/// An endpoint as operators are shown it.
fn view(tenant: &TenantId, id: &WebhookId, webhook: &Webhook) -> Value {
    let settings = &webhook.settings;
    json!({
        "tenant": tenant,
        "id": id,
        "url": settings.url,
        "events": settings.events,
        "description": settings.description,
        "headers": settings.headers.keys().collect::<Vec<_>>(),
        "ratePerSecond": settings.rate_per_second,
        "status": webhook.status.as_str(),
        "disabledReason": webhook.status.reason(),
        "source": webhook.source,
        "createdAt": webhook.registered.time,
    })
}

/// In the two answers that tell it.
fn with_secret(view: Value, webhook: &Webhook) -> Value {
    with(view, "secret", json!(webhook.secret.expose()))
}

/// The same with one field more.
fn with(mut view: Value, name: &str, value: Value) -> Value {
    if let Some(fields) = view.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    view
}

fn ids(tenant: &str, webhook: &str) -> Result<(TenantId, WebhookId), Problem> {
    Ok((services::tenant_id(tenant)?, named("webhook", WebhookId::parse(webhook))?))
}

/// Does something to an endpoint and gives it as it is then.
async fn carry_out(
    services: &OperatorServices,
    tenant: &TenantId,
    id: &WebhookId,
    command: WebhookCommand,
    operator: OperatorIdentity,
) -> Result<Webhook, OperatorError> {
    services.execute(tenant, TenantCommand::Webhook(id.clone(), command), operator).await?;
    let now = services.tenant(tenant)?;
    now.webhook(id).cloned().ok_or(NOT_FOUND)
}
