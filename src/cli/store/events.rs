//! `amoiq events`: prints the events of the log, one a line.
//!
//! The texts of messages are printed only with `--texts` or `--json`. Otherwise, whoever looks for an event would leave
//! what visitors wrote in the scrollback, or show it to others. `--json` and exports also contain the secrets of webhooks.

mod transfer;

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
    time::Duration,
};

use amoiq_events::{
    Event, EventLog, Position, RecordedEvent, SessionId, StreamName, TenantId, Version, codec,
    event::CATALOGUE,
    session::SessionEvent,
    store::{LogReader, line, sqlite::DamagePolicy, transfer::line_import::EndLinePolicy},
    stream::StreamKind,
};
use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{log_point::LogPoint, read_log::read_log};
use crate::{cli::block_on, config::StoreConfig};

/// How long `--follow` waits before it reads again.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Print, export or import events. Printing and exporting also work while the service runs.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EventsCommand {
    #[command(subcommand)]
    transfer: Option<TransferAction>,
    #[command(flatten)]
    listing: EventListing,
}

#[derive(Debug, Subcommand)]
enum TransferAction {
    /// Write every event as a line of JSON.
    Export {
        /// The file to create. It must not exist. Without it, the events go to standard output.
        file: Option<PathBuf>,
        /// Leave out damaged events and the later events of their streams, and list what was left out.
        #[arg(long)]
        skip_damaged: bool,
    },
    /// Fill an empty `store.path`, or an empty log in the database at `store.url`, with exported events.
    Import {
        /// The file to read. Without it, the events come from standard input.
        file: Option<PathBuf>,
        /// Accept an export of an older release, which does not end with the number of events.
        #[arg(long)]
        without_end: bool,
        /// Print what was imported as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct EventListing {
    /// Print events as they are appended, from now on or from `--from` on, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Only events of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Only events of this session.
    #[arg(long)]
    session: Option<String>,
    /// Only events of this type, for example `message.created`.
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    kind: Option<String>,
    /// Start at this position or time instead of the beginning of the log.
    #[arg(long, value_name = "POSITION|TIME")]
    from: Option<LogPoint>,
    /// Print at most this many events.
    #[arg(long)]
    limit: Option<u64>,
    /// Print each event as a line of JSON, with everything that is stored.
    #[arg(long)]
    json: bool,
    /// Also print the texts of messages.
    #[arg(long)]
    texts: bool,
}

/// The existing types. A misspelt type must be an error: it would match nothing.
fn types() -> PossibleValuesParser {
    CATALOGUE.iter().map(|known| known.name).collect::<Vec<_>>().into()
}

pub(crate) fn run(command: &EventsCommand, store: &StoreConfig) -> anyhow::Result<()> {
    match &command.transfer {
        Some(TransferAction::Export { file, skip_damaged }) => {
            let damage = if *skip_damaged { DamagePolicy::IsSkipped } else { DamagePolicy::Stops };
            transfer::export(store, file.as_deref(), damage)
        }
        Some(TransferAction::Import { file, without_end, json }) => {
            let end_line = if *without_end { EndLinePolicy::MayLack } else { EndLinePolicy::IsDemanded };
            transfer::import(store, file.as_deref(), end_line, *json)
        }
        None => {
            let log = read_log(store)?;
            let printed = block_on(command.listing.print(&*log));
            // The reader closed the pipe because it has seen enough.
            let is_enough = |error: &anyhow::Error| {
                error
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
            };
            printed.or_else(|error| if is_enough(&error) { Ok(()) } else { Err(error) })
        }
    }
}

impl EventListing {
    async fn print(&self, log: &dyn EventLog) -> anyhow::Result<()> {
        let filter = EventFilter::new(self)?;
        let after = match self.from {
            Some(point) => point.begin(log).await?,
            None if self.follow => log.head(),
            None => Position::START,
        };
        // The log may end before it.
        let first = match self.from {
            Some(LogPoint::Position(position)) => position,
            _ => Position::START,
        };
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut out = BufWriter::new(std::io::stdout().lock());
        // One session is read from its stream. Following needs the end of the log.
        let mut events = match filter.stream.clone().filter(|_| !self.follow) {
            Some(stream) => LogReader::stream(log, stream, Version::FIRST),
            None => LogReader::all(log, after),
        };
        while left > 0 {
            let Some(event) = events.next_event().await? else {
                out.flush()?;
                if !self.follow {
                    break;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            };
            if event.position > after && event.position >= first && filter.wants(&event) {
                writeln!(out, "{}", self.line(&event)?)?;
                left -= 1;
            }
        }
        Ok(out.flush()?)
    }

    fn line(&self, recorded: &RecordedEvent) -> anyhow::Result<String> {
        if self.json {
            return Ok(line::write(recorded)?);
        }
        let RecordedEvent { position, stream, version, event } = recorded;
        let (time, kind, actor, cause) = (event.time, &event.kind, &event.actor, &event.causation);
        let text = self.texts.then(|| text(recorded)).flatten().unwrap_or_default();
        Ok(format!("{position} {time} {stream} {version} {kind} by {actor} for {cause}{text}"))
    }
}

/// The text of a message, with control characters escaped.
fn text(recorded: &RecordedEvent) -> Option<String> {
    match codec::decode(recorded) {
        Ok(Event::Session(SessionEvent::MessageCreated(message))) => {
            Some(format!(" {:?}", message.text.as_str()))
        }
        _ => None,
    }
}

/// The events to print.
struct EventFilter {
    tenant: Option<TenantId>,
    session: Option<SessionId>,
    kind: Option<String>,
    /// The only stream that can contain such events, if there is only one.
    stream: Option<StreamName>,
}

impl EventFilter {
    fn new(listing: &EventListing) -> anyhow::Result<Self> {
        let tenant = listing.tenant.clone().map(TenantId::try_from).transpose()?;
        let session = listing.session.as_deref().map(SessionId::parse).transpose()?;
        let both = tenant.as_ref().zip(session.as_ref());
        let stream = both.map(|(tenant, session)| StreamName::session(tenant, session));
        Ok(Self { tenant, session, kind: listing.kind.clone(), stream })
    }

    fn wants(&self, event: &RecordedEvent) -> bool {
        let is_of_session = |session: &SessionId| matches!(event.stream.kind(), Some(StreamKind::Session(_, known)) if known == *session);
        self.kind.as_ref().is_none_or(|kind| *kind == event.event.kind)
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && self.tenant.as_ref().is_none_or(|tenant| event.stream.tenant_id().as_ref() == Some(tenant))
            && self.session.as_ref().is_none_or(is_of_session)
    }
}
