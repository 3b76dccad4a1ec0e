//! W3C Trace Context: the trace that a request belongs to, so that its lines are found by the trace of
//! whoever sent it (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use actix_web::http::header::HeaderMap;

/// The header's name.
pub const HEADER: &str = "traceparent";

/// A request's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    pub trace: u128,
    /// The caller's span in it; never zero.
    pub span: u64,
    /// Bit 0: the caller records the trace.
    pub flags: u8,
    /// Whether the trace begins with this request.
    pub is_new: bool,
}

impl TraceParent {
    /// What a request says, when it says it once and rightly; otherwise a trace of its own, with this id, as
    /// the standard has it.
    #[must_use]
    pub fn of(headers: &HeaderMap, new_id: impl FnOnce() -> u128) -> Self {
        let mut lines = headers.get_all(HEADER);
        let said = match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok().and_then(Self::parse),
            _ => None,
        };
        said.unwrap_or_else(|| Self::begin(new_id()))
    }

    /// Reads a header. A version that is not known is read as far as version 00 goes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let trace = hexadecimal(parts.next()?, 32)?;
        let span = u64::try_from(hexadecimal(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hexadecimal(parts.next()?, 2)?).ok()?;
        let is_whole = version != 0 || parts.next().is_none();
        (version != 0xff && trace != 0 && span != 0 && is_whole).then_some(Self {
            trace,
            span,
            flags,
            is_new: false,
        })
    }

    fn begin(trace: u128) -> Self {
        // The caller has no span: any number that is not zero stands for it.
        let [.., a, b, c, d, e, f, g, h] = trace.to_be_bytes();
        let span = u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1);
        Self { trace: trace.max(1), span, flags: 0, is_new: true }
    }

    /// Makes a span part of the trace, for whoever collects spans.
    #[cfg(feature = "otel")]
    pub fn adopt(&self, span: &tracing::Span) {
        use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
        use tracing_opentelemetry::OpenTelemetrySpanExt;
        let (trace, parent) = (TraceId::from(self.trace), SpanId::from(self.span));
        // A trace that begins here is recorded: nobody else has decided about it.
        let flags = if self.is_new { TraceFlags::SAMPLED } else { TraceFlags::new(self.flags) };
        let remote = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // A span that nobody collects has no place for it.
        drop(span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)));
    }

    /// The trace's id as lines of the log have it: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }
}

/// The form that the header has.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags & 1)
    }
}

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Exactly so many digits; the standard has them in lower case.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_reads_back() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.to_string(), GOOD);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        assert!(TraceParent::parse(&format!("cc{}-more", &GOOD[2..])).is_some());
        assert_eq!(TraceParent::parse(&format!("ff{}", &GOOD[2..])), None);
        assert_eq!(TraceParent::parse(&format!("{GOOD}-more")), None);
    }

    #[test]
    fn what_is_not_by_the_standard_is_no_trace() {
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
