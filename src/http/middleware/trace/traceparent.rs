//! W3C Trace Context: the trace that a request belongs to, so that its log lines are found by the caller's trace
//! (<https://www.w3.org/TR/trace-context/>).

use actix_web::http::header::HeaderMap;

use crate::telemetry::logging::request_lines::TraceId;

/// The header's name.
pub const HEADER: &str = "traceparent";

/// A request's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    trace: u128,
    /// The caller; `None` when the trace starts with this request.
    caller: Option<Caller>,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caller {
    /// The caller's span; never zero.
    span: u64,
    /// Bit 0: the caller records the trace.
    flags: u8,
}

impl TraceParent {
    /// The trace that a request names, if it has one valid header; otherwise a new trace with this id, as the standard
    /// requires.
    #[must_use]
    pub fn of(headers: &HeaderMap, new_id: impl FnOnce() -> u128) -> Self {
        let mut lines = headers.get_all(HEADER);
        let said = match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().and_then(Self::parse),
            _ => None,
        };
        said.unwrap_or_else(|| Self { trace: new_id().max(1), caller: None })
    }

    /// Reads a header. Of an unknown version, the part that version 00 defines is read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace = hexadecimal(parts.next()?, 32)?;
        let span = u64::try_from(hexadecimal(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hexadecimal(parts.next()?, 2)?).ok()?;
        let is_whole = version != 0 || parts.next().is_none();
        let is_good = version != 0xff && trace != 0 && span != 0 && is_whole;
        is_good.then_some(Self { trace, caller: Some(Caller { span, flags }) })
    }

    /// Makes a span a part of the trace for the span collector. Returns the trace that the span is part of: the collector
    /// chooses the id of a trace that starts here, and log lines have to name the same one.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn adopt(&self, span: &tracing::Span) -> TraceId {
        use opentelemetry::trace as otel;
        use opentelemetry::trace::TraceContextExt as _;
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        match self.caller {
            // A parent that does not exist would be missing in the trace for ever.
            None => {
                let context = span.context();
                let begun = context.span().span_context().trace_id();
                if begun == otel::TraceId::INVALID {
                    self.trace_id()
                } else {
                    TraceId(u128::from_be_bytes(begun.to_bytes()))
                }
            }
            Some(Caller { span: parent, flags }) => {
                let (trace, parent) = (otel::TraceId::from(self.trace), otel::SpanId::from(parent));
                let flags = otel::TraceFlags::new(flags);
                let remote = otel::SpanContext::new(trace, parent, flags, true, otel::TraceState::default());
                // A span that is not collected has no place for it.
                drop(span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)));
                self.trace_id()
            }
        }
    }

    /// The trace's id as in log lines: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }
}

/// Names a span for the span collector. A span that has started can be named in no other way: the field `otel.name` is read
/// when it starts.
#[cfg(feature = "otel")]
pub fn name(span: &tracing::Span, name: String) {
    use opentelemetry::trace::TraceContextExt as _;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    span.context().span().update_name(name);
}

/// Exactly this many digits, in lower case as the standard requires.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.caller, Some(Caller { span: 0x00f0_67aa_0ba9_02b7, flags: 1 }));
    }

    #[test]
    fn a_trace_that_starts_here_has_no_caller() {
        let parent = TraceParent::of(&HeaderMap::new(), || 0);
        assert_eq!(parent, TraceParent { trace: 1, caller: None });
    }

    #[test]
    fn the_known_part_of_a_later_version_is_read() {
        assert!(TraceParent::parse(&format!("cc{}-more", &GOOD[2..])).is_some());
        assert_eq!(TraceParent::parse(&format!("ff{}", &GOOD[2..])), None);
        assert_eq!(TraceParent::parse(&format!("{GOOD}-more")), None);
    }

    #[test]
    fn a_header_that_violates_the_standard_is_ignored() {
        for bad in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
