//! Tells a connection's watch where a request starts and where its answer is complete. The application's outermost
//! middleware holds the tracker.

use std::rc::Rc;

use actix_web::{
    dev::ServiceRequest,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
};

use super::connection_watch::{BodyLength, ConnectionWatch};

/// A request on its way through the application. Dropping it marks the request as answered.
pub struct RequestTracker(Option<Rc<ConnectionWatch>>);

impl RequestTracker {
    /// Starts when the request's head is complete. In tests a request may have no connection.
    #[must_use]
    pub fn start(request: &ServiceRequest) -> Self {
        let watch = request.conn_data::<Rc<ConnectionWatch>>().cloned();
        if let Some(watch) = &watch {
            watch.request_started(body_length(request.headers()));
        }
        Self(watch)
    }

    /// Whether the connection was admitted for health checks alone: it ends with the answer.
    #[must_use]
    pub fn is_for_health_checks(&self) -> bool {
        self.0.as_ref().is_some_and(|watch| watch.is_for_health_checks())
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

impl Drop for RequestTracker {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.request_answered();
        }
    }
}

fn body_length(headers: &HeaderMap) -> BodyLength {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return BodyLength::Chunked;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    BodyLength::Bytes(length.and_then(|length| length.trim().parse().ok()).unwrap_or_default())
}
