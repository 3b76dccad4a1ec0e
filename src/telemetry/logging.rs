//! What operators read: one line an event, pretty on a terminal, JSON otherwise.
//!
//! Lines are written by a thread of their own from a bounded queue: a terminal or a pipe that is slow, full or closed
//! loses lines and never holds up the service, neither its start nor its end. The greeting goes the same way, so
//! that it is whole and in its place, and is JSON where the lines are. No line holds a message's text, an e-mail address, a
//! key or a token. With the feature `otel` spans go to a collector as well (`logging/export.rs`).

use std::{
    io::{IsTerminal, Write},
    sync::mpsc,
    time::Duration,
};

use amoiq_events::Ambient;
use anyhow::{Context, ensure};
use serde_json::json;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, util::SubscriberInitExt};
#[cfg(feature = "otel")]
use tracing_subscriber::{layer::SubscriberExt, registry::LookupSpan};

use crate::config::{LogConfig, LogFormat};

/// How many lines wait for the writer; the ones that come then are lost.
const QUEUE_LINES: usize = 16_384;

/// What may stand alone in `log.level`.
const LEVELS: &str = "off, error, warn, info, debug, trace";

#[cfg(feature = "otel")]
mod export;

/// How long the last lines may take when the service stops: a reader that is well takes them in a few milliseconds,
/// and one that stands still is not waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// The framework says at `info` how many threads it starts; that is nothing to an operator.
const WITHOUT_FRAMEWORK: &str = "actix_server=warn,actix_http::h1::dispatcher=off";

/// Of a request that it cannot parse it makes an error, which anybody could fill the log with. They are counted
/// (`amoiq_tcp_connections_ended_total`).
const WITHOUT_PARSER: &str = "actix_http::h1::dispatcher=off";

/// Where lines go; what is queued is written when it is dropped.
pub struct LoggingGuard {
    lines: NonBlocking,
    is_pretty: bool,
    writing: Option<WorkerGuard>,
    #[cfg(feature = "otel")]
    spans: Option<export::TraceExport>,
}

/// Counts what was lost on its way to whoever reads it.
#[derive(Debug, Clone)]
pub struct TelemetryLosses {
    lines: ErrorCounter,
    #[cfg(feature = "otel")]
    spans: Option<export::SpanCounts>,
}

impl TelemetryLosses {
    /// How many lines found the queue full.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.dropped_lines()
    }

    /// What became of spans, by outcome; nothing where none are sent.
    #[must_use]
    pub fn spans(&self) -> Option<[(&'static str, u64); 3]> {
        #[cfg(feature = "otel")]
        return self.spans.as_ref().map(export::SpanCounts::outcomes);
        #[cfg(not(feature = "otel"))]
        None
    }
}

/// What is said once the service serves, whatever `log.level` is.
pub struct StartBanner {
    /// Where it is.
    pub message: String,
    /// How to try it, in several lines; where there is a demo.
    pub demo: Option<String>,
}

/// Starts logging to standard output. What is queued is written when the guard is dropped.
///
/// # Errors
/// When `log.level` is not a filter, logging was started before, or spans cannot be sent.
pub fn start(settings: &LogConfig) -> anyhow::Result<LoggingGuard> {
    let filter = filter(&settings.level)?;
    let queue = NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES).lossy(true);
    let (lines, writing) = queue.finish(std::io::stdout());
    let is_pretty = match settings.format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let written = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    let logging = LoggingGuard {
        lines,
        is_pretty,
        writing: Some(writing),
        #[cfg(feature = "otel")]
        spans: export::TraceExport::start()?,
    };
    if is_pretty {
        logging.begin(written.with_ansi(std::io::stdout().is_terminal()).finish())?;
    } else {
        logging.begin(written.json().flatten_event(true).with_span_list(false).finish())?;
    }
    log_panics();
    #[cfg(not(feature = "otel"))]
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        tracing::warn!(
            "OTEL_EXPORTER_OTLP_ENDPOINT: no spans are sent, this program was built without `--features otel`"
        );
    }
    Ok(logging)
}

/// Whether logging would start with these settings.
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
    #[expect(clippy::unused_self, reason = "with spans there is more to begin")]
    fn begin<S>(&self, lines: S) -> anyhow::Result<()>
    where
        S: tracing::Subscriber + Send + Sync + 'static,
    {
        lines.try_init().context("logging cannot start")
    }

    /// What is lost: for the metrics.
    #[must_use]
    pub fn losses(&self) -> TelemetryLosses {
        TelemetryLosses {
            lines: self.lines.error_counter(),
            #[cfg(feature = "otel")]
            spans: self.spans.as_ref().map(export::TraceExport::counts),
        }
    }

    /// Says where the service is, after the lines that came before.
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
        // The queue takes it whole, or loses it like any other line.
        drop(self.lines.clone().write_all(text.as_bytes()));
    }
}

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        // The writer's own end would wait for standard output where the queue is full.
        let writing = self.writing.take();
        let (ended, waits) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            drop(writing);
            let _stopped_waiting = ended.send(());
        });
        let _lost = waits.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// What lines there are. To the library, a word that is no level is a part of the program, whose lines are the only
/// ones then; nobody who writes `warning` means that.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let mut directives = level.split(',').map(str::trim).filter(|directive| !directive.is_empty()).peekable();
    ensure!(directives.peek().is_some(), "log.level: nothing stands where {LEVELS} should");
    // A path is meant as one.
    if let Some(word) = directives.find(|directive| !directive.contains(['=', ':'])) {
        let is_level = word.parse::<LevelFilter>().is_ok();
        ensure!(is_level, "log.level: `{word}` is none of {LEVELS}");
    }
    let general = level.split(',').find_map(|directive| directive.trim().parse::<LevelFilter>().ok());
    let is_told_more = general.is_some_and(|general| general > LevelFilter::WARN);
    // They come first: what the setting says of the framework by name counts.
    let framework = if is_told_more { WITHOUT_FRAMEWORK } else { WITHOUT_PARSER };
    EnvFilter::try_new(format!("{framework},{level}")).context("log.level")
}

/// A panic is a line of the log like any other failure, and where the filter lets none through, of standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("unknown");
        tell(&place, reason, &mut std::io::stderr());
    }));
}

fn tell(place: &str, reason: &str, otherwise: &mut dyn Write) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(panic.place = place, panic.reason = reason, "a defect: a task panicked");
    } else {
        // Nowhere is left to say that standard error is closed.
        drop(writeln!(otherwise, "amoiq: a defect: a task panicked at {place}: {reason}"));
    }
}

#[cfg(test)]
mod tests;
