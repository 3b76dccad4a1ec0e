//! `/operator/tenants/{tenant}/webhooks`: endpoints, as their operator manages them. What a customer's own
//! server does with them is the management API's.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_events::{
    Ambient, TenantId, WebhookId,
    tenant::{Source, TenantCommand},
    webhook::{Webhook, WebhookCommand, WebhookRefusal, WebhookSecret, WebhookSettings, WebhookStatus},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Desk, Operator, Refusal, desk, tenants::named};
use crate::{
    http::{body, fields::Fields},
    problem::Problem,
};

/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// The longest description and reason, in characters.
const MAX_TEXT_CHARACTERS: usize = 500;

/// `GET …/webhooks`
///
/// # Errors
/// When there is no such tenant.
pub async fn list(desk: web::Data<Desk>, path: web::Path<String>) -> Result<HttpResponse, Refusal> {
    let tenant = desk.tenant(&desk::tenant_id(&path)?)?;
    let webhooks: Vec<_> = tenant.webhooks().map(|(id, webhook)| view(id, webhook)).collect();
    Ok(HttpResponse::Ok().json(json!({ "webhooks": webhooks })))
}

/// `POST …/webhooks`: `url`, `description`, `ratePerSecond`. The answer is the only place where the
/// secret is.
///
/// # Errors
/// When there is no such tenant, or a field is wrong.
pub async fn register(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<String>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let tenant = desk::tenant_id(&path)?;
    let mut fields = body::read(&request, payload).await?;
    let mut settings = WebhookSettings {
        url: String::new(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    };
    let is_named = change(&mut fields, &mut settings);
    fields.required("url", is_named.then_some(()));
    fields.finish()?;
    let id = new_id(&desk.ambient)?;
    let (secret, shown) = new_secret(&desk.ambient);
    let command = WebhookCommand::Register { settings, secret, source: Source::Operator };
    desk.execute(&tenant, TenantCommand::Webhook(id.clone(), command), operator).await?;
    let view = with_secret(current(&desk, &tenant, &id)?, shown);
    Ok(HttpResponse::Created().json(view))
}

/// `PATCH …/webhooks/{webhook}`: `url`, `description`, `ratePerSecond`; what is absent stays.
///
/// # Errors
/// When there is none, it comes from the configuration, or a field is wrong.
pub async fn update(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let (tenant, id) = ids(path)?;
    let mut fields = body::read(&request, payload).await?;
    let now = desk.tenant(&tenant)?;
    let (_, webhook) = now.webhooks().find(|(known, _)| **known == id).ok_or(NOT_FOUND)?;
    let mut settings = webhook.settings.clone();
    change(&mut fields, &mut settings);
    fields.finish()?;
    let command = TenantCommand::Webhook(id.clone(), WebhookCommand::Update(settings));
    desk.execute(&tenant, command, operator).await?;
    Ok(HttpResponse::Ok().json(current(&desk, &tenant, &id)?))
}

/// `DELETE …/webhooks/{webhook}`: for good.
///
/// # Errors
/// When there is none, or it comes from the configuration.
pub async fn delete(
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let (tenant, id) = ids(path)?;
    let command = TenantCommand::Webhook(id.clone(), WebhookCommand::Delete);
    desk.execute(&tenant, command, operator).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": id, "deleted": true })))
}

/// `POST …/webhooks/{webhook}/{action}`: `pause`, `resume`, `disable` with a `reason`, `rotate-secret`.
///
/// # Errors
/// When there is no such webhook or action.
pub async fn act(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String, String)>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let (tenant, webhook, action) = path.into_inner();
    let (tenant, id) = (desk::tenant_id(&tenant)?, named("webhook", WebhookId::parse(&webhook))?);
    let mut fields = body::read_optional(&request, payload).await?;
    let mut shown = None;
    let command = match action.as_str() {
        "pause" => WebhookCommand::Pause,
        "resume" => WebhookCommand::Resume,
        "disable" => {
            let reason = fields.parsed("reason", short);
            WebhookCommand::Disable { reason: reason.unwrap_or_else(|| "an operator disabled it".to_owned()) }
        }
        "rotate-secret" => {
            let (secret, text) = new_secret(&desk.ambient);
            shown = Some(text);
            let millis = i64::try_from(desk.previous_secret.as_millis()).unwrap_or(i64::MAX);
            let previous_until = (millis > 0).then(|| desk.ambient.now().plus_millis(millis));
            WebhookCommand::RotateSecret { secret, previous_until }
        }
        _ => return Err(Problem::NotFound.into()),
    };
    fields.finish()?;
    desk.execute(&tenant, TenantCommand::Webhook(id.clone(), command), operator).await?;
    let view = current(&desk, &tenant, &id)?;
    let view = match shown {
        Some(secret) => with_secret(view, secret),
        None => view,
    };
    Ok(HttpResponse::Ok().json(view))
}

