//! The command line's way to the running service: it finds address and token in the data directory, asks
//! over HTTP and shows the answer, as a table for people or as JSON for programs.

use std::{os::unix::fs::MetadataExt, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::{Args, builder::NonEmptyStringValueParser};
use reqwest::{
    Method,
    blocking::{Client, RequestBuilder},
};
use serde_json::Value;
use url::Url;

use crate::{
    cli::output::{fields, print_result},
    config::Config,
    operator::{
        connection_file::ConnectionFile,
        request::{OPERATOR_HEADER, is_operator_name},
    },
};

/// How long an answer may take: longer than the service takes to give up a change.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The same for what may take long: longer than the service takes to give that up.
const LONG_TIMEOUT: Duration = Duration::from_secs(660);

/// What every command that asks the service takes.
#[derive(Debug, Clone, Args)]
pub(super) struct ClientOptions {
    /// Show the service's answer as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Who makes the change, for the log (default: the user of this system).
    #[arg(long = "as", global = true, value_name = "NAME")]
    operator: Option<String>,
}

/// Which tenant a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct TenantArgument {
    /// The tenant's id; `*` holds the keys that are good for every tenant.
    #[arg(long, value_name = "TENANT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) tenant: String,
}

/// The way to the operator's interface.
pub(super) struct OperatorClient {
    client: Client,
    connection: ConnectionFile,
    name: String,
    is_json: bool,
}

impl OperatorClient {
    /// Finds the service that runs on the configured data directory.
    ///
    /// # Errors
    /// When none does.
    pub(super) fn find(config: &Config, options: &ClientOptions) -> anyhow::Result<Self> {
        let name = match &options.operator {
            Some(name) if !is_operator_name(name) => {
                bail!("--as: `{name}` is not 1 to 64 letters, digits or ._-+@")
            }
            Some(name) => name.clone(),
            None => unix_user(),
        };
        let connection = ConnectionFile::find(&config.store.path)?;
        let client = http_client(TIMEOUT)?;
        Ok(Self { client, connection, name, is_json: options.json })
    }

    /// Asks for something below `/operator`.
    ///
    /// # Errors
    /// When nobody answers, or the service refuses; the text says why.
    pub(super) fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask_within(TIMEOUT, method, path, body)
    }

    /// The same for what may take long.
    ///
    /// # Errors
    /// As [`OperatorClient::ask`].
    pub(super) fn ask_long(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.ask_within(LONG_TIMEOUT, method, path, body)
    }

    fn ask_within(
        &self,
        timeout: Duration,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let url = address(&self.connection.operator, path)?;
        let request = self.client.request(method, url).bearer_auth(self.connection.token.expose());
        let request = request.header(OPERATOR_HEADER, &self.name).timeout(timeout);
        answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// Shows an answer: as it is, or as `people` show it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn show(&self, answer: &Value, people: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        let text = if self.is_json { serde_json::to_string_pretty(answer)? } else { people(answer) };
        print_result(&text)
    }
}

/// Where something below `/operator` is.
///
/// # Errors
/// When a part of the path would be lost on the way, and the address mean something else.
fn address(operator: &str, path: &[&str]) -> anyhow::Result<Url> {
    for part in path {
        let is_lost = matches!(*part, "" | "." | "..") || part.contains(char::is_control);
        ensure!(!is_lost, "`{}` is no id", part.escape_debug());
    }
    let mut url = Url::parse(operator).context("operator.json")?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push("operator").extend(path);
    }
    Ok(url)
}

/// A client for what is on this machine, whatever the environment says of proxies. It trusts nobody and
/// still has to be told whose cryptography it would use.
///
/// # Errors
/// When the system does not give what it needs.
pub(super) fn http_client(timeout: Duration) -> anyhow::Result<Client> {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().no_proxy().tls_certs_only([]).timeout(timeout).build()?)
}

fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().map_err(|error| {
        // The address is of this machine; what else the text holds is why.
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        anyhow::anyhow!("the service does not answer ({why}): does it run?")
    })?;
    let status = response.status();
    let answer: Value = response.json().with_context(|| format!("the service answered {status}"))?;
    if status.is_success() {
        return Ok(answer);
    }
    let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let details = answer.get("details").and_then(|details| details.get("fields"));
    let details = details.map(|details| format!("\n{}", fields(details))).unwrap_or_default();
    bail!("{} ({}){details}", text("error"), text("code"))
}

/// Who runs the command: through `sudo` the one behind it.
fn unix_user() -> String {
    let mut variables =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let number = || std::fs::metadata("/proc/self").map(|process| format!("uid-{}", process.uid()));
    variables
        .find(|name| is_operator_name(name))
        .or_else(|| number().ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_an_address_would_lose_is_refused() {
        let at = |id| address("http://127.0.0.1:4001", &["tenants", id]).map(String::from);
        assert_eq!(at("a/b ..%2e").unwrap(), "http://127.0.0.1:4001/operator/tenants/a%2Fb%20..%252e");
        for lost in ["", ".", "..", ".\t.", "a\nb"] {
            assert!(at(lost).unwrap_err().to_string().ends_with("` is no id"), "{lost:?}");
        }
    }
}
