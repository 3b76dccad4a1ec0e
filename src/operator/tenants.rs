//! `/operator/tenants`: customers, made and changed without a restart.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId,
    tenant::{ManagedBy, Tenant, TenantCommand, TenantSettings},
};
use serde_json::{Value, json};

use super::{Change, Desk, Refusal, desk};
use crate::{access::tenants::settings, api::problem::Problem, http::fields::Fields};

/// `GET /operator/tenants`
pub async fn list(desk: web::Data<Desk>) -> HttpResponse {
    let snapshot = desk.snapshot();
    let mut all: Vec<_> = snapshot.all().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let views: Vec<_> = all.into_iter().map(|(id, tenant)| view(&desk, id, tenant)).collect();
    HttpResponse::Ok().json(json!({ "tenants": views }))
}

/// `GET /operator/tenants/{tenant}`
///
/// # Errors
/// When there is none.
pub async fn show(desk: web::Data<Desk>, path: web::Path<String>) -> Result<HttpResponse, Refusal> {
    answer(&desk, &desk::tenant_id(&path)?)
}

/// `POST /operator/tenants`: `id`, and `name` and `origins` when they are not the id and any.
///
/// # Errors
/// When there is one already, or a field is wrong.
pub async fn create(
    Change { operator, mut body }: Change,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let id = body.id_text("id");
    let id = body.required("id", id);
    let (name, origins) = name_and_origins(&mut body);
    body.finish()?;
    let id = desk::new_tenant_id(&id.unwrap_or_default())?;
    let settings = TenantSettings {
        name: name.unwrap_or_else(|| id.to_string()),
        origins: origins.unwrap_or_else(|| vec!["*".to_owned()]),
        source: ManagedBy::Operator,
    };
    desk.execute(&id, TenantCommand::Create(settings), operator).await?;
    Ok(HttpResponse::Created().json(view(&desk, &id, &*desk.tenant(&id)?)))
}

/// `PATCH /operator/tenants/{tenant}`: `name`, `origins`.
///
/// # Errors
/// When there is none, it comes from the configuration, or a field is wrong.
pub async fn update(
    Change { operator, mut body }: Change,
    path: web::Path<String>,
    desk: web::Data<Desk>,
) -> Result<HttpResponse, Refusal> {
    let id = desk::tenant_id(&path)?;
    let (name, origins) = name_and_origins(&mut body);
    body.finish()?;
    desk.execute(&id, TenantCommand::Update { name, origins }, operator).await?;
    answer(&desk, &id)
}

fn answer(desk: &Desk, id: &TenantId) -> Result<HttpResponse, Refusal> {
    let tenant = desk.tenant(id)?;
    Ok(HttpResponse::Ok().json(view(desk, id, &tenant)))
}

fn view(desk: &Desk, id: &TenantId, tenant: &Tenant) -> Value {
    let settings = tenant.settings();
    json!({
        "id": id,
        "name": settings.map(|settings| &settings.name),
        "origins": settings.map(|settings| &settings.origins),
        "source": settings.map(|settings| settings.source),
        "served": desk.serves(id),
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
