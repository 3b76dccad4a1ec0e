//! `/operator/tenants/{tenant}/keys`: keys, made here, shown once and kept as a hash.
//!
//! The tenant `*` holds the keys that are good for every tenant. Revoking a key ends what it opened: its
//! requests at once, its sockets within a second, the tokens that it minted with it.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    Ambient, KeyId,
    tenant::{KeyIssued, KeyKind, ManagedBy, TenantCommand, TenantKey},
};
use serde_json::json;

use super::{ChangeRequest, OperatorError, OperatorIdentity, OperatorServices, services, tenants::named};
use crate::{access::auth, access::key_uses, access::secret::Secret, access::tenants::settings};

/// `GET …/keys`: what they are, when each was made and on which day it was used last; never the keys themselves.
///
/// # Errors
/// When there is no such tenant.
pub async fn list(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<HttpResponse, OperatorError> {
    let id = services::tenant_id(&path)?;
    let tenant = services.tenant(&id)?;
    let snapshot = services.snapshot();
    let view = |TenantKey { issued, created }: &TenantKey| {
        let grant = snapshot.grant_of(&issued.key_id, &id);
        let last_used = grant.and_then(|grant| grant.used.day()).map(key_uses::date);
        json!({
            "id": issued.key_id,
            "kind": issued.kind,
            "source": issued.source,
            "name": issued.name,
            "created": created,
            "lastUsed": last_used,
        })
    };
    let keys: Vec<_> = tenant.keys().map(view).collect();
    Ok(HttpResponse::Ok().json(json!({ "keys": keys })))
}

/// `POST …/keys`: `kind` is `widget`, `secret` or `bot`; `name` says what it is for. The answer is the only place where the key is.
///
/// # Errors
/// When there is no such tenant, or no such kind.
pub async fn issue(
    ChangeRequest { operator, mut body }: ChangeRequest,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let id = services::tenant_id(&path)?;
    let kind = body.parsed("kind", kind_of);
    let kind = body.required("kind", kind);
    let name = body.parsed("name", |text| settings::check_name(text).map(|()| text.to_owned()));
    body.finish()?;
    let kind = kind.unwrap_or(KeyKind::Widget);
    let secret = new_key(kind, &services.tenants.ambient);
    let (key_id, hash) = auth::fingerprint(secret.expose());
    let key =
        KeyIssued { key_id: key_id.clone(), kind, hash, source: ManagedBy::Operator, name: name.clone() };
    services.execute(&id, TenantCommand::IssueKey { key, for_every: id.is_every() }, operator).await?;
    let view = json!({
        "id": key_id, "kind": kind, "source": ManagedBy::Operator, "name": name, "key": secret.expose(),
    });
    Ok(HttpResponse::Created().json(view))
}

/// `DELETE …/keys/{key}`
///
/// # Errors
/// When there is no such key, or it comes from the configuration.
pub async fn revoke(
    operator: OperatorIdentity,
    path: web::Path<(String, String)>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let (tenant, key) = path.into_inner();
    let id = services::tenant_id(&tenant)?;
    let key = named("key", KeyId::parse(&key))?;
    services.execute(&id, TenantCommand::RevokeKey(key.clone()), operator).await?;
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
