//! `amoiq key`: the keys of the running service's tenants. A key is shown once, when it is issued.

use amoiq_events::tenant::{KeyKind, ManagedBy};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Serialize;

use super::client::{ClientOptions, OperatorClient, TenantArgument};
use crate::{
    api::{
        field::Field,
        operator::keys::{IssueKeyRequest, KeyIssuedResponse, KeyResponse, KeyRevokedResponse, KeysResponse},
    },
    cli::output::{cell, fields, print_result, table},
    config::Config,
};

/// Manage the keys of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageKeysCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: KeyAction,
}

#[derive(Debug, Clone, Subcommand)]
enum KeyAction {
    /// List a tenant's keys, without the keys themselves.
    List(TenantArgument),
    /// Issue a key. It is shown now and never again.
    Create {
        #[command(flatten)]
        of: TenantArgument,
        /// What the key may do.
        #[arg(long)]
        kind: KeyKindArgument,
        /// What the key is for, for people.
        #[arg(long)]
        name: Option<String>,
    },
    /// Revoke a key. Its sockets are closed, and the tokens that it minted become invalid.
    Revoke {
        #[command(flatten)]
        of: TenantArgument,
        /// The public id of the key, `key-…`.
        key: String,
    },
    /// Issue a key of the same kind and name, then revoke the old one.
    Rotate {
        #[command(flatten)]
        of: TenantArgument,
        /// The public id of the old key, `key-…`.
        key: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyKindArgument {
    /// `wk_`: for the pages of visitors.
    Widget,
    /// `sk_`: for a customer's server.
    Secret,
    /// `bk_`: for a bot.
    Bot,
}

impl From<KeyKindArgument> for KeyKind {
    fn from(kind: KeyKindArgument) -> Self {
        match kind {
            KeyKindArgument::Widget => Self::Widget,
            KeyKindArgument::Secret => Self::Secret,
            KeyKindArgument::Bot => Self::Bot,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageKeysCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?;
    match &command.action {
        KeyAction::List(TenantArgument { tenant }) => show_list(&client, tenant),
        KeyAction::Create { of, kind, name } => {
            client.show_fields(&issue(&client, &of.tenant, (*kind).into(), name.clone())?)
        }
        KeyAction::Revoke { of, key } => client.show_fields(&revoke(&client, &of.tenant, key)?),
        KeyAction::Rotate { of, key } => rotate(&client, &of.tenant, key, command.options.json),
    }
}

fn show_list(client: &OperatorClient, tenant: &str) -> anyhow::Result<()> {
    let row = |KeyResponse { summary, created, last_used }: &KeyResponse| {
        [
            cell(&summary.id),
            cell(&summary.kind),
            cell(&summary.source),
            cell(created),
            cell(last_used),
            cell(&summary.name),
        ]
    };
    let headings = ["ID", "KIND", "SOURCE", "CREATED", "LAST USED", "NAME"];
    client.show(&list(client, tenant)?, |shown| Ok(table(headings, shown.keys.iter().map(row))))
}

fn list(client: &OperatorClient, tenant: &str) -> anyhow::Result<KeysResponse> {
    client.request(Method::GET, &["tenants", tenant, "keys"])
}

fn issue(
    client: &OperatorClient,
    tenant: &str,
    kind: KeyKind,
    name: Option<String>,
) -> anyhow::Result<KeyIssuedResponse> {
    let request = IssueKeyRequest { kind: Field::Value(kind), name: Field::of(name) };
    client.send(Method::POST, &["tenants", tenant, "keys"], &request)
}

fn revoke(client: &OperatorClient, tenant: &str, key: &str) -> anyhow::Result<KeyRevokedResponse> {
    client.request(Method::DELETE, &["tenants", tenant, "keys", key])
}

/// What a rotation did: after a failed revocation both keys are valid.
#[derive(Serialize)]
struct KeyRotation<'a> {
    issued: &'a KeyIssuedResponse,
    revoked: Option<&'a KeyRevokedResponse>,
}

/// Makes two changes and shows each one as soon as it is made.
fn rotate(client: &OperatorClient, tenant: &str, key: &str, is_json: bool) -> anyhow::Result<()> {
    let keys = list(client, tenant)?.keys;
    let old = keys.into_iter().map(|known| known.summary).find(|known| known.id.as_str() == key);
    let old = old.context("the key does not exist")?;
    ensure!(
        old.source != ManagedBy::Configuration,
        "the key comes from the configuration: change it there and restart the service"
    );
    let issued = issue(client, tenant, old.kind, old.name)?;
    if !is_json {
        print_result(&format!("issued:\n{}\n", fields(&issued)?))?;
    }
    let revoked = revoke(client, tenant, key);
    if is_json {
        let rotation = KeyRotation { issued: &issued, revoked: revoked.as_ref().ok() };
        print_result(&serde_json::to_string_pretty(&rotation)?)?;
    }
    let revoked = revoked.with_context(|| format!("{key} is still valid, and so is the new key"))?;
    if is_json { Ok(()) } else { print_result(&format!("\nrevoked:\n{}", fields(&revoked)?)) }
}