const NOT_FOUND: Refusal =
    Refusal::Tenant(amoiq_events::tenant::TenantRefusal::Webhook(WebhookRefusal::NotFound));

fn ids(path: web::Path<(String, String)>) -> Result<(TenantId, WebhookId), Problem> {
    let (tenant, webhook) = path.into_inner();
    Ok((desk::tenant_id(&tenant)?, named("webhook", WebhookId::parse(&webhook))?))
}

/// Takes over what a request names, and says whether it named the address.
fn change(fields: &mut Fields, settings: &mut WebhookSettings) -> bool {
    let url = fields.parsed("url", address);
    if let Some(description) = fields.parsed("description", short) {
        settings.description = Some(description);
    }
    if let Some(rate) = fields.number("ratePerSecond") {
        settings.rate_per_second = (rate > 0).then_some(rate);
    }
    let is_named = url.is_some();
    if let Some(url) = url {
        settings.url = url;
    }
    is_named
}

fn address(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(text).map_err(|_malformed| "must be an address")?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "http" | "https" if is_plain && text.len() <= MAX_URL_BYTES => Ok(text.to_owned()),
        "http" | "https" => Err("must be at most 2048 bytes, without a user name"),
        _ => Err("must be http or https"),
    }
}

fn short(text: &str) -> Result<String, &'static str> {
    let is_fine = text.chars().count() <= MAX_TEXT_CHARACTERS && !text.chars().any(char::is_control);
    if is_fine { Ok(text.to_owned()) } else { Err("must be at most 500 characters on one line") }
}

fn current(desk: &Desk, tenant: &TenantId, id: &WebhookId) -> Result<Value, Refusal> {
    let now = desk.tenant(tenant)?;
    let found = now.webhooks().find(|(known, _)| *known == id);
    found.map(|(id, webhook)| view(id, webhook)).ok_or(NOT_FOUND)
}

fn view(id: &WebhookId, webhook: &Webhook) -> Value {
    let (status, reason) = match &webhook.status {
        WebhookStatus::Enabled => ("enabled", None),
        WebhookStatus::Paused => ("paused", None),
        WebhookStatus::Disabled { reason } => ("disabled", Some(reason)),
    };
    json!({
        "id": id,
        "url": webhook.settings.url,
        "events": webhook.settings.events,
        "description": webhook.settings.description,
        "ratePerSecond": webhook.settings.rate_per_second,
        "status": status,
        "disabledReason": reason,
        "source": webhook.source,
        "createdAt": webhook.registered.time,
    })
}

/// The one time that a secret is shown.
fn with_secret(mut view: Value, secret: String) -> Value {
    if let Some(fields) = view.as_object_mut() {
        fields.insert("secret".to_owned(), Value::String(secret));
    }
    view
}

fn new_id(ambient: &Ambient) -> Result<WebhookId, Problem> {
    let random: String = ambient.bytes::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
    named("webhook", WebhookId::parse(&format!("wh-{random}")))
}

/// A secret of 256 random bits, and the same to show.
fn new_secret(ambient: &Ambient) -> (WebhookSecret, String) {
    let text = format!("whsec_{}", STANDARD.encode(ambient.bytes::<32>()));
    (WebhookSecret::new(text.clone()), text)
}
