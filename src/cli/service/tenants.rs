//! `amoiq tenant`: the tenants of the running service.

use amoiq_events::TenantId;
use clap::{Args, Subcommand};
use reqwest::Method;

use super::client::{ClientOptions, OperatorClient};
use crate::{
    api::{
        field::{Field, StringList},
        operator::tenants::{CreateTenantRequest, TenantResponse, TenantSettingsRequest, TenantsResponse},
    },
    cli::output::{cell, table},
    config::Config,
};

/// Manage the tenants of the running service.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageTenantsCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: TenantAction,
}

#[derive(Debug, Clone, Subcommand)]
enum TenantAction {
    /// List all tenants.
    List,
    /// Show one tenant.
    Show {
        /// The id of the tenant.
        tenant: String,
    },
    /// Create a tenant. The demo tenant disappears with the first one.
    Create {
        /// The id of the tenant, 1 to 256 bytes.
        tenant: String,
        #[command(flatten)]
        settings: TenantSettingsArguments,
    },
    /// Change a tenant. Settings that are not given stay as they are.
    Update {
        /// The id of the tenant.
        tenant: String,
        #[command(flatten)]
        settings: TenantSettingsArguments,
    },
}

#[derive(Debug, Clone, Args)]
struct TenantSettingsArguments {
    /// A name for people.
    #[arg(long)]
    name: Option<String>,
    /// A site that may embed the widget: `*`, `https://site.example` or `https://*.site.example`. Repeat the option
    /// for more sites. The given sites replace all earlier ones.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

impl TenantSettingsArguments {
    fn request(&self) -> TenantSettingsRequest {
        let origins = (!self.origins.is_empty()).then(|| StringList(self.origins.clone()));
        TenantSettingsRequest { name: Field::of(self.name.clone()), origins: Field::of(origins) }
    }
}

/// Runs the command.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageTenantsCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?;
    let tenant: TenantResponse = match &command.action {
        TenantAction::List => return list(&client),
        TenantAction::Show { tenant } => client.request(Method::GET, &["tenants", tenant])?,
        TenantAction::Create { tenant, settings } => {
            let id = Field::Value(TenantId::try_from(tenant.clone())?);
            let request = CreateTenantRequest { id, settings: settings.request() };
            client.send(Method::POST, &["tenants"], &request)?
        }
        TenantAction::Update { tenant, settings } => {
            client.send(Method::PATCH, &["tenants", tenant], &settings.request())?
        }
    };
    client.show_fields(&tenant)
}

fn list(client: &OperatorClient) -> anyhow::Result<()> {
    let tenants: TenantsResponse = client.request(Method::GET, &["tenants"])?;
    let row = |tenant: &TenantResponse| {
        [
            cell(&tenant.id),
            cell(&tenant.name),
            cell(&tenant.source),
            cell(&tenant.served),
            cell(&tenant.keys),
            cell(&tenant.webhooks),
            cell(&tenant.origins),
        ]
    };
    let headings = ["ID", "NAME", "SOURCE", "SERVED", "KEYS", "WEBHOOKS", "ORIGINS"];
    client.show(&tenants, |shown| Ok(table(headings, shown.tenants.iter().map(row))))
}
