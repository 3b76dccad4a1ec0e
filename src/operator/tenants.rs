//! `/operator/tenants`: tenants, created and changed without a restart.

use actix_web::{HttpResponse, web};
use amoiq_events::{
    TenantId,
    tenant::{ManagedBy, TenantCommand, TenantSettings},
};

use super::{ChangeRequest, OperatorError, OperatorServices, services};
use crate::{
    access::tenants::settings,
    api::{
        field::{StringList, Validation},
        operator::tenants::{CreateTenantRequest, TenantResponse, TenantSettingsRequest, TenantsResponse},
        problem::Problem,
    },
};

/// `GET /operator/tenants`
pub async fn list(services: web::Data<OperatorServices>) -> web::Json<TenantsResponse> {
    let snapshot = services.snapshot();
    let mut all: Vec<_> = snapshot.all().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let tenants = all.into_iter().map(|(id, tenant)| TenantResponse::new(id, tenant, services.serves(id)));
    web::Json(TenantsResponse { tenants: tenants.collect() })
}

/// `GET /operator/tenants/{tenant}`
///
/// # Errors
/// When the tenant does not exist.
pub async fn show(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<web::Json<TenantResponse>, OperatorError> {
    Ok(web::Json(response(&services, &services::tenant_id(&path)?)?))
}

/// `POST /operator/tenants`. Without a name the tenant is called by its id, without origins any site may embed the widget.
///
/// # Errors
/// When the tenant exists already, or a field is invalid.
pub async fn create(
    ChangeRequest { operator, body }: ChangeRequest<CreateTenantRequest>,
    services: web::Data<OperatorServices>,
) -> Result<HttpResponse, OperatorError> {
    let mut validation = Validation::new();
    let id = validation.required("id", body.id);
    let (name, origins) = name_and_origins(&mut validation, body.settings);
    validation.finish()?;
    let id = services::new_tenant_id(id.ok_or(Problem::Internal)?)?;
    let settings = TenantSettings {
        name: name.unwrap_or_else(|| id.to_string()),
        origins: origins.unwrap_or_else(|| vec!["*".to_owned()]),
        source: ManagedBy::Operator,
    };
    services.execute(&id, TenantCommand::Create(settings), operator).await?;
    Ok(HttpResponse::Created().json(response(&services, &id)?))
}

/// `PATCH /operator/tenants/{tenant}`
///
/// # Errors
/// When the tenant does not exist or comes from the configuration, or a field is invalid.
pub async fn update(
    ChangeRequest { operator, body }: ChangeRequest<TenantSettingsRequest>,
    path: web::Path<String>,
    services: web::Data<OperatorServices>,
) -> Result<web::Json<TenantResponse>, OperatorError> {
    let id = services::tenant_id(&path)?;
    let mut validation = Validation::new();
    let (name, origins) = name_and_origins(&mut validation, body);
    validation.finish()?;
    services.execute(&id, TenantCommand::Update { name, origins }, operator).await?;
    Ok(web::Json(response(&services, &id)?))
}

fn response(services: &OperatorServices, id: &TenantId) -> Result<TenantResponse, OperatorError> {
    Ok(TenantResponse::new(id, &*services.tenant(id)?, services.serves(id)))
}

fn name_and_origins(
    validation: &mut Validation,
    request: TenantSettingsRequest,
) -> (Option<String>, Option<Vec<String>>) {
    let name = validation.parsed("name", request.name, |name| settings::check_name(&name).map(|()| name));
    let origins = validation.parsed("origins", request.origins, |StringList(origins)| {
        settings::check_origins(&origins).map(|()| origins)
    });
    (name, origins)
}
