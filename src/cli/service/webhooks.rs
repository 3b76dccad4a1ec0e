//! `amoiq webhook`: the webhook endpoints of the running service's tenants. A secret is shown once, when it is made.

use clap::{Args, Subcommand};
use reqwest::Method;

use super::client::{ClientOptions, OperatorClient, TenantArgument};
use crate::{
    api::{
        field::Field,
        webhooks::{
            DisableWebhookRequest, OperatorWebhookResponse, OperatorWebhookWithStatusResponse,
            OperatorWebhooksResponse, WebhookDeletedResponse, WithSecret,
            settings::{RotateSecretRequest, WebhookSettingsRequest},
        },
    },
    cli::output::{cell, table},
    config::Config,
};

/// Manage the webhook endpoints of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageWebhooksCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: WebhookAction,
}

#[derive(Debug, Clone, Subcommand)]
enum WebhookAction {
    /// List endpoints, whether they are served, and how their deliveries are getting on.
    ///
    /// The columns say how many events of the log an endpoint has yet to pass, how many deliveries wait, how many were
    /// refused, and since when every attempt has failed.
    List {
        /// The tenant; without it, endpoints of all tenants are listed.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Create an endpoint. Its secret is shown now and never again.
    Create {
        #[command(flatten)]
        of: TenantArgument,
        /// The address that deliveries are sent to.
        url: String,
        #[command(flatten)]
        settings: WebhookSettingsArguments,
    },
    /// Change an endpoint. Settings that are not given stay as they are.
    Update {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// The address that deliveries are sent to.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: WebhookSettingsArguments,
    },
    /// Pause an endpoint. It keeps its position in the log.
    Pause(EndpointArguments),
    /// Resume an endpoint from the position where it stopped.
    Resume(EndpointArguments),
    /// Disable an endpoint, with a reason.
    Disable {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// The reason, for people.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Delete an endpoint permanently.
    Delete(EndpointArguments),
    /// Replace the secret. The old one also signs for another `webhooks.previous_secret_hours`.
    RotateSecret {
        #[command(flatten)]
        endpoint: EndpointArguments,
        /// Stop signing with the old secret at once, because it leaked.
        #[arg(long)]
        expire_previous: bool,
    },
}

#[derive(Debug, Clone, Args)]
struct EndpointArguments {
    #[command(flatten)]
    of: TenantArgument,
    /// The id of the endpoint, `wh-…`.
    webhook: String,
}

#[derive(Debug, Clone, Args)]
struct WebhookSettingsArguments {
    /// A note for people; an empty text removes it.
    #[arg(long)]
    description: Option<String>,
    /// The most deliveries in a second, 1 to 1000; 0 removes the limit.
    #[arg(long)]
    rate_per_second: Option<u32>,
}

impl WebhookSettingsArguments {
    fn request(&self, url: Option<&str>) -> WebhookSettingsRequest {
        WebhookSettingsRequest {
            url: Field::of(url.map(str::to_owned)),
            description: given_or_removed(self.description.clone(), String::is_empty),
            rate_per_second: given_or_removed(self.rate_per_second, |&rate| rate == 0),
            ..WebhookSettingsRequest::default()
        }
    }
}

/// The field for an option: null removes the setting, and without the option the setting stays.
fn given_or_removed<T>(option: Option<T>, removes: impl FnOnce(&T) -> bool) -> Field<T> {
    match option {
        Some(value) if removes(&value) => Field::Null,
        option => Field::of(option),
    }
}

/// Runs the command.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageWebhooksCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?;
    let shown: OperatorWebhookResponse = match &command.action {
        WebhookAction::List { tenant } => return list(&client, tenant.as_deref()),
        WebhookAction::Create { of, url, settings } => {
            let (path, request) = (["tenants", &of.tenant, "webhooks"], settings.request(Some(url)));
            let created: WithSecret<OperatorWebhookResponse> = client.send(Method::POST, &path, &request)?;
            return client.show_fields(&created);
        }
        WebhookAction::Update { endpoint, url, settings } => {
            client.send(Method::PATCH, &endpoint.path(), &settings.request(url.as_deref()))?
        }
        WebhookAction::Pause(endpoint) => client.request(Method::POST, &endpoint.action("pause"))?,
        WebhookAction::Resume(endpoint) => client.request(Method::POST, &endpoint.action("resume"))?,
        WebhookAction::Disable { endpoint, reason } => {
            let request = DisableWebhookRequest { reason: Field::of(reason.clone()) };
            client.send(Method::POST, &endpoint.action("disable"), &request)?
        }
        WebhookAction::Delete(endpoint) => {
            let deleted: WebhookDeletedResponse = client.request(Method::DELETE, &endpoint.path())?;
            return client.show_fields(&deleted);
        }
        WebhookAction::RotateSecret { endpoint, expire_previous } => {
            let expire_previous = Field::Value(*expire_previous);
            let request = RotateSecretRequest { expire_previous, ..RotateSecretRequest::default() };
            let path = endpoint.action("rotate-secret");
            let rotated: WithSecret<OperatorWebhookResponse> = client.send(Method::POST, &path, &request)?;
            return client.show_fields(&rotated);
        }
    };
    client.show_fields(&shown)
}

impl EndpointArguments {
    fn path(&self) -> [&str; 4] {
        ["tenants", &self.of.tenant, "webhooks", &self.webhook]
    }

    fn action<'a>(&'a self, action: &'a str) -> [&'a str; 5] {
        ["tenants", &self.of.tenant, "webhooks", &self.webhook, action]
    }
}

fn list(client: &OperatorClient, tenant: Option<&str>) -> anyhow::Result<()> {
    let webhooks: OperatorWebhooksResponse = match tenant {
        Some(tenant) => client.request(Method::GET, &["tenants", tenant, "webhooks"])?,
        None => client.request(Method::GET, &["webhooks"])?,
    };
    let row =
        |OperatorWebhookWithStatusResponse { webhook, standing }: &OperatorWebhookWithStatusResponse| {
            let (summary, status) = (&webhook.summary, standing.as_ref());
            [
                cell(&webhook.tenant),
                cell(&summary.id),
                cell(&summary.status),
                cell(&status.map(|status| status.lag_events)),
                cell(&status.map(|status| status.pending)),
                cell(&status.map(|status| status.refused)),
                cell(&status.and_then(|status| status.failing_since)),
                cell(&summary.source),
                cell(&summary.url),
                cell(&summary.disabled_reason),
            ]
        };
    let headings = [
        "TENANT",
        "ID",
        "STATUS",
        "LAG EVENTS",
        "PENDING",
        "REFUSED",
        "FAILING SINCE",
        "SOURCE",
        "URL",
        "DISABLED REASON",
    ];
    client.show(&webhooks, |shown| Ok(table(headings, shown.webhooks.iter().map(row))))
}
