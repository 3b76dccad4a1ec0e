//! `amoiq state`: shows a session or a tenant as the log records it, now or at any earlier point.
//!
//! A session is folded from its stream, a tenant from its own stream and its presence stream. The hashes of keys and the
//! secrets of webhooks are never shown. The texts of messages and what visitors said about themselves are shown only on
//! request, as in `amoiq events`.

mod session;
mod tenant;

use std::io::Write;

use amoiq_events::{
    EventLog, Position, RecordedEvent, SessionId, StreamName, TenantId, Version, store::LogReader,
};
use clap::Args;
use serde_json::Value;

use super::{log_point::LogPoint, read_log::read_log};
use crate::{cli::block_on, config::StoreConfig};

/// Show a session or a tenant as it is, or as it was at an earlier point.
#[derive(Debug, Args)]
pub(crate) struct StateCommand {
    /// The id of the tenant.
    #[arg(long)]
    tenant: String,
    /// A session of the tenant. Without it, the tenant is shown, and who was online.
    #[arg(long)]
    session: Option<String>,
    /// The point in the log; without it, the end of the log.
    #[arg(long, value_name = "POSITION|TIME")]
    at: Option<LogPoint>,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
    /// Also print the texts of messages and what visitors said about themselves.
    #[arg(long)]
    texts: bool,
}

pub(crate) fn run(command: &StateCommand, store: &StoreConfig) -> anyhow::Result<()> {
    let log = read_log(store)?;
    let tenant = TenantId::try_from(command.tenant.clone())?;
    let session = command.session.as_deref().map(SessionId::parse).transpose()?;
    let shown = block_on(async {
        let head = log.head();
        let at = match command.at {
            Some(point) => point.end(&*log).await?.min(head),
            None => head,
        };
        match &session {
            Some(session) => session::at(&*log, &tenant, session, at).await,
            None => tenant::at(&*log, &tenant, at).await,
        }
    })?;
    let mut out = std::io::stdout().lock();
    if command.json {
        writeln!(out, "{shown}")?;
    } else {
        print(&mut out, "", &shown, command.texts)?;
    }
    Ok(out.flush()?)
}

/// Prints one value a line, under its name. Control characters are escaped, also in names: visitors choose the names in
/// `userInfo`, and nothing that they choose may control the terminal.
fn print(out: &mut dyn Write, name: &str, value: &Value, with_texts: bool) -> std::io::Result<()> {
    let within = |key: &str| {
        let key = key.escape_debug();
        if name.is_empty() { key.to_string() } else { format!("{name}.{key}") }
    };
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            let is_private = matches!(key.as_str(), "text" | "message_text" | "userInfo");
            if is_private && !with_texts { Ok(()) } else { print(out, &within(key), value, with_texts) }
        }),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| print(out, &format!("{name}[{index}]"), value, with_texts)),
        Value::String(text) => writeln!(out, "{name}: {text:?}"),
        value => writeln!(out, "{name}: {value}"),
    }
}

/// Calls `each` with every event of a stream up to a position, in order.
async fn stream(
    log: &dyn EventLog,
    stream: StreamName,
    at: Position,
    mut each: impl FnMut(&RecordedEvent) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut events = LogReader::stream(log, stream, Version::FIRST).up_to(at);
    while let Some(event) = events.next_event().await? {
        each(&event)?;
    }
    Ok(())
}
