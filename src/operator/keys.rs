//! `/operator/tenants/{tenant}/keys`: keys, which are made here, shown once and stored as a hash.
//!
//! The tenant `*` holds the keys that are valid for every tenant. When a key is revoked, its requests are refused at once,
//! its sockets are closed within a second, and the tokens that it minted become invalid.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    Ambient, KeyId,
    tenant::{KeyIssued, KeyKind, ManagedBy, TenantCommand, TenantKey},
};

use super::{ChangeRequest, OperatorError, OperatorIdentity, OperatorServices, services};
use crate::{
    access::{auth, key_uses, secret::Secret, tenants::settings},
    api::{
        field::Validation,
        operator::keys::{
            IssueKeyRequest, KeyIssuedResponse, KeyResponse, KeyRevokedResponse, KeySummary, KeysResponse,
        },
        problem::Problem,
    },
};

/// `GET …/keys`: lists keys, never with the key itself.
///
/// # Errors
/// When the tenant does not exist.
pub async fn list(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<web::Json<KeysResponse>, OperatorError> {
    let id = services::tenant_id(&path)?;
    let tenant = services.tenant(&id)?;
    let snapshot = services.snapshot();
    let shown = |TenantKey { issued, created }: &TenantKey| {
        let grant = snapshot.grant_of(&issued.key_id, &id);
        let last_used = grant.and_then(|grant| grant.used.day()).map(key_uses::date);
        KeyResponse { summary: summary(issued), created: *created, last_used }
    };
    Ok(web::Json(KeysResponse { keys: tenant.keys().map(shown).collect() }))
}

/// `POST …/keys`: issues a key. This is the only response that contains it.
///
/// # Errors
/// When the tenant does not exist, or a field is invalid.
pub async fn issue(
    ChangeRequest { operator, body }: ChangeRequest<IssueKeyRequest>,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let id = services::tenant_id(&path)?;
    let mut validation = Validation::new();
    let kind = validation.required("kind", body.kind);
    let name = validation.parsed("name", body.name, |name| settings::check_name(&name).map(|()| name));
    validation.finish()?;
    let kind = kind.ok_or(Problem::Internal)?;
    let secret = new_key(kind, &services.tenants.ambient);
    let (key_id, hash) = auth::fingerprint(secret.expose());
    let key = KeyIssued { key_id, kind, hash, source: ManagedBy::Operator, name };
    let response = KeyIssuedResponse { summary: summary(&key), key: secret.expose().to_owned() };
    services.execute(&id, TenantCommand::IssueKey { key, for_every: id.is_every() }, operator).await?;
    Ok(HttpResponse::Created().json(response))
}

/// `DELETE …/keys/{key}`
///
/// # Errors
/// When the key does not exist, or comes from the configuration.
pub async fn revoke(
    operator: OperatorIdentity,
    path: web::Path<(String, String)>,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<KeyRevokedResponse>, OperatorError> {
    let (tenant, key) = path.into_inner();
    let tenant = services::tenant_id(&tenant)?;
    let id = services::path_id("key", KeyId::parse(&key))?;
    services.execute(&tenant, TenantCommand::RevokeKey(id.clone()), operator).await?;
    Ok(web::Json(KeyRevokedResponse { id, revoked: true }))
}

fn summary(issued: &KeyIssued) -> KeySummary {
    KeySummary {
        id: issued.key_id.clone(),
        kind: issued.kind,
        source: issued.source,
        name: issued.name.clone(),
    }
}

/// The prefix and 128 random bits.
fn new_key(kind: KeyKind, ambient: &Ambient) -> Secret {
    let random = u128::from_le_bytes(ambient.bytes());
    Secret::new(format!("{}{random:032x}", kind.prefix()))
}
