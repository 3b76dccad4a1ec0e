//! `amoiq rebuild`: read models made again from the whole log.
//!
//! A running service does it itself, asked over its operator's interface; this then only shows how far it
//! is, and another `amoiq rebuild --status` or `--cancel` can take over when this one is gone. On the files of a
//! stopped one it is done here, under the store's lock. Either way what serves goes on until the new read models
//! are complete, and Ctrl-C leaves it as it is.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use amoiq_actors::{
    inbox::InboxProjection,
    projections::{Projection as _, RebuildOutcome, RebuildReport, ViewStore, rebuild},
};
use amoiq_events::{
    Ambient, EventStore, Position,
    store::sqlite::{OpenError, SqliteStore},
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::client::{ClientOptions, OperatorClient};
use crate::{
    cli::{
        block_on,
        output::{ProgressDisplay, print_result, print_status},
    },
    config::Config,
    operator::rebuilds::{IN_MEMORY, NOTHING_TO_REBUILD, report},
};

/// How often a running service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How long it waits for another process that has the store and does not answer for a service.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks whether that is over.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// Make read models again from the whole log.
#[derive(Debug, Args)]
pub(crate) struct RebuildCommand {
    #[command(flatten)]
    options: ClientOptions,
    /// Which: `inbox`.
    #[arg(value_name = "PROJECTION", required_unless_present_any = ["all", "status", "cancel"])]
    projections: Vec<String>,
    /// All that are kept.
    #[arg(long, conflicts_with = "projections")]
    all: bool,
    /// Pass events by that cannot be read, and list them as dead letters.
    #[arg(long)]
    skip: bool,
    /// Only show how far the running service's last one has come.
    #[arg(long, conflicts_with_all = ["projections", "all", "skip"])]
    status: bool,
    /// End the one that the running service makes.
    #[arg(long, conflicts_with_all = ["projections", "all", "skip", "status"])]
    cancel: bool,
}

/// Makes them again. Exit code 0: they serve, 1: not, nothing changed.
///
/// # Errors
/// When it could not begin.
pub(crate) fn run(config: &Config, command: &RebuildCommand) -> anyhow::Result<ExitCode> {
    if command.status || command.cancel {
        let method = if command.cancel { Method::DELETE } else { Method::GET };
        let service = OperatorClient::find(config, &command.options)?;
        let state = of_inbox(service.ask(method, &["rebuild"], None)?)?;
        print_result(&if command.options.json {
            serde_json::to_string_pretty(&state)?
        } else {
            told(&state)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if command.all {
        print_status(NOTHING_TO_REBUILD);
    }
    for name in &command.projections {
        ensure!(name != IN_MEMORY, NOTHING_TO_REBUILD);
        ensure!(
            name == InboxProjection::NAME,
            "`{name}` is no projection: there is {}",
            InboxProjection::NAME
        );
    }
    let ambient = Ambient::system();
    let log = config.store.path.join("log.db");
    let is_there = log.try_exists().with_context(|| log.display().to_string())?;
    ensure!(is_there, "there is no store in {}", config.store.path.display());
    let rebuilt = match target(config, &command.options, &ambient)? {
        RebuildTarget::Files(store) => block_on(on_files(config, store, &ambient, command.skip))?,
        RebuildTarget::Service(service) => block_on(over_service(&service, command))?,
    };
    show(&rebuilt, command.options.json)
}

/// Where it is done.
enum RebuildTarget {
    Files(Arc<SqliteStore>),
    /// Made and dropped where it is found: it may not be dropped where nothing blocks.
    Service(Arc<OperatorClient>),
}

/// On the files when nobody has them, else by the service. One that is starting or stopping, and another command on
/// the files, are waited for.
fn target(config: &Config, options: &ClientOptions, ambient: &Ambient) -> anyhow::Result<RebuildTarget> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match SqliteStore::open(&config.store.path, ambient) {
            Ok(store) => return Ok(RebuildTarget::Files(Arc::new(store))),
            Err(error @ OpenError::InUse(..)) => match OperatorClient::find(config, options) {
                Ok(service) => return Ok(RebuildTarget::Service(Arc::new(service))),
                Err(_not_there) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(unfound) => return Err(unfound.context(error)),
            },
            Err(error) => {
                return Err(error).with_context(|| format!("store.path {}", config.store.path.display()));
            }
        }
    }
}

/// On the files, which are this process's now.
async fn on_files(
    config: &Config,
    store: Arc<SqliteStore>,
    ambient: &Ambient,
    skip: bool,
) -> anyhow::Result<Value> {
    let log: Arc<dyn EventStore> = Arc::clone(&store) as _;
    let views = ViewStore::open(&config.store.path.join("views.db"))?;
    let (reports, mut following) = watch::channel(RebuildReport::started(log.head()));
    let skip = skip.then(|| ambient.now());
    let mut bar = ProgressDisplay::new(InboxProjection::NAME, log.events_after(Position::START));
    let mut done = 0;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut work = std::pin::pin!(rebuild::<InboxProjection>(&views, &log, skip, &reports));
    let outcome = loop {
        tokio::select! {
            rebuilt = &mut work => break rebuilt.map_or_else(|error| RebuildOutcome::of(&error), |()| RebuildOutcome::Done),
            _ = interrupted.recv() => break RebuildOutcome::Cancelled,
            Ok(()) = following.changed() => {
                let position = following.borrow_and_update().position;
                let now = log.events_after(Position::START).saturating_sub(log.events_after(position));
                bar.advance(now.saturating_sub(done));
                done = now;
            }
        }
    };
    bar.finish();
    reports.send_modify(|report| report.outcome = Some(outcome));
    Ok(report(InboxProjection::NAME, &reports.borrow()))
}

/// Has the running service do it.
async fn over_service(service: &Arc<OperatorClient>, command: &RebuildCommand) -> anyhow::Result<Value> {
    let order = json!({ "projections": [InboxProjection::NAME], "skip": command.skip });
    // Listens also while the service is asked: what is pressed then counts afterwards.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut state = ask(service, Method::POST, Some(order)).await?;
    let number = |state: &Value, field: &str| state.get(field).and_then(Value::as_u64).unwrap_or_default();
    let mut bar = ProgressDisplay::new(InboxProjection::NAME, number(&state, "head"));
    let mut done = 0;
    while text(&state, "state") == "running" {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => state = ask(service, Method::GET, None).await?,
            _ = interrupted.recv() => state = ask(service, Method::DELETE, None).await?,
        }
        bar.advance(number(&state, "position").saturating_sub(done));
        done = done.max(number(&state, "position"));
    }
    bar.finish();
    Ok(state)
}

/// Asks the service on a thread where waiting is no harm.
async fn ask(service: &Arc<OperatorClient>, method: Method, body: Option<Value>) -> anyhow::Result<Value> {
    let service = Arc::clone(service);
    let asked = tokio::task::spawn_blocking(move || service.ask(method, &["rebuild"], body.as_ref()));
    of_inbox(asked.await??)
}

/// What an answer says of the only projection that is kept.
fn of_inbox(mut answer: Value) -> anyhow::Result<Value> {
    let is_inbox = |state: &&mut Value| text(state, "projection") == InboxProjection::NAME;
    let states = answer.get_mut("rebuilds").and_then(Value::as_array_mut);
    let Some(state) = states.and_then(|states| states.iter_mut().find(is_inbox)) else {
        bail!("the service does not know the projection");
    };
    Ok(state.take())
}

fn show(state: &Value, is_json: bool) -> anyhow::Result<ExitCode> {
    let is_done = text(state, "state") == "done";
    if is_json {
        print_result(&serde_json::to_string_pretty(state)?)?;
    } else if is_done {
        print_result(&told(state))?;
    }
    if !is_done {
        print_status(&told(state));
    }
    Ok(ExitCode::from(u8::from(!is_done)))
}

/// A rebuild's state, for people. What served before one that failed serves on; there may be nothing that did.
fn told(state: &Value) -> String {
    let failure = state.get("failure").unwrap_or(&Value::Null);
    let number = |value: &Value, field: &str| value.get(field).and_then(Value::as_u64).unwrap_or_default();
    let (position, skipped) = (number(state, "position"), number(state, "skipped"));
    let reason = text(failure, "reason");
    match text(state, "state") {
        "none" => "inbox: none since the service started".to_owned(),
        "running" => format!("inbox: at position {position} of {}, {skipped} skipped", number(state, "head")),
        "done" => format!("inbox: rebuilt up to position {position}, {skipped} events skipped"),
        "cancelled" => "inbox: cancelled; nothing changed".to_owned(),
        "stopped" => format!(
            "inbox: stopped at position {} ({}): {reason}\nNothing changed. `amoiq rebuild inbox --skip` passes \
             such events by and lists them in `amoiq dead-letters`.",
            number(failure, "position"),
            text(failure, "type")
        ),
        _ => format!("inbox: failed: {reason}; nothing changed"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
