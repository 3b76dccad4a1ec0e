//! Names every request: the id that the client sends in `X-Request-Id`, or a new one, stands in the
//! answer, in every line of the log that the request causes, and in the causation of its events.

use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
    web,
};
use amoiq_events::Ambient;
use tracing::Instrument;

use crate::problem::Problem;

/// The longest id that is taken from a client, in bytes.
const MAX_ID_BYTES: usize = 128;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id.
#[derive(Debug, Clone)]
pub struct RequestId(pub Box<str>);

/// The outermost middleware.
///
/// # Errors
/// None of its own: what fails inside is answered as an error of the catalogue.
pub async fn trace<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(&request);
    let span = tracing::info_span!("request", request.id = %id);
    request.extensions_mut().insert(RequestId(id.clone()));
    let head = request.request().clone();
    let work = async move {
        let (method, path) = (head.method().clone(), head.match_pattern());
        let result = next.call(request).await.map(ServiceResponse::map_into_boxed_body);
        let response = result.unwrap_or_else(|error| framework_error(head, &error));
        let status = response.status().as_u16();
        let path = path.as_deref().unwrap_or("unknown");
        if response.status().is_server_error() {
            tracing::warn!(http.method = %method, http.route = path, http.status = status, "request failed");
        } else {
            tracing::debug!(http.method = %method, http.route = path, http.status = status, "request");
        }
        response
    };
    let mut response = work.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    Ok(response)
}

fn request_id(request: &ServiceRequest) -> Box<str> {
    let is_fine = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id.chars().all(|char| char.is_ascii_alphanumeric() || "-_.:/+=".contains(char))
    };
    let sent = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(is_fine);
    let new = || match request.app_data::<web::Data<Ambient>>() {
        Some(ambient) => ambient.uuid().to_string().into(),
        None => "unknown".into(),
    };
    sent.map_or_else(new, Into::into)
}

/// What the framework refuses itself (a path or a query that cannot be read) in the catalogue's form.
fn framework_error(request: actix_web::HttpRequest, error: &Error) -> ServiceResponse<BoxBody> {
    let problem = match error.as_response_error().status_code().as_u16() {
        400..=499 => Problem::field("request", "cannot be read"),
        _ => {
            tracing::error!(%error, "a request failed outside of its handler");
            Problem::Internal
        }
    };
    ServiceResponse::new(request, problem.error_response())
}
