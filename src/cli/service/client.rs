//! The client of the running service: it reads the address and the token from the data directory, sends requests over
//! HTTP and shows the responses, as text for people or as JSON for programs.

use std::{os::unix::fs::MetadataExt, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, builder::NonEmptyStringValueParser};
use reqwest::{
    Method,
    blocking::{Client, RequestBuilder},
};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::{
    api::problem::ErrorResponse,
    cli::output::{cell, fields, print_result},
    config::Config,
    operator::{
        connection_file::ConnectionFile,
        request::{OPERATOR_HEADER, is_operator_name},
    },
};

/// How long a response may take: longer than the service takes to give up a change.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The same for an erasure: longer than the service takes to give it up.
const ERASURE_TIMEOUT: Duration = Duration::from_secs(660);

/// The options of every command that asks the service.
#[derive(Debug, Clone, Args)]
pub(super) struct ClientOptions {
    /// Print the response as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// The name that the log records for the change (default: the user of this system).
    #[arg(long = "as", global = true, value_name = "NAME")]
    operator: Option<String>,
}

/// The tenant that a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct TenantArgument {
    /// The id of the tenant; `*` holds the keys that are valid for every tenant.
    #[arg(long, value_name = "TENANT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) tenant: String,
}

/// A client of the operator interface.
pub(super) struct OperatorClient {
    client: Client,
    connection: ConnectionFile,
    operator: String,
    timeout: Duration,
    is_json: bool,
}

impl OperatorClient {
    /// Finds the service that runs on the configured data directory.
    ///
    /// # Errors
    /// When none does.
    pub(super) fn find(config: &Config, options: &ClientOptions) -> anyhow::Result<Self> {
        let operator = match &options.operator {
            Some(name) if !is_operator_name(name) => {
                bail!("--as: `{name}` must be 1 to 64 letters, digits or ._-+@")
            }
            Some(name) => name.clone(),
            None => unix_user(),
        };
        let connection = ConnectionFile::find(&config.store.path)?;
        let client = http_client(TIMEOUT)?;
        Ok(Self { client, connection, operator, timeout: TIMEOUT, is_json: options.json })
    }

    /// Waits as long as an erasure may take.
    pub(super) fn for_erasure(self) -> Self {
        Self { timeout: ERASURE_TIMEOUT, ..self }
    }

    /// Sends a request without a body to a path below `/operator`.
    ///
    /// # Errors
    /// When nobody answers, or the service refuses; the text says why.
    pub(super) fn request<R: DeserializeOwned>(&self, method: Method, path: &[&str]) -> anyhow::Result<R> {
        respond(self.prepare(method, path)?)
    }

    /// Sends a request with a body.
    ///
    /// # Errors
    /// As [`OperatorClient::request`].
    pub(super) fn send<B: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &B,
    ) -> anyhow::Result<R> {
        respond(self.prepare(method, path)?.json(body))
    }

    fn prepare(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        let url = address(&self.connection.operator, path)?;
        let request = self.client.request(method, url).bearer_auth(self.connection.token.expose());
        Ok(request.header(OPERATOR_HEADER, &self.operator).timeout(self.timeout))
    }

    /// Prints a response as JSON, or as `text` writes it for people.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn show<R: Serialize>(
        &self,
        response: &R,
        text: impl FnOnce(&R) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        print_result(&if self.is_json { serde_json::to_string_pretty(response)? } else { text(response)? })
    }

    /// Prints a response as JSON, or as its fields.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn show_fields<R: Serialize>(&self, response: &R) -> anyhow::Result<()> {
        self.show(response, fields)
    }
}

/// The address of a path below `/operator`.
///
/// # Errors
/// When a part of the path would get lost in the address, which would then name something else.
fn address(operator: &str, path: &[&str]) -> anyhow::Result<Url> {
    for part in path {
        let gets_lost = matches!(*part, "" | "." | "..") || part.contains(char::is_control);
        ensure!(!gets_lost, "`{}` is not a valid id", part.escape_debug());
    }
    let mut url = Url::parse(operator).context("operator.json")?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push("operator").extend(path);
    }
    Ok(url)
}

/// An HTTP client for this machine. It ignores the proxies that the environment names. It trusts no certificate
/// authority, but still needs a cryptography provider.
///
/// # Errors
/// When the system lacks what it needs.
pub(super) fn http_client(timeout: Duration) -> anyhow::Result<Client> {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().no_proxy().tls_certs_only([]).timeout(timeout).build()?)
}

fn respond<R: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<R> {
    let response = request.send().map_err(|error| {
        // The address is on this machine, so only the cause helps.
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        anyhow!("the service does not answer ({cause}): is it running?")
    })?;
    let status = response.status();
    let unexpected = || format!("the service sent an unexpected response with status {status}");
    if status.is_success() {
        return response.json().with_context(unexpected);
    }
    let ErrorResponse { error, code, details } = response.json().with_context(unexpected)?;
    let fields = details.fields.iter().map(|(field, reason)| format!("\n{}  {}", cell(field), cell(reason)));
    bail!("{} ({code}){}", cell(&error), fields.collect::<String>())
}

/// The user who runs the command; with `sudo`, the user who called it.
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
    fn an_id_that_a_url_cannot_carry_is_refused() {
        let at = |id| address("http://127.0.0.1:4001", &["tenants", id]).map(String::from);
        assert_eq!(at("a/b ..%2e").unwrap(), "http://127.0.0.1:4001/operator/tenants/a%2Fb%20..%252e");
        for lost in ["", ".", "..", ".\t.", "a\nb"] {
            assert!(at(lost).unwrap_err().to_string().ends_with("` is not a valid id"), "{lost:?}");
        }
    }
}
