//! `/operator/tenants/{tenant}/webhooks`: endpoints, as their operator manages them.
//!
//! What an endpoint may be is what it may be by API. Two things differ: `webhooks.endpoints_per_tenant` limits
//! what customers make and not what operators do, and the values of headers are not shown, because they may
//! be the customer's secrets.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId, WebhookId,
    tenant::{ManagedBy, TenantCommand, TenantRefusal},
    webhook::{Webhook, WebhookCommand, WebhookRefusal},
};
use serde_json::{Value, json};

use super::{Change, Desk, Operator, Refusal, desk, tenants::named};
use crate::{api::problem::Problem, http::webhooks::fields};

const NOT_FOUND: Refusal = Refusal::Tenant(TenantRefusal::Webhook(WebhookRefusal::NotFound));

/// `POST …/webhooks`: `url`, and what else there is to set. The answer is the only place where the
/// secret is.
///
/// # Errors
/// When there is no such tenant, or a field is wrong.
pub async fn register(
    Change { operator, mut body }: Change,
    path: web::Path<String>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let tenant = desk::tenant_id(&path)?;
    let settings = fields::settings(&mut body, &desk.registrar.destinations)?;
    let (id, secret) = (desk.registrar.new_id()?, desk.registrar.new_secret());
    let command = WebhookCommand::Register { settings, secret, source: ManagedBy::Operator };
    let made = carry_out(&desk, &tenant, &id, command, operator).await?;
    Ok(HttpResponse::Created().json(with_secret(view(&tenant, &id, &made), &made)))
}

/// `PATCH …/webhooks/{webhook}`: what is absent stays, `null` gives back what need not be there.
///
/// # Errors
/// When there is none, it comes from the configuration, or a field is wrong.
pub async fn update(
    Change { operator, mut body }: Change,
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    let command = WebhookCommand::Change(fields::change(&mut body, &desk.registrar.destinations)?);
    let changed = carry_out(&desk, &tenant, &id, command, operator).await?;
    Ok(HttpResponse::Ok().json(view(&tenant, &id, &changed)))
}

/// `DELETE …/webhooks/{webhook}`: for good.
///
/// # Errors
/// When there is none, or it comes from the configuration.
pub async fn delete(
    operator: Operator,
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    desk.execute(&tenant, TenantCommand::Webhook(id.clone(), WebhookCommand::Delete), operator).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "deleted": true })))
}

/// `POST …/webhooks/{webhook}/{action}`: `pause`, `resume`, `disable` with a `reason`, `rotate-secret`, with
/// `expirePrevious` when the secret leaked.
///
/// # Errors
/// When there is no such webhook or action.
pub async fn act(
    Change { operator, mut body }: Change,
    path: web::Path<(String, String, String)>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let (tenant, id) = ids(&path.0, &path.1)?;
    let command = match path.2.as_str() {
        "pause" => WebhookCommand::Pause,
        "resume" => WebhookCommand::Resume,
        "disable" => {
            let reason = fields::note(&mut body, "reason");
            WebhookCommand::Disable { reason: reason.unwrap_or_else(|| "an operator disabled it".to_owned()) }
        }
        "rotate-secret" => desk.registrar.rotation(body.flag("expirePrevious")),
        _ => return Err(Problem::NotFound.into()),
    };
    body.finish()?;
    let is_rotation = matches!(command, WebhookCommand::RotateSecret { .. });
    let now = carry_out(&desk, &tenant, &id, command, operator).await?;
    let view = view(&tenant, &id, &now);
    Ok(HttpResponse::Ok().json(if is_rotation {
        let until = now.previous.as_ref().map(|(_, until)| until);
        with(with_secret(view, &now), "previousSecretValidUntil", json!(until))
    } else {
        view
    }))
}

/// An endpoint as operators are shown it.
pub(super) fn view(tenant: &TenantId, id: &WebhookId, webhook: &Webhook) -> Value {
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
pub(super) fn with(mut view: Value, name: &str, value: Value) -> Value {
    if let Some(fields) = view.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    view
}

fn ids(tenant: &str, webhook: &str) -> Result<(TenantId, WebhookId), Problem> {
    Ok((desk::tenant_id(tenant)?, named("webhook", WebhookId::parse(webhook))?))
}

/// Does something to an endpoint and gives it as it is then.
async fn carry_out(
    desk: &Desk,
    tenant: &TenantId,
    id: &WebhookId,
    command: WebhookCommand,
    operator: Operator,
) -> Result<Webhook, Refusal> {
    desk.execute(tenant, TenantCommand::Webhook(id.clone(), command), operator).await?;
    let now = desk.tenant(tenant)?;
    now.webhook(id).cloned().ok_or(NOT_FOUND)
}
