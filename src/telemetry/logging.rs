//! The log for operators: one line for each event, pretty on a terminal, JSON otherwise.
//!
//! A separate thread writes the lines from a bounded queue. A terminal or a pipe that is slow, full or closed loses lines,
//! but never holds up the service, its start or its stop. The start banner goes through the same queue, so it is complete
//! and in order, and it is JSON where the lines are. No line contains the text of a message, an e-mail address, a key or a
//! token. With the feature `otel`, spans are also sent to a collector (`logging/export.rs`).

use std::{
    io::{IsTerminal, Write},
    sync::mpsc,
    time::Duration,
};

use amoiq_events::Ambient;
use anyhow::{Context, bail, ensure};
use serde_json::json;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
#[cfg(feature = "otel")]
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::format,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};

/// How many lines may wait for the writer. Further lines are lost.
const QUEUE_LINES: usize = 16_384;

/// The levels that `log.level` takes.
const LEVELS: &str = "off, error, warn, info, debug, trace";

#[cfg(feature = "otel")]
mod export;
pub mod request_lines;

use request_lines::RequestLines;

/// How long the last lines may take when the service stops. A working reader takes them within a few milliseconds, and a
/// blocked one is not waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// At `info`, the framework logs how many threads it starts, which does not help an operator.
const WITHOUT_FRAMEWORK: &str = "actix_server=warn,actix_http::h1::dispatcher=off";

/// The framework logs an error for each request that it cannot parse, so anybody could fill the log. These requests are
/// counted instead (`amoiq_tcp_connections_ended_total`).
const WITHOUT_PARSER: &str = "actix_http::h1::dispatcher=off";

/// The log while it is in use. Dropping it writes the queued lines.
pub struct LoggingGuard {
    lines: NonBlocking,
    is_pretty: bool,
    writing: Option<WorkerGuard>,
    #[cfg(feature = "otel")]
    spans: Option<export::TraceExport>,
}

/// Counts the lines and spans that were lost.
#[derive(Debug, Clone)]
pub struct TelemetryLosses {
    lines: ErrorCounter,
    #[cfg(feature = "otel")]
    spans: Option<export::SpanCounts>,
}

impl TelemetryLosses {
    /// How many lines were lost because the queue was full.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.dropped_lines()
    }

    /// How many spans had each outcome; `None` if no spans are sent.
    #[must_use]
    pub fn spans(&self) -> Option<[(&'static str, u64); 3]> {
        #[cfg(feature = "otel")]
        return self.spans.as_ref().map(export::SpanCounts::outcomes);
        #[cfg(not(feature = "otel"))]
        None
    }
}

/// What is printed once the service is ready, whatever `log.level` is.
pub struct StartBanner {
    /// The address of the service.
    pub message: String,
    /// How to try the demo tenant, in several lines, if there is one.
    pub demo: Option<String>,
}

/// Starts logging to standard output. Dropping the guard writes the queued lines.
///
/// # Errors
/// When `log.level` is not a filter, logging has started already, or spans cannot be sent.
pub fn start(settings: &LogConfig) -> anyhow::Result<LoggingGuard> {
    let filter = filter(&settings.level)?;
    let queue = NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES).lossy(true);
    let (lines, writing) = queue.finish(std::io::stdout());
    let is_pretty = match settings.format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let written = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(lines.clone());
    let logging = LoggingGuard {
        lines,
        is_pretty,
        writing: Some(writing),
        #[cfg(feature = "otel")]
        spans: export::TraceExport::start()?,
    };
    if is_pretty {
        let lines = format().with_ansi(std::io::stdout().is_terminal());
        logging.begin(written.event_format(RequestLines::text(lines)).finish().with(filter))?;
    } else {
        let lines = format().json().flatten_event(true).with_span_list(false).with_current_span(false);
        let written = written.json().event_format(RequestLines::json(lines));
        logging.begin(written.finish().with(filter))?;
    }
    log_panics();
    #[cfg(not(feature = "otel"))]
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        tracing::warn!(
            "OTEL_EXPORTER_OTLP_ENDPOINT is ignored: this program was built without `--features otel`"
        );
    }
    Ok(logging)
}

