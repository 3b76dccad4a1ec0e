//! Names the request in every log line that it causes.
//!
//! A span would do the same, but it is formatted and registered for each request, also when the request logs nothing. What is
//! here costs a request nothing until a line is written.

use std::{fmt, rc::Rc};

use serde_json::json;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

tokio::task_local! {
    static SERVED: ServedRequest;
}

/// The request that a task serves.
#[derive(Debug, Clone)]
pub struct ServedRequest {
    /// `X-Request-Id`.
    pub id: Rc<str>,
    /// The trace that it is part of.
    pub trace: TraceId,
}

impl ServedRequest {
    /// Serves it: the lines of `work` name it.
    pub async fn serve<F: Future>(self, work: F) -> F::Output {
        SERVED.scope(self, work).await
    }
}

/// The id of a trace, shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Formats lines as `lines` does, and adds the request to those that it causes.
pub struct RequestLines<F> {
    lines: F,
    is_json: bool,
}

impl<F> RequestLines<F> {
    /// For lines of text.
    pub fn text(lines: F) -> Self {
        Self { lines, is_json: false }
    }

    /// For lines that are JSON objects.
    pub fn json(lines: F) -> Self {
        Self { lines, is_json: true }
    }

    /// How a line ends without the request.
    fn end(&self) -> &'static str {
        if self.is_json { "}\n" } else { "\n" }
    }

    /// How it ends with the request.
    fn end_with(&self, ServedRequest { id, trace }: &ServedRequest) -> String {
        if self.is_json {
            let span = json!({ "name": "request", "request.id": id, "trace.id": trace.to_string() });
            format!(",\"span\":{span}}}\n")
        } else {
            format!(" request.id={id} trace.id={trace}\n")
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for RequestLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Outside of requests there is none.
        let Ok(end) = SERVED.try_with(|request| self.end_with(request)) else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.strip_suffix(self.end()).unwrap_or(&line))?;
        writer.write_str(&end)
    }
}
