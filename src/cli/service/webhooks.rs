//! `amoiq webhook`: endpoints of the running service's tenants. A secret is shown once, when it is made.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{ClientOptions, OperatorClient, TenantArgument};
use crate::{
    cli::output::{fields, table},
    config::Config,
};

/// What of an endpoint the list shows.
const COLUMNS: [&str; 10] = [
    "tenant",
    "id",
    "status",
    "standing.lagEvents",
    "standing.pending",
    "standing.refused",
    "standing.failingSince",
    "source",
    "url",
    "disabledReason",
];

/// Webhook endpoints of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageWebhooksCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: WebhookAction,
}

#[derive(Debug, Clone, Subcommand)]
enum WebhookAction {
    /// Endpoints, whether they are served and how they are doing: how many events of the log they are
    /// behind, how many deliveries wait, how many it refused, since when everything has failed.
    List {
        /// Whose; everybody's when absent.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make an endpoint. Its secret is shown now and never again.
    Create {
        #[command(flatten)]
        of: TenantArgument,
        /// Where deliveries go.
        url: String,
        #[command(flatten)]
        settings: WebhookSettingsArguments,
    },
    /// Change an endpoint; what is not named stays.
    Update {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// Where deliveries go.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: WebhookSettingsArguments,
    },
    /// Stop an endpoint for now. It keeps its place in the log.
    Pause(EndpointArguments),
    /// Serve an endpoint again, from where it stopped.
    Resume(EndpointArguments),
    /// Stop an endpoint with a reason.
    Disable {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// For people.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End an endpoint for good.
    Delete(EndpointArguments),
    /// Make a new secret; the old one signs beside it for `webhooks.previous_secret_hours`.
    RotateSecret {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// The old one leaked: it signs nothing any more.
        #[arg(long)]
        expire_previous: bool,
    },
}

#[derive(Debug, Clone, Args)]
struct EndpointArguments {
    #[command(flatten)]
    of: TenantArgument,
    /// Its id, `wh-…`.
    webhook: String,
}

#[derive(Debug, Clone, Args)]
struct WebhookSettingsArguments {
    /// For people; an empty one removes it.
    #[arg(long)]
    description: Option<String>,
    /// At most so many deliveries a second, 1 to 1000; 0 is no limit.
    #[arg(long)]
    rate_per_second: Option<u32>,
}

impl WebhookSettingsArguments {
    /// What is named. Null removes a setting, so what is not named must not be there.
    fn body(&self, url: Option<&str>) -> Value {
        let url = url.map(|url| ("url", json!(url)));
        let description = self.description.as_deref().map(|text| (!text.is_empty()).then_some(text));
        let rate = self.rate_per_second.map(|rate| (rate > 0).then_some(rate));
        let description = description.map(|text| ("description", json!(text)));
        let rate = rate.map(|rate| ("ratePerSecond", json!(rate)));
        let named = [url, description, rate].into_iter().flatten();
        Value::Object(named.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}

/// Carries the command out.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageWebhooksCommand) -> anyhow::Result<()> {
    let service = OperatorClient::find(config, &command.options)?;
    let one = |endpoint: &EndpointArguments, method: Method, action: Option<&str>, body: Option<&Value>| {
        let path = ["tenants", &endpoint.of.tenant, "webhooks", &endpoint.webhook];
        let path: Vec<_> = path.into_iter().chain(action).collect();
        service.show(&service.ask(method, &path, body)?, fields)
    };
    let act = |endpoint: &EndpointArguments, action: &str, body: Value| {
        one(endpoint, Method::POST, Some(action), Some(&body))
    };
    match &command.action {
        WebhookAction::List { tenant } => {
            let of_one = tenant.as_deref().map(|tenant| vec!["tenants", tenant, "webhooks"]);
            let answer = service.ask(Method::GET, &of_one.unwrap_or_else(|| vec!["webhooks"]), None)?;
            service.show(&answer, |answer| table(&answer["webhooks"], &COLUMNS))
        }
        WebhookAction::Create { of, url, settings } => {
            let (path, body) = (["tenants", &of.tenant, "webhooks"], settings.body(Some(url)));
            service.show(&service.ask(Method::POST, &path, Some(&body))?, fields)
        }
        WebhookAction::Update { endpoint, url, settings } => {
            one(endpoint, Method::PATCH, None, Some(&settings.body(url.as_deref())))
        }
        WebhookAction::Pause(endpoint) => act(endpoint, "pause", json!({})),
        WebhookAction::Resume(endpoint) => act(endpoint, "resume", json!({})),
        WebhookAction::Disable { endpoint, reason } => act(endpoint, "disable", json!({ "reason": reason })),
        WebhookAction::Delete(endpoint) => one(endpoint, Method::DELETE, None, None),
        WebhookAction::RotateSecret { endpoint, expire_previous } => {
            act(endpoint, "rotate-secret", json!({ "expirePrevious": expire_previous }))
        }
    }
}
