//! `amoiq rebuild`: read models made again from the whole log.
//!
//! A running service does it itself, asked over its operator's interface; this then only shows how far it
//! is. On the files of a stopped one it is done here, under the store's lock. Either way the old read
//! models serve until the new ones are complete, and Ctrl-C leaves them as they are.

use std::{process::ExitCode, sync::Arc, time::Duration};

use amoiq_actors::{
    Views,
    inbox::InboxProjection,
    projector::Projection as _,
    rebuild::{self, Outcome, Report},
};
use amoiq_events::{
    Ambient, EventStore,
    store::sqlite::{OpenError, SqliteStore},
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    operator::{Options, Service, say},
    progress::{self, Progress},
};
use crate::{
    config::Config,
    operator::rebuild::{IN_MEMORY, NOTHING_TO_REBUILD, report},
};

/// How often a running service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Make read models again from the whole log.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Which: `inbox`.
    #[arg(value_name = "PROJECTION", required_unless_present = "all")]
    projections: Vec<String>,
    /// All that are kept.
    #[arg(long, conflicts_with = "projections")]
    all: bool,
    /// Pass events by that cannot be read, and list them as dead letters.
    #[arg(long)]
    skip: bool,
}

/// Makes them again. Exit code 0: they serve, 1: not, the old ones do.
///
/// # Errors
/// When it could not begin.
pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.all {
        progress::say(NOTHING_TO_REBUILD);
    }
    for name in &arguments.projections {
        ensure!(name != IN_MEMORY, NOTHING_TO_REBUILD);
        ensure!(
            name == InboxProjection::NAME,
            "`{name}` is no projection: there is {}",
            InboxProjection::NAME
        );
    }
    let ambient = Ambient::system();
    ensure!(
        config.store.path.join("log.db").exists(),
        "there is no store in {}",
        config.store.path.display()
    );
    let rebuilt = match SqliteStore::open(&config.store.path, &ambient) {
        Ok(store) => super::block_on(on_files(config, Arc::new(store), &ambient, arguments.skip))?,
        Err(OpenError::InUse(_)) => {
            // Made and dropped here: it may not be dropped where nothing blocks.
            let service = Arc::new(Service::find(config, &arguments.options)?);
            super::block_on(over_service(&service, arguments))?
        }
        Err(error) => {
            return Err(error).with_context(|| format!("store.path {}", config.store.path.display()));
        }
    };
    show(&rebuilt, arguments.options.json)
}

/// On the files, which are this process's now.
async fn on_files(
    config: &Config,
    store: Arc<SqliteStore>,
    ambient: &Ambient,
    skip: bool,
) -> anyhow::Result<Value> {
    let log: Arc<dyn EventStore> = Arc::clone(&store) as _;
    let views = Views::open(&config.store.path.join("views.db"))?;
    let (reports, mut following) = watch::channel(Report::begun(log.head()));
    let skip = skip.then(|| ambient.now());
    let mut bar = Progress::new(InboxProjection::NAME, log.head().as_u64());
    let mut done = 0;
    let mut work = std::pin::pin!(rebuild::rebuild::<InboxProjection>(&views, &log, skip, &reports));
    let outcome = loop {
        tokio::select! {
            rebuilt = &mut work => break rebuilt.map_or_else(|error| Outcome::of(&error), |()| Outcome::Done),
            _ = tokio::signal::ctrl_c() => break Outcome::Cancelled,
            Ok(()) = following.changed() => {
                let position = following.borrow_and_update().position.as_u64();
                bar.advance(position.saturating_sub(done));
                done = position;
            }
        }
    };
    bar.finish();
    reports.send_modify(|report| report.outcome = Some(outcome));
    Ok(report(InboxProjection::NAME, &reports.borrow()))
}

/// Has the running service do it.
async fn over_service(service: &Arc<Service>, arguments: &Arguments) -> anyhow::Result<Value> {
    let names =
        if arguments.all { vec![InboxProjection::NAME.to_owned()] } else { arguments.projections.clone() };
    let order = json!({ "projections": names, "skip": arguments.skip });
    let mut state = ask(service, Method::POST, Some(order)).await?;
    let number = |state: &Value, field: &str| state.get(field).and_then(Value::as_u64).unwrap_or_default();
    let mut bar = Progress::new(InboxProjection::NAME, number(&state, "head"));
    let mut done = 0;
    while text(&state, "state") == "running" {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => state = ask(service, Method::GET, None).await?,
            _ = tokio::signal::ctrl_c() => state = ask(service, Method::DELETE, None).await?,
        }
        bar.advance(number(&state, "position").saturating_sub(done));
        done = done.max(number(&state, "position"));
    }
    bar.finish();
    Ok(state)
}

/// Asks the service on a thread where waiting is no harm.
async fn ask(service: &Arc<Service>, method: Method, body: Option<Value>) -> anyhow::Result<Value> {
    let service = Arc::clone(service);
    let asked = tokio::task::spawn_blocking(move || service.ask(method, &["rebuild"], body.as_ref()));
    let mut answer = asked.await??;
    let of_inbox = |state: &&mut Value| text(state, "projection") == InboxProjection::NAME;
    let states = answer.get_mut("rebuilds").and_then(Value::as_array_mut);
    let Some(state) = states.and_then(|states| states.iter_mut().find(of_inbox)) else {
        bail!("the service does not know the projection");
    };
    Ok(state.take())
}

fn show(state: &Value, is_json: bool) -> anyhow::Result<ExitCode> {
    if is_json {
        say(&serde_json::to_string_pretty(state)?)?;
    }
    let failure = state.get("failure").unwrap_or(&Value::Null);
    let (position, skipped) = (state.get("position"), state.get("skipped"));
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
    let reason = text(failure, "reason");
    let is_done = text(state, "state") == "done";
    let told = match text(state, "state") {
        "done" => {
            format!("inbox: rebuilt up to position {}, {} events skipped", number(position), number(skipped))
        }
        "cancelled" => "inbox: cancelled; the old one serves".to_owned(),
        "stopped" => format!(
            "inbox: stopped at position {} ({}): {reason}\nThe old one serves. `amoiq rebuild inbox --skip` passes \
             such events by and lists them in `amoiq dead-letters`.",
            number(failure.get("position")),
            text(failure, "type")
        ),
        _ => format!("inbox: failed: {reason}; the old one serves"),
    };
    match (is_done, is_json) {
        (true, false) => say(&told)?,
        (true, true) => {}
        (false, _) => progress::say(&told),
    }
    Ok(ExitCode::from(u8::from(!is_done)))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
