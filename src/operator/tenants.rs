//! `/operator/tenants`: customers, made and changed without a restart.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId,
    tenant::{ManagedBy, Tenant, TenantCommand, TenantSettings},
};
use serde_json::{Value, json};

use super::{ChangeRequest, OperatorError, OperatorServices, services};
use crate::{access::tenants::settings, api::problem::Problem, http::fields::Fields};

/// `GET /operator/tenants`
pub async fn list(services: web::Data<OperatorServices>) -> HttpResponse {
    let snapshot = services.snapshot();
    let mut all: Vec<_> = snapshot.all().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let views: Vec<_> = all.into_iter().map(|(id, tenant)| view(&services, id, tenant)).collect();
    HttpResponse::Ok().json(json!({ "tenants": views }))
}

/// `GET /operator/tenants/{tenant}`
///
/// # Errors
/// When there is none.
pub async fn show(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<HttpResponse, OperatorError> {
    answer(&services, &services::tenant_id(&path)?)
}

/// `POST /operator/tenants`: `id`, and `name` and `origins` when they are not the id and any.
///
/// # Errors
/// When there is one already, or a field is wrong.
pub async fn create(
    ChangeRequest { operator, mut body }: ChangeRequest,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let id = body.id_text("id");
    let id = body.required("id", id);
    let (name, origins) = name_and_origins(&mut body);
    body.finish()?;
    let id = services::new_tenant_id(&id.unwrap_or_default())?;
    let settings = TenantSettings {
        name: name.unwrap_or_else(|| id.to_string()),
        origins: origins.unwrap_or_else(|| vec!["*".to_owned()]),
        source: ManagedBy::Operator,
    };
    services.execute(&id, TenantCommand::Create(settings), operator).await?;
    Ok(HttpResponse::Created().json(view(&services, &id, &*services.tenant(&id)?)))
}

/// `PATCH /operator/tenants/{tenant}`: `name`, `origins`.
///
/// # Errors
/// When there is none, it comes from the configuration, or a field is wrong.
pub async fn update(
    ChangeRequest { operator, mut body }: ChangeRequest,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let id = services::tenant_id(&path)?;
    let (name, origins) = name_and_origins(&mut body);
    body.finish()?;
    services.execute(&id, TenantCommand::Update { name, origins }, operator).await?;
    answer(&services, &id)
}

fn answer(services: &OperatorServices, id: &TenantId) -> Result<HttpResponse, OperatorError> {
    let tenant = services.tenant(id)?;
    Ok(HttpResponse::Ok().json(view(services, id, &tenant)))
}

fn view(services: &OperatorServices, id: &TenantId, tenant: &Tenant) -> Value {
    let settings = tenant.settings();
    json!({
        "id": id,
        "name": settings.map(|settings| &settings.name),
        "origins": settings.map(|settings| &settings.origins),
        "source": settings.map(|settings| settings.source),
        "served": services.serves(id),
        "keys": tenant.keys().count(),
        "webhooks": tenant.webhooks().count(),
    })
}

fn name_and_origins(fields: &mut Fields) -> (Option<String>, Option<Vec<String>>) {
    let name = fields.parsed("name", |text| settings::check_name(text).map(|()| text.to_owned()));
    (name, origins(fields))
}

fn origins(fields: &mut Fields) -> Option<Vec<String>> {
    let origins = fields.texts("origins", crate::api::tenants::MAX_ORIGINS)?;
    if let Err(reason) = settings::check_origins(&origins) {
        fields.refuse("origins", reason);
    }
    Some(origins)
}

/// A text that is a field of a path, told as one.
pub(super) fn named<T, E: std::fmt::Display>(
    field: &'static str,
    parsed: Result<T, E>,
) -> Result<T, Problem> {
    parsed.map_err(|error| Problem::field(field, error.to_string()))
}
