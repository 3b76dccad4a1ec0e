//! Where a request begins and where it is answered, told by the outermost middleware to the connection's watch.

use std::rc::Rc;

use actix_web::{
    HttpRequest,
    dev::ServiceRequest,
    http::{
        Method, StatusCode,
        header::{self, HeaderMap},
    },
};

use super::watch::{BodyLength, ConnectionWatch};

/// What is answered on a connection that has no descriptor of its own.
const HEALTH_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// A request on its way through the application. When it is dropped the request is answered.
pub struct Exchange(Option<Rc<ConnectionWatch>>);

impl Exchange {
    /// The request's head is here. In tests a request may come without a connection.
    #[must_use]
    pub fn begin(request: &ServiceRequest) -> Self {
        let watch = request.conn_data::<Rc<ConnectionWatch>>().cloned();
        if let Some(watch) = &watch {
            watch.begins(body_length(request.headers()));
        }
        Self(watch)
    }

    /// Whether the connection was let in for health checks alone: it ends with the answer.
    #[must_use]
    pub fn is_reserve(&self) -> bool {
        self.0.as_ref().is_some_and(|watch| watch.is_reserve())
    }

    /// The answer has this status.
    pub fn answered(&self, status: StatusCode) {
        if let Some(watch) = &self.0
            && status == StatusCode::SWITCHING_PROTOCOLS
        {
            watch.upgraded();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.answered();
        }
    }
}

/// Whether a request asks after the service's health.
#[must_use]
pub fn is_health_check(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && HEALTH_PATHS.contains(&request.path())
}

fn body_length(headers: &HeaderMap) -> BodyLength {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return BodyLength::Chunked;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    BodyLength::Bytes(length.and_then(|length| length.trim().parse().ok()).unwrap_or_default())
}
