//! `amoiq key`: keys of the running service's tenants. A key is shown once, when it is made.

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::operator::{OfTenant, Options, Service, fields, say, table};
use crate::config::Config;

/// Keys of the running service's tenants.
#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// A tenant's keys, without the keys themselves.
    List(OfTenant),
    /// Make a key. It is shown now and never again.
    Create {
        #[command(flatten)]
        of: OfTenant,
        /// What it may do.
        #[arg(long)]
        kind: Kind,
        /// What it is for, for people.
        #[arg(long)]
        name: Option<String>,
    },
    /// End a key, its sockets, and the tokens that it minted.
    Revoke {
        #[command(flatten)]
        of: OfTenant,
        /// Its public id, `key-…`.
        key: String,
    },
    /// Make a key of the same kind and name, then end the old one.
    Rotate {
        #[command(flatten)]
        of: OfTenant,
        /// The old one's public id, `key-…`.
        key: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
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
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<()> {
    let service = Service::find(config, &arguments.options)?;
    match &arguments.command {
        Command::List(OfTenant { tenant }) => {
            let answer = service.ask(Method::GET, &["tenants", tenant, "keys"], None)?;
            service.show(&answer, |answer| {
                table(&answer["keys"], &["id", "kind", "source", "created", "lastUsed", "name"])
            })
        }
        Command::Create { of, kind, name } => {
            let kind = match kind {
                Kind::Widget => "widget",
                Kind::Secret => "secret",
                Kind::Bot => "bot",
            };
            service.show(&issue(&service, &of.tenant, &json!({ "kind": kind, "name": name }))?, fields)
        }
        Command::Revoke { of, key } => service.show(&revoke(&service, &of.tenant, key)?, fields),
        Command::Rotate { of, key } => rotate(&service, &of.tenant, key, arguments.options.json),
    }
}

fn issue(service: &Service, tenant: &str, wanted: &Value) -> anyhow::Result<Value> {
    service.ask(Method::POST, &["tenants", tenant, "keys"], Some(wanted))
}

fn revoke(service: &Service, tenant: &str, key: &str) -> anyhow::Result<Value> {
    service.ask(Method::DELETE, &["tenants", tenant, "keys", key], None)
}

/// Two changes, each shown once it is made: when the second one fails, both keys are good.
fn rotate(service: &Service, tenant: &str, key: &str, is_json: bool) -> anyhow::Result<()> {
    let answer = service.ask(Method::GET, &["tenants", tenant, "keys"], None)?;
    let keys = answer.get("keys").and_then(Value::as_array).into_iter().flatten();
    let old = keys.into_iter().find(|known| known["id"] == key).context("the key does not exist")?;
    ensure!(
        old["source"] != "configuration",
        "the key comes from the configuration: change it there and start the service again"
    );
    let issued = issue(service, tenant, &json!({ "kind": old["kind"], "name": old["name"] }))?;
    if !is_json {
        say(&format!("issued:\n{}\n", fields(&issued)))?;
    }
    let revoked = revoke(service, tenant, key);
    if is_json {
        let done = revoked.as_ref().ok();
        say(&serde_json::to_string_pretty(&json!({ "issued": issued, "revoked": done }))?)?;
    }
    let revoked = revoked.with_context(|| format!("{key} is still good, and so is the new one"))?;
    if is_json { Ok(()) } else { say(&format!("\nrevoked:\n{}", fields(&revoked))) }
}
