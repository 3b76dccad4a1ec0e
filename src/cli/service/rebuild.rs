//! `amoiq rebuild`: rebuilds read models from the whole log.
//!
//! A running service does the work itself when the operator interface asks for it. This command then only shows the
//! progress, and another `amoiq rebuild --status` or `--cancel` can take over after it has ended. If the service is
//! stopped, the command works on the files, under the lock of the store. In both cases the old read models are served
//! until the new ones are complete, and Ctrl-C leaves the old ones in place.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use amoiq_actors::{
    inbox::InboxProjection,
    projections::{Projection as _, RebuildOutcome, RebuildReport, ViewStore, rebuild},
};
use amoiq_events::{Ambient, EventLog, Position, store::sqlite::OpenError};
use anyhow::{Context, ensure};
use clap::Args;
use reqwest::Method;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::client::{ClientOptions, OperatorClient};
use crate::{
    api::{
        field::{Field, StringList},
        operator::rebuilds::{
            RebuildFailure, RebuildResponse, RebuildState, RebuildsResponse, StartRebuildRequest,
        },
    },
    cli::{
        block_on,
        output::{ProgressDisplay, cell, print_result, print_status},
    },
    config::{Config, StoreBackend},
    operator::rebuilds::{IN_MEMORY, NOTHING_TO_REBUILD},
    startup::open_log::{LogOpening, open_log},
};

/// How often a running service is asked for its progress.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long the command waits for another process that holds the store and is no service that answers.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it waits between two attempts to get the store.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// Rebuild read models from the whole log.
#[derive(Debug, Args)]
pub(crate) struct RebuildCommand {
    #[command(flatten)]
    options: ClientOptions,
    /// The read models: `inbox`.
    #[arg(value_name = "PROJECTION", required_unless_present_any = ["all", "status", "cancel"])]
    projections: Vec<String>,
    /// Rebuild all read models that are stored.
    #[arg(long, conflicts_with = "projections")]
    all: bool,
    /// Skip events that cannot be read, and list them as dead letters.
    #[arg(long)]
    skip: bool,
    /// Only show the progress of the running service's last rebuild.
    #[arg(long, conflicts_with_all = ["projections", "all", "skip"])]
    status: bool,
    /// Cancel the rebuild that the running service is making.
    #[arg(long, conflicts_with_all = ["projections", "all", "skip", "status"])]
    cancel: bool,
}

