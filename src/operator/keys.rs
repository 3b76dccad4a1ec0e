//! `/operator/tenants/{tenant}/keys`: keys, made here, shown once and kept as a hash.
//!
//! The tenant `*` holds the keys that are good for every tenant. Revoking a key ends what it opened: its
//! requests at once, its sockets within a second, the tokens that it minted with it.

use actix_web::{HttpRequest, HttpResponse, web};
use amoiq_events::{
    Ambient, KeyId,
    tenant::{KeyIssued, KeyKind, Source, TenantCommand},
};
use serde_json::json;

use super::{Desk, Operator, Refusal, desk, tenants::named};
use crate::{auth, http::body, secret::Secret};

/// `GET …/keys`: what they are, never the keys themselves.
///
/// # Errors
/// When there is no such tenant.
pub async fn list(desk: web::Data<Desk>, path: web::Path<String>) -> Result<HttpResponse, Refusal> {
    let tenant = desk.tenant(&desk::tenant_id(&path)?)?;
    let view = |key: &KeyIssued| json!({ "id": key.key_id, "kind": key.kind, "source": key.source });
    let keys: Vec<_> = tenant.keys().map(view).collect();
    Ok(HttpResponse::Ok().json(json!({ "keys": keys })))
}

/// `POST …/keys`: `kind` is `widget`, `secret` or `bot`. The answer is the only place where the key is.
///
/// # Errors
/// When there is no such tenant, or no such kind.
pub async fn issue(
    request: HttpRequest,
    payload: web::Payload,
    path: web::Path<String>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let id = desk::tenant_id(&path)?;
    let mut fields = body::read(&request, payload).await?;
    let kind = fields.parsed("kind", kind_of);
    let kind = fields.required("kind", kind);
    fields.finish()?;
    let kind = kind.unwrap_or(KeyKind::Widget);
    let secret = new_key(kind, &desk.ambient);
    let (key_id, hash) = auth::fingerprint(secret.expose());
    let key = KeyIssued { key_id: key_id.clone(), kind, hash, source: Source::Operator };
    desk.execute(&id, TenantCommand::IssueKey { key, for_every: id.is_every() }, operator).await?;
    let view = json!({ "id": key_id, "kind": kind, "source": Source::Operator, "key": secret.expose() });
    Ok(HttpResponse::Created().json(view))
}

/// `DELETE …/keys/{key}`
///
/// # Errors
/// When there is no such key, or it comes from the configuration.
pub async fn revoke(
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
    operator: Operator,
) -> Result<HttpResponse, Refusal> {
    let (tenant, key) = path.into_inner();
    let id = desk::tenant_id(&tenant)?;
    let key = named("key", KeyId::parse(&key))?;
    desk.execute(&id, TenantCommand::RevokeKey(key.clone()), operator).await?;
    Ok(HttpResponse::Ok().json(json!({ "id": key, "revoked": true })))
}

fn kind_of(text: &str) -> Result<KeyKind, &'static str> {
    match text {
        "widget" => Ok(KeyKind::Widget),
        "secret" => Ok(KeyKind::Secret),
        "bot" => Ok(KeyKind::Bot),
        _ => Err("must be `widget`, `secret` or `bot`"),
    }
}

/// The prefix and 128 random bits.
fn new_key(kind: KeyKind, ambient: &Ambient) -> Secret {
    let random = u128::from_le_bytes(ambient.bytes());
    Secret::new(format!("{}{random:032x}", kind.prefix()))
}