/// Checks whether logging would start with these settings.
///
/// # Errors
/// When `log.level` is not a filter.
pub fn check(settings: &LogConfig) -> anyhow::Result<()> {
    filter(&settings.level).map(|_| ())
}

impl LoggingGuard {
    #[cfg(feature = "otel")]
    fn begin<S>(&self, lines: S) -> anyhow::Result<()>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
    {
        let spans = self.spans.as_ref().map(export::TraceExport::layer);
        lines.with(spans).try_init().context("logging cannot start")
    }

    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unused_self, reason = "with spans it is used")]
    fn begin<S>(&self, lines: S) -> anyhow::Result<()>
    where
        S: tracing::Subscriber + Send + Sync + 'static,
    {
        lines.try_init().context("logging cannot start")
    }

    /// The counters of lost lines and spans, for the metrics.
    #[must_use]
    pub fn losses(&self) -> TelemetryLosses {
        TelemetryLosses {
            lines: self.lines.error_counter(),
            #[cfg(feature = "otel")]
            spans: self.spans.as_ref().map(export::TraceExport::counts),
        }
    }

    /// Prints the start banner after the lines before it.
    pub fn show_banner(&self, StartBanner { message, demo }: &StartBanner) {
        let text = if self.is_pretty {
            let demo = demo.as_ref().map(|demo| format!("{demo}\n")).unwrap_or_default();
            format!("{message}\n{demo}")
        } else {
            let timestamp = Ambient::system().now();
            let mut line =
                json!({ "timestamp": timestamp, "level": "INFO", "message": message, "target": "amoiq" });
            if let (Some(line), Some(demo)) = (line.as_object_mut(), demo) {
                line.insert("demo".to_owned(), json!(demo));
            }
            format!("{line}\n")
        };
        // The queue takes it as a whole, or loses it like any other line.
        drop(self.lines.clone().write_all(text.as_bytes()));
    }
}

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        // With a full queue, dropping the writer would wait for standard output.
        let writing = self.writing.take();
        let (ended, waits) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            drop(writing);
            let _stopped_waiting = ended.send(());
        });
        let _lost = waits.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// The filter of lines. The library takes a word that is not a level as the name of a module, and logs only that module.
/// Nobody who writes `warning` means that.
fn filter(level: &str) -> anyhow::Result<Targets> {
    let directives = || level.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    ensure!(directives().next().is_some(), "log.level is empty, and must be one of {LEVELS}");
    // A word with `::` is meant as a module.
    if let Some(word) = directives().find(|directive| !directive.contains(['=', ':'])) {
        let is_level = word.parse::<LevelFilter>().is_ok();
        ensure!(is_level, "log.level is `{word}`, and must be one of {LEVELS}");
    }
    // The library takes any text as a module, which then does not exist, so that the directive has no effect.
    if let Some(wrong) = directives().find(|directive| !is_module(directive.split('=').next())) {
        bail!(
            "log.level has `{wrong}`, and must have levels, or modules with levels such as amoiq::http=debug"
        );
    }
    let general = directives().find_map(|directive| directive.parse::<LevelFilter>().ok());
    let is_verbose = general.is_some_and(|general| general > LevelFilter::WARN);
    // These come first, so that the setting can override them.
    let framework = if is_verbose { WITHOUT_FRAMEWORK } else { WITHOUT_PARSER };
    let directives: Vec<_> = framework.split(',').chain(directives()).collect();
    directives.join(",").parse().context("log.level")
}

fn is_module(name: Option<&str>) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | ':');
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_part))
}

/// Logs panics like any other failure, or on standard error if the filter lets no errors through.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("unknown");
        report_panic(&place, reason, &mut std::io::stderr());
    }));
}

fn report_panic(place: &str, reason: &str, otherwise: &mut dyn Write) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(panic.place = place, panic.reason = reason, "a defect: a task panicked");
    } else {
        // If standard error is closed, nobody reads the message.
        drop(writeln!(otherwise, "amoiq: a defect: a task panicked at {place}: {reason}"));
    }
}

#[cfg(test)]
mod tests;