/// Runs the command. Exit code 0: the new read models are served. 1: nothing changed.
///
/// # Errors
/// When the rebuild could not start.
pub(crate) fn run(config: &Config, command: &RebuildCommand) -> anyhow::Result<ExitCode> {
    if command.status || command.cancel {
        let method = if command.cancel { Method::DELETE } else { Method::GET };
        let client = OperatorClient::find(config, &command.options)?;
        let state = of_inbox(client.request(method, &["rebuild"])?)?;
        client.show(&state, |state| Ok(describe(state)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if command.all {
        print_status(NOTHING_TO_REBUILD);
    }
    for name in &command.projections {
        ensure!(name != IN_MEMORY, NOTHING_TO_REBUILD);
        ensure!(
            name == InboxProjection::NAME,
            "`{name}` is not a projection: the only one is {}",
            InboxProjection::NAME
        );
    }
    let ambient = Ambient::system();
    let directory = &config.store.path;
    if config.store.backend == StoreBackend::Sqlite {
        let exists = directory.join("log.db").try_exists();
        let exists = exists.with_context(|| directory.display().to_string())?;
        ensure!(exists, "there is no store in {}", directory.display());
    }
    let rebuilt = match target(config, &command.options, &ambient)? {
        RebuildTarget::Files(opening) => block_on(on_files(config, opening, &ambient, command.skip))?,
        RebuildTarget::Service(service) => block_on(in_service(&service, command.skip))?,
    };
    show(&rebuilt, command.options.json)
}

/// Where the rebuild is made.
enum RebuildTarget {
    Files(LogOpening),
    /// Created and dropped outside of the asynchronous code: dropping it blocks.
    Service(Arc<OperatorClient>),
}

/// The files if no process holds them, otherwise the service. A service that is starting or stopping, and another
/// command on the files, are waited for.
fn target(config: &Config, options: &ClientOptions, ambient: &Ambient) -> anyhow::Result<RebuildTarget> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match open_log(&config.store, ambient, Duration::ZERO) {
            Ok(opening) => return Ok(RebuildTarget::Files(opening)),
            Err(error) if is_in_use(&error) => match OperatorClient::find(config, options) {
                Ok(service) => return Ok(RebuildTarget::Service(Arc::new(service))),
                Err(_not_there) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(unfound) => return Err(unfound.context(format!("{error:#}"))),
            },
            Err(error) => return Err(error),
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OpenError::InUse(..)))
}

/// Rebuilds on the files, which belong to this process now.
async fn on_files(
    config: &Config,
    opening: LogOpening,
    ambient: &Ambient,
    skip: bool,
) -> anyhow::Result<RebuildResponse> {
    let log: Arc<dyn EventLog> = opening.log.clone();
    let views = ViewStore::open(&config.store.path.join("views.db"))?;
    let (reports, mut following) = watch::channel(RebuildReport::started(log.head()));
    let skip = skip.then(|| ambient.now());
    let mut bar = ProgressDisplay::new(InboxProjection::NAME, log.events_after(Position::START));
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut work = std::pin::pin!(rebuild::<InboxProjection>(&views, &log, skip, &reports));
    let outcome = loop {
        tokio::select! {
            rebuilt = &mut work => {
                break rebuilt.map_or_else(|error| RebuildOutcome::of(&error), |()| RebuildOutcome::Done);
            }
            _ = interrupted.recv() => break RebuildOutcome::Cancelled,
            Ok(()) = following.changed() => {
                let position = following.borrow_and_update().position;
                bar.reach(log.events_after(Position::START).saturating_sub(log.events_after(position)));
            }
        }
    };
    bar.finish();
    reports.send_modify(|report| report.outcome = Some(outcome));
    Ok(RebuildResponse::new(InboxProjection::NAME, &reports.borrow()))
}

/// Has the running service rebuild.
async fn in_service(service: &Arc<OperatorClient>, skip: bool) -> anyhow::Result<RebuildResponse> {
    let request = StartRebuildRequest {
        projections: Field::Value(StringList(vec![InboxProjection::NAME.to_owned()])),
        skip: Field::Value(skip),
    };
    // Listens while requests are sent, too: Ctrl-C takes effect after the response.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let starting = move |service: &OperatorClient| service.send(Method::POST, &["rebuild"], &request);
    let mut state = ask(service, starting).await?;
    let mut bar = ProgressDisplay::new(InboxProjection::NAME, state.head.as_u64());
    while state.state == RebuildState::Running {
        let method = tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => Method::GET,
            _ = interrupted.recv() => Method::DELETE,
        };
        state = ask(service, move |service| service.request(method, &["rebuild"])).await?;
        bar.reach(state.position.as_u64());
    }
    bar.finish();
    Ok(state)
}

/// Sends a request on a thread that may block.
async fn ask(
    service: &Arc<OperatorClient>,
    request: impl FnOnce(&OperatorClient) -> anyhow::Result<RebuildsResponse> + Send + 'static,
) -> anyhow::Result<RebuildResponse> {
    let service = Arc::clone(service);
    of_inbox(tokio::task::spawn_blocking(move || request(&service)).await??)
}

/// The rebuild of the only projection that is stored.
fn of_inbox(response: RebuildsResponse) -> anyhow::Result<RebuildResponse> {
    let inbox = response.rebuilds.into_iter().find(|rebuild| rebuild.projection == InboxProjection::NAME);
    inbox.context("the service does not know the projection")
}

fn show(rebuild: &RebuildResponse, is_json: bool) -> anyhow::Result<ExitCode> {
    let is_done = rebuild.state == RebuildState::Done;
    if is_json {
        print_result(&serde_json::to_string_pretty(rebuild)?)?;
    } else if is_done {
        print_result(&describe(rebuild))?;
    }
    if !is_done {
        print_status(&describe(rebuild));
    }
    Ok(ExitCode::from(u8::from(!is_done)))
}

/// A rebuild for people.
fn describe(RebuildResponse { state, position, head, skipped, failure, .. }: &RebuildResponse) -> String {
    let reason = failure.as_ref().map_or_else(|| "-".to_owned(), |failure| cell(&failure.reason));
    match (state, failure) {
        (RebuildState::None, _) => "inbox: not rebuilt since the service started".to_owned(),
        (RebuildState::Running, _) => format!("inbox: at position {position} of {head}, {skipped} skipped"),
        (RebuildState::Done, _) => {
            format!("inbox: rebuilt up to position {position}, {skipped} events skipped")
        }
        (RebuildState::Cancelled, _) => "inbox: cancelled; nothing changed".to_owned(),
        (RebuildState::Stopped, Some(RebuildFailure { event: Some(event), .. })) => format!(
            "inbox: stopped at position {} ({}): {reason}\nNothing changed. `amoiq rebuild inbox --skip` skips such \
             events and lists them in `amoiq dead-letters`.",
            event.position,
            cell(&event.kind)
        ),
        (RebuildState::Stopped | RebuildState::Failed, _) => {
            format!("inbox: failed: {reason}; nothing changed")
        }
    }
}
