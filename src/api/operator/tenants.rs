//! Tenants as the operator reads and writes them.

use amoiq_events::{
    TenantId,
    tenant::{ManagedBy, Tenant},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    field::{Field, StringList},
    schema::{IdSchema, ManagedBySchema},
};

/// The most sites of one tenant.
pub const MAX_ORIGINS: usize = 200;

/// Creates a tenant. The `id` follows the rules of every id; the tenant `*` and the demo tenant cannot be created.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["id"]))]
pub struct CreateTenantRequest {
    /// The tenant's id.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub id: Field<TenantId>,
    /// The name and the sites.
    #[serde(flatten)]
    pub settings: TenantSettingsRequest,
}

/// Changes a tenant; a field that is absent keeps its value.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TenantSettingsRequest {
    /// A name for people, 1 to 200 characters.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub name: Field<String>,
    /// The sites that may embed the widget: `*`, `https://site.example` or `https://*.site.example`.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub origins: Field<StringList<MAX_ORIGINS>>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantResponse {
    /// Its id.
    #[schemars(with = "IdSchema")]
    pub id: TenantId,
    /// Its name.
    pub name: Option<String>,
    /// The sites that may embed the widget.
    pub origins: Option<Vec<String>>,
    /// Who manages it.
    #[schemars(with = "Option<ManagedBySchema>")]
    pub source: Option<ManagedBy>,
    /// Whether requests for it are served. The demo tenant's are not once there is another tenant.
    pub served: bool,
    /// How many keys it has.
    pub keys: usize,
    /// How many webhooks it has.
    pub webhooks: usize,
}

impl TenantResponse {
    /// Shows a tenant.
    #[must_use]
    pub fn new(id: &TenantId, tenant: &Tenant, served: bool) -> Self {
        let settings = tenant.settings();
        Self {
            id: id.clone(),
            name: settings.map(|settings| settings.name.clone()),
            origins: settings.map(|settings| settings.origins.clone()),
            source: settings.map(|settings| settings.source),
            served,
            keys: tenant.keys().count(),
            webhooks: tenant.webhooks().count(),
        }
    }
}

/// Every tenant, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantsResponse {
    /// The tenants.
    pub tenants: Vec<TenantResponse>,
}
