//! `amoiq webhook`: endpoints of the running service's tenants. A secret is shown once, when it is made.

use anyhow::ensure;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::operator::{Options, Service, fields, table};
use crate::config::Config;

/// Webhook endpoints of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Whose.
    #[arg(long, value_name = "TENANT", global = true, default_value = "")]
    tenant: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// A tenant's endpoints and whether they are served.
    List,
    /// Make an endpoint. Its secret is shown now and never again.
    Create {
        /// Where deliveries go.
        url: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change an endpoint; what is not named stays.
    Update {
        /// Its id, `wh-…`.
        webhook: String,
        /// Where deliveries go.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Stop an endpoint for now. It keeps its place in the log.
    Pause {
        /// Its id, `wh-…`.
        webhook: String,
    },
    /// Serve an endpoint again, from where it stopped.
    Resume {
        /// Its id, `wh-…`.
        webhook: String,
    },
    /// Stop an endpoint with a reason.
    Disable {
        /// Its id, `wh-…`.
        webhook: String,
        /// For people.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End an endpoint for good.
    Delete {
        /// Its id, `wh-…`.
        webhook: String,
    },
    /// Make a new secret; the old one signs beside it for `webhooks.previous_secret_hours`.
    RotateSecret {
        /// Its id, `wh-…`.
        webhook: String,
    },
}

#[derive(Debug, Clone, Args)]
struct Settings {
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// At most so many deliveries a second; 0 is no limit.
    #[arg(long)]
    rate_per_second: Option<u32>,
}

impl Settings {
    fn body(&self, url: Option<&str>) -> Value {
        json!({ "url": url, "description": self.description, "ratePerSecond": self.rate_per_second })
    }
}

/// Carries the command out.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(!arguments.tenant.is_empty(), "--tenant says whose webhooks");
    let service = Service::find(config, &arguments.options)?;
    let all = ["tenants", &arguments.tenant, "webhooks"];
    let one = |webhook: &str, method: Method, action: Option<&str>, body: Option<&Value>| {
        let path: Vec<_> = all.iter().copied().chain([webhook]).chain(action).collect();
        service.show(&service.ask(method, &path, body)?, fields)
    };
    let act = |webhook: &str, action: &str| one(webhook, Method::POST, Some(action), None);
    match &arguments.command {
        Command::List => {
            let answer = service.ask(Method::GET, &all, None)?;
            let columns = ["id", "status", "source", "createdAt", "url", "disabledReason"];
            service.show(&answer, |answer| table(&answer["webhooks"], &columns))
        }
        Command::Create { url, settings } => {
            service.show(&service.ask(Method::POST, &all, Some(&settings.body(Some(url))))?, fields)
        }
        Command::Update { webhook, url, settings } => {
            one(webhook, Method::PATCH, None, Some(&settings.body(url.as_deref())))
        }
        Command::Pause { webhook } => act(webhook, "pause"),
        Command::Resume { webhook } => act(webhook, "resume"),
        Command::Disable { webhook, reason } => {
            one(webhook, Method::POST, Some("disable"), Some(&json!({ "reason": reason })))
        }
        Command::Delete { webhook } => one(webhook, Method::DELETE, None, None),
        Command::RotateSecret { webhook } => act(webhook, "rotate-secret"),
    }
}
