//! The command line's way to the running service: it finds address and token in the data directory, asks
//! over HTTP and shows the answer, as a table for people or as JSON for programs.

use std::{
    io::{self, Write},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, builder::NonEmptyStringValueParser};
use reqwest::{
    Method,
    blocking::{Client, RequestBuilder},
};
use serde_json::Value;
use url::Url;

use crate::{
    config::Config,
    operator::{
        author::{self, is_name},
        door::Door,
    },
};

/// How long an answer may take: longer than the service takes to give up a change.
const PATIENCE: Duration = Duration::from_secs(15);

/// The same for what may take long: longer than the service takes to give that up.
const LONG_PATIENCE: Duration = Duration::from_secs(660);

/// What every command that asks the service takes.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    /// Show the service's answer as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Who makes the change, for the log (default: the user of this system).
    #[arg(long = "as", global = true, value_name = "NAME")]
    operator: Option<String>,
}

/// Which tenant a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct OfTenant {
    /// The tenant's id; `*` holds the keys that are good for every tenant.
    #[arg(long, value_name = "TENANT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) tenant: String,
}

/// The way to the operator's interface.
pub(super) struct Service {
    client: Client,
    door: Door,
    name: String,
    is_json: bool,
}

impl Service {
    /// Finds the service that runs on the configured data directory.
    ///
    /// # Errors
    /// When none does.
    pub(super) fn find(config: &Config, options: &Options) -> anyhow::Result<Self> {
        let name = match &options.operator {
            Some(name) if !is_name(name) => bail!("--as: `{name}` is not 1 to 64 letters, digits or ._-+@"),
            Some(name) => name.clone(),
            None => unix_user(),
        };
        let door = Door::find(&config.store.path)?;
        let client = client(PATIENCE)?;
        Ok(Self { client, door, name, is_json: options.json })
    }

    /// Asks for something below `/operator`.
    ///
    /// # Errors
    /// When nobody answers, or the service refuses; the text says why.
    pub(super) fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask_within(PATIENCE, method, path, body)
    }

    /// The same for what may take long.
    ///
    /// # Errors
    /// As [`Service::ask`].
    pub(super) fn ask_long(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.ask_within(LONG_PATIENCE, method, path, body)
    }

    fn ask_within(
        &self,
        patience: Duration,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let url = address(&self.door.operator, path)?;
        let request = self.client.request(method, url).bearer_auth(self.door.token.expose());
        let request = request.header(author::HEADER, &self.name).timeout(patience);
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
        say(&text)
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
pub(super) fn client(patience: Duration) -> anyhow::Result<Client> {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().no_proxy().tls_certs_only([]).timeout(patience).build()?)
}

/// Writes a line, or several, to standard output.
///
/// # Errors
/// When it is closed.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    Ok(out.flush()?)
}

/// Objects of a list as lines under headings; each column is a field, or one within a field: `a.b`.
pub(super) fn table(list: &Value, columns: &[&str]) -> String {
    let heading = |column: &&str| column.rsplit('.').next().unwrap_or_default().to_uppercase();
    let mut rows = vec![columns.iter().map(heading).collect::<Vec<_>>()];
    let cells = |object: &Value| columns.iter().map(|column| cell(find(object, column))).collect();
    rows.extend(list.as_array().into_iter().flatten().map(cells));
    let width =
        |index: usize| rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns.len()).map(|index| width(index).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The fields of an object, one a line.
pub(super) fn fields(object: &Value) -> String {
    let all: Vec<_> =
        object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).collect();
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(&String, &Value)| format!("{name:width$}  {}", cell(Some(value)));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn find<'a>(object: &'a Value, column: &str) -> Option<&'a Value> {
    column.split('.').try_fold(object, |within, name| within.get(name))
}

/// Some texts are customers': none of them steers the terminal or begins a line.
fn cell(value: Option<&Value>) -> String {
    let shown =
        |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.to_string() };
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.chars().map(shown).collect(),
        Some(Value::Array(values)) => {
            values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
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
    let details = details.map(|fields| format!("\n{}", self::fields(fields))).unwrap_or_default();
    bail!("{} ({}){details}", text("error"), text("code"))
}

/// Who runs the command: through `sudo` the one behind it.
fn unix_user() -> String {
    let mut variables =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let number = || std::fs::metadata("/proc/self").map(|process| format!("uid-{}", process.uid()));
    variables.find(|name| is_name(name)).or_else(|| number().ok()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_object_and_aligned_columns() {
        let list = json!([{"id": "a", "keys": 2}, {"id": "longer", "keys": null}]);
        assert_eq!(table(&list, &["id", "keys"]), "ID      KEYS\na       2\nlonger  -");
    }

    #[test]
    fn a_column_may_be_within_a_field_that_is_not_there() {
        let list = json!([{"standing": {"pending": 2}}, {"standing": null}]);
        assert_eq!(table(&list, &["standing.pending"]), "PENDING\n2\n-");
    }

    #[test]
    fn a_text_does_not_steer_the_terminal() {
        let list = json!([{"url": "a\u{1b}[2J\nb\u{9b}"}]);
        assert_eq!(table(&list, &["url"]), "URL\na\\u{1b}[2J\\nb\\u{9b}");
    }

    #[test]
    fn an_id_that_an_address_would_lose_is_refused() {
        let at = |id| address("http://127.0.0.1:4001", &["tenants", id]).map(String::from);
        assert_eq!(at("a/b ..%2e").unwrap(), "http://127.0.0.1:4001/operator/tenants/a%2Fb%20..%252e");
        for lost in ["", ".", "..", ".\t.", "a\nb"] {
            assert!(at(lost).unwrap_err().to_string().ends_with("` is no id"), "{lost:?}");
        }
    }

    #[test]
    fn fields_that_are_absent_are_not_shown() {
        assert_eq!(
            fields(&json!({"id": "a", "name": null, "origins": ["x", "y"]})),
            "id       a\norigins  x y"
        );
    }
}
