//! `amoiq key`: keys of the running service's tenants. A key is shown once, when it is made.

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ClientOptions, OperatorClient, TenantArgument};
use crate::{
    cli::output::{fields, print_result, table},
    config::Config,
};

/// Keys of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManageKeysCommand {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    action: KeyAction,
}

#[derive(Debug, Clone, Subcommand)]
enum KeyAction {
    /// A tenant's keys, without the keys themselves.
    List(TenantArgument),
    /// Make a key. It is shown now and never again.
    Create {
        #[command(flatten)]
        of: TenantArgument,
        /// What it may do.
        #[arg(long)]
        kind: KeyKindArgument,
        /// What it is for, for people.
        #[arg(long)]
        name: Option<String>,
    },
    /// End a key, its sockets, and the tokens that it minted.
    Revoke {
        #[command(flatten)]
        of: TenantArgument,
        /// Its public id, `key-…`.
        key: String,
    },
    /// Make a key of the same kind and name, then end the old one.
    Rotate {
        #[command(flatten)]
        of: TenantArgument,
        /// The old one's public id, `key-…`.
        key: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyKindArgument {
    /// `wk_`: in every visitor's page.
    Widget,
    /// `sk_`: for a customer's server.
    Secret,
    /// `bk_`: for a bot.
    Bot,
}

/// Carries the command out.
///
/// # Errors
/// When the service does not answer, or refuses.
pub(crate) fn run(config: &Config, command: &ManageKeysCommand) -> anyhow::Result<()> {
    let service = OperatorClient::find(config, &command.options)?;
    match &command.action {
        KeyAction::List(TenantArgument { tenant }) => {
            let answer = service.ask(Method::GET, &["tenants", tenant, "keys"], None)?;
            service.show(&answer, |answer| {
                table(&answer["keys"], &["id", "kind", "source", "created", "lastUsed", "name"])
            })
        }
        KeyAction::Create { of, kind, name } => {
            let kind = match kind {
                KeyKindArgument::Widget => "widget",
                KeyKindArgument::Secret => "secret",
                KeyKindArgument::Bot => "bot",
            };
            service.show(&issue(&service, &of.tenant, &json!({ "kind": kind, "name": name }))?, fields)
        }
        KeyAction::Revoke { of, key } => service.show(&revoke(&service, &of.tenant, key)?, fields),
        KeyAction::Rotate { of, key } => rotate(&service, &of.tenant, key, command.options.json),
    }
}

fn issue(service: &OperatorClient, tenant: &str, wanted: &Value) -> anyhow::Result<Value> {
    service.ask(Method::POST, &["tenants", tenant, "keys"], Some(wanted))
}

fn revoke(service: &OperatorClient, tenant: &str, key: &str) -> anyhow::Result<Value> {
    service.ask(Method::DELETE, &["tenants", tenant, "keys", key], None)
}

/// Two changes, each shown once it is made: when the second one fails, both keys are good.
fn rotate(service: &OperatorClient, tenant: &str, key: &str, is_json: bool) -> anyhow::Result<()> {
    let answer = service.ask(Method::GET, &["tenants", tenant, "keys"], None)?;
    let keys = answer.get("keys").and_then(Value::as_array).into_iter().flatten();
    let old = keys.into_iter().find(|known| known["id"] == key).context("the key does not exist")?;
    ensure!(
        old["source"] != "configuration",
        "the key comes from the configuration: change it there and start the service again"
    );
    let issued = issue(service, tenant, &json!({ "kind": old["kind"], "name": old["name"] }))?;
    if !is_json {
        print_result(&format!("issued:\n{}\n", fields(&issued)))?;
    }
    let revoked = revoke(service, tenant, key);
    if is_json {
        let done = revoked.as_ref().ok();
        print_result(&serde_json::to_string_pretty(&json!({ "issued": issued, "revoked": done }))?)?;
    }
    let revoked = revoked.with_context(|| format!("{key} is still good, and so is the new one"))?;
    if is_json { Ok(()) } else { print_result(&format!("\nrevoked:\n{}", fields(&revoked))) }
}
