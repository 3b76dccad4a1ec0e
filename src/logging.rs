//! What operators read: one line an event, pretty on a terminal, JSON otherwise.
//!
//! Lines are written by a thread of their own from a bounded queue: a terminal or a pipe that is slow
//! loses lines and never holds up the service. No line holds a message's text, an e-mail address, a
//! key or a token. With the feature `otel` spans go to a collector as well (`logging/export.rs`).

use std::io::{IsTerminal, Write};

use anyhow::{Context, ensure};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, util::SubscriberInitExt};
#[cfg(feature = "otel")]
use tracing_subscriber::{layer::SubscriberExt, registry::LookupSpan};

use crate::config::{Log, LogFormat};

/// How many lines wait for the writer; the ones that come then are lost.
const QUEUE_LINES: usize = 16_384;

/// What may stand alone in `log.level`.
const LEVELS: &str = "off, error, warn, info, debug, trace";

#[cfg(feature = "otel")]
mod export;
pub mod pace;

/// Writes what is queued when it is dropped.
pub struct Logging {
    _lines: WorkerGuard,
    #[cfg(feature = "otel")]
    _spans: Option<export::Exporting>,
}

/// Starts logging to standard output. What is queued is written when the guard is dropped.
///
/// # Errors
/// When `log.level` is not a filter, logging was started before, or spans cannot be sent.
pub fn start(settings: &Log) -> anyhow::Result<Logging> {
    let filter = filter(&settings.level)?;
    let queue = NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES).lossy(true);
    let (writer, guard) = queue.finish(std::io::stdout());
    let is_pretty = match settings.format {
        LogFormat::Auto => std::io::stdout().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = if is_pretty {
        begin(lines.with_ansi(std::io::stdout().is_terminal()).finish(), guard)
    } else {
        begin(lines.json().flatten_event(true).with_span_list(false).finish(), guard)
    };
    log_panics();
    started
}

#[cfg(feature = "otel")]
fn begin<S>(lines: S, guard: WorkerGuard) -> anyhow::Result<Logging>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    let spans = export::Exporting::start()?;
    let started = lines.with(spans.as_ref().map(export::Exporting::layer)).try_init();
    started.context("logging cannot start")?;
    Ok(Logging { _lines: guard, _spans: spans })
}

#[cfg(not(feature = "otel"))]
fn begin<S>(lines: S, guard: WorkerGuard) -> anyhow::Result<Logging>
where
    S: tracing::Subscriber + Send + Sync + 'static,
{
    lines.try_init().context("logging cannot start")?;
    Ok(Logging { _lines: guard })
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
    EnvFilter::try_new(level).context("log.level")
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
