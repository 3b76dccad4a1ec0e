//! `/operator/tenants/{tenant}/keys`: keys, made here, shown once and kept as a hash.
//!
//! The tenant `*` holds the keys that are good for every tenant. Revoking a key ends what it opened: its
//! requests at once, its sockets within a second, the tokens that it minted with it.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    Ambient, KeyId,
    tenant::{KeyIssued, KeyKind, Source, TenantCommand},
};
use serde_json::json;

use super::{Change, Desk, Operator, Refusal, desk, tenants::named};
use crate::{auth, secret::Secret};

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
    Change { operator, mut body }: Change,
    path: web::Path<String>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let id = desk::tenant_id(&path)?;
    let kind = body.parsed("kind", kind_of);
    let kind = body.required("kind", kind);
    body.finish()?;
    let kind = kind.unwrap_or(KeyKind::Widget);
    let secret = new_key(kind, &desk.tenants.ambient);
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
    operator: Operator,
    path: web::Path<(String, String)>,
    desk: web::Data<Desk>,
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
