//! `amoiq tenant`: customers of the running client.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ClientOptions, OperatorClient};
use crate::{
    cli::output::{fields, table},
    config::Config,
};

/// Customers of the running client.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageTenantsCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: TenantAction,
}

#[derive(Debug, Clone, Subcommand)]
enum TenantAction {
    /// Every tenant there is.
    List,
    /// One tenant.
    Show {
        /// Its id.
        tenant: String,
    },
    /// Make a tenant. The demo tenant goes with the first one.
    Create {
        /// 1 to 256 bytes.
        tenant: String,
        #[command(flatten)]
        settings: TenantSettingsArguments,
    },
    /// Change a tenant; what is not named stays.
    Update {
        /// Its id.
        tenant: String,
        #[command(flatten)]
        settings: TenantSettingsArguments,
    },
}

#[derive(Debug, Clone, Args)]
struct TenantSettingsArguments {
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// A site that may embed the widget: `*`, `https://site.example` or `https://*.site.example`. Repeat it
    /// for more; all of them take the place of those before.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

impl TenantSettingsArguments {
    /// What is not named is null, which is as good as absent.
    fn body(&self, id: Option<&str>) -> Value {
        let origins = (!self.origins.is_empty()).then_some(&self.origins);
        json!({ "id": id, "name": self.name, "origins": origins })
    }
}

/// Carries the command out.
///
/// # Errors
/// When the client does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageTenantsCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?;
    match &command.action {
        TenantAction::List => {
            let answer = client.ask(Method::GET, &["tenants"], None)?;
            let columns = ["id", "name", "source", "served", "keys", "webhooks", "origins"];
            client.show(&answer, |answer| table(&answer["tenants"], &columns))
        }
        TenantAction::Show { tenant } => {
            client.show(&client.ask(Method::GET, &["tenants", tenant], None)?, fields)
        }
        TenantAction::Create { tenant, settings } => {
            let body = settings.body(Some(tenant));
            client.show(&client.ask(Method::POST, &["tenants"], Some(&body))?, fields)
        }
        TenantAction::Update { tenant, settings } => {
            client.show(&client.ask(Method::PATCH, &["tenants", tenant], Some(&settings.body(None)))?, fields)
        }
    }
}
