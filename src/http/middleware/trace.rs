//! Gives every request an id and counts it. The id that the client sends in `X-Request-Id`, or a new one, is in the answer,
//! in every log line that the request causes, and in the causation of its events. The lines also name the trace that the
//! request is part of ([`traceparent`]).

use std::{rc::Rc, time::Instant};

use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use amoiq_connections::RequestTracker;
use amoiq_events::Ambient;
#[cfg(feature = "otel")]
use tracing::{Instrument, field};

use self::traceparent::TraceParent;
use crate::http::health::is_health_check;
use crate::{
    api::problem::Problem,
    telemetry::{
        logging::request_lines::ServedRequest,
        metrics::{WorkerMeter, requests::NO_ROUTE},
    },
};

pub mod traceparent;

/// The longest id that is taken from a client, in bytes.
const MAX_ID_BYTES: usize = 128;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The length of an id that the service makes, in bytes.
const UUID_BYTES: usize = 36;

/// A request's id.
#[derive(Debug, Clone)]
pub struct RequestId(pub Rc<str>);

/// The outermost middleware.
///
/// # Errors
/// Those of the inner service.
pub async fn trace<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let tracker = RequestTracker::start(&request);
    let (id, number) = request_id(&request);
    let parent = TraceParent::of(request.headers(), || number.unwrap_or_else(|| new_number(&request)));
    request.extensions_mut().insert(RequestId(Rc::clone(&id)));
    let may_be_served = !tracker.is_for_health_checks() || is_health_check(request.request());
    let work = async move {
        let response = if may_be_served {
            // Not cloned before: the router below needs the request for itself.
            next.call(request).await?.map_into_boxed_body()
        } else {
            request.into_response(Problem::Overloaded.error_response())
        };
        record(&response, started);
        Ok::<_, Error>(response)
    };
    #[cfg(feature = "otel")]
    let (work, trace) = {
        // The kind is one that a collector has to know when the span starts. The level is one that every filter lets through.
        let span =
            tracing::error_span!("request", otel.kind = "server", http.response.status_code = field::Empty);
        let trace = parent.adopt(&span);
        (work.instrument(span), trace)
    };
    #[cfg(not(feature = "otel"))]
    let trace = parent.trace_id();
    let mut response = ServedRequest { id: Rc::clone(&id), trace }.serve(work).await?;
    tracker.answered(response.status());
    if tracker.is_for_health_checks() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    // A cache would give one visitor's answer to the next, and a good health check after the service ended.
    if response.request().method() != Method::OPTIONS {
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    Ok(response)
}

/// The client's id, or a new one with the number that it is made from. The number also names a new trace, because each
/// random number is a system call.
fn request_id(request: &ServiceRequest) -> (Rc<str>, Option<u128>) {
    let is_fine = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id.chars().all(|char| char.is_ascii_alphanumeric() || "-_.:/+=".contains(char))
    };
    let sent = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(is_fine);
    match (sent, request.app_data::<web::Data<Ambient>>()) {
        (Some(id), _) => (id.into(), None),
        (None, Some(ambient)) => {
            let uuid = ambient.uuid();
            (Rc::from(&*uuid.hyphenated().encode_lower(&mut [0; UUID_BYTES])), Some(uuid.as_u128()))
        }
        (None, None) => ("unknown".into(), None),
    }
}

fn new_number(request: &ServiceRequest) -> u128 {
    let ambient = request.app_data::<web::Data<Ambient>>();
    ambient.map_or(1, |ambient| u128::from_le_bytes(ambient.bytes()))
}

/// Counts the request and logs one line for it: at `debug`, or at `warn` if it failed.
fn record(response: &ServiceResponse<BoxBody>, started: Instant) {
    let request = response.request();
    let pattern = request.match_pattern();
    let (method, route) = (request.method(), pattern.as_deref().unwrap_or(NO_ROUTE));
    let status = response.status().as_u16();
    if let Some(meter) = request.app_data::<WorkerMeter>() {
        meter.count(route, method, status, started.elapsed());
    }
    // Only a span collector uses these, and recording them costs time.
    #[cfg(feature = "otel")]
    {
        let span = tracing::Span::current();
        span.record("http.response.status_code", status);
        traceparent::name(&span, format!("{method} {route}"));
    }
    if response.status().is_server_error() {
        tracing::warn!(http.method = %method, http.route = route, http.status = status, "request failed");
    } else {
        tracing::debug!(http.method = %method, http.route = route, http.status = status, "request");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use actix_web::{App, HttpResponse, middleware::from_fn, test};
    use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

    use super::*;
    use crate::telemetry::logging::request_lines::RequestLines;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[actix_web::test]
    async fn a_line_names_its_request_whatever_level_is_logged() {
        let lines = Lines::default();
        let logging = tracing_subscriber::fmt().json().map_event_format(RequestLines::json);
        let logging = logging.with_max_level(LevelFilter::WARN);
        let _logging = tracing::subscriber::set_default(logging.with_writer(lines.clone()).finish());
        let failing = web::to(|| async { HttpResponse::InternalServerError().finish() });
        let app = App::new().wrap(from_fn(trace)).default_service(failing);
        let app = test::init_service(app).await;
        let request = test::TestRequest::get().insert_header((HEADER, "asked-for"));
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = request.insert_header((traceparent::HEADER, parent));
        test::call_service(&app, request.to_request()).await;
        let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line = told.lines().find(|line| line.contains("request failed")).unwrap();
        assert!(line.contains("\"request.id\":\"asked-for\""), "{line}");
        assert!(line.contains("\"trace.id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""), "{line}");
    }
}
