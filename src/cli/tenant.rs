//! `amoiq tenant`: customers of the running service.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::operator::{Options, Service, fields, table};
use crate::config::Config;

/// Customers of the running service.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
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
        settings: Settings,
    },
    /// Change a tenant; what is not named stays.
    Update {
        /// Its id.
        tenant: String,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Debug, Clone, Args)]
struct Settings {
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// A site that may embed the widget: `*`, `https://site.example` or `https://*.site.example`. Repeat it
    /// for more; all of them take the place of those before.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
}

impl Settings {
    /// What is not named is null, which is as good as absent.
    fn body(&self, id: Option<&str>) -> Value {
        let origins = (!self.origins.is_empty()).then_some(&self.origins);
        json!({ "id": id, "name": self.name, "origins": origins })
    }
}

/// Carries the command out.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let service = Service::find(config, &arguments.options)?;
    match &arguments.command {
        Command::List => {
            let answer = service.ask(Method::GET, &["tenants"], None)?;
            let columns = ["id", "name", "source", "served", "keys", "webhooks", "origins"];
            service.show(&answer, |answer| table(&answer["tenants"], &columns))
        }
        Command::Show { tenant } => {
            service.show(&service.ask(Method::GET, &["tenants", tenant], None)?, fields)
        }
        Command::Create { tenant, settings } => {
            let body = settings.body(Some(tenant));
            service.show(&service.ask(Method::POST, &["tenants"], Some(&body))?, fields)
        }
        Command::Update { tenant, settings } => service
            .show(&service.ask(Method::PATCH, &["tenants", tenant], Some(&settings.body(None)))?, fields),
    }
}
