//! A request on its connection: the watch is told where it starts and where its answer is complete, and its body is read
//! within a size limit and at a minimum speed.

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use actix_web::{
    HttpRequest,
    dev::ServiceRequest,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    web::{Bytes, BytesMut, Payload},
};
use futures_core::Stream;
use tokio::time::{Instant, timeout_at};

use super::{
    connection_limits::EndReason,
    connection_watch::{BodyLength, ConnectionWatch, deadline},
};

/// How long a body may take, plus a second for every [`super::connection_watch::RATE`] bytes received.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request on its way through the application, held by its outermost middleware. Dropping it marks the request as
/// answered.
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

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is over the limit.
    TooLarge,
    /// It arrived too slowly.
    TooSlow,
    /// It ended early.
    Broken,
}

/// Whether a body is sent as it was written: nothing here decompresses.
#[must_use]
pub fn is_identity(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING);
    encodings.all(|encoding| {
        let mut codings = encoding.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    })
}

/// Reads the whole body. A phone's upload may take long as long as it makes progress; a client that sends single bytes
/// gets cut off.
///
/// # Errors
/// When it is too large, too slow or incomplete.
pub async fn read_body(
    request: &HttpRequest,
    mut payload: Payload,
    limit_bytes: usize,
) -> Result<Bytes, BodyError> {
    let started = Instant::now();
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let received = if all.is_empty() { first.len() } else { all.len() };
        let next = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx));
        let chunk = match timeout_at(deadline(started, PATIENCE, received as u64), next).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_broken))) => return Err(BodyError::Broken),
            Ok(None) => return Ok(if all.is_empty() { first } else { all.freeze() }),
            Err(_elapsed) => {
                if let Some(watch) = request.conn_data::<Rc<ConnectionWatch>>() {
                    watch.count(EndReason::SlowBody);
                }
                return Err(BodyError::TooSlow);
            }
        };
        if received + chunk.len() > limit_bytes {
            return Err(BodyError::TooLarge);
        }
        // Most bodies arrive in one piece, which need not be copied.
        if received == 0 {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use actix_web::{FromRequest, dev, error::PayloadError, test::TestRequest};

    use super::*;

    /// Reads a body that arrives as so many chunks of so many bytes, one each time.
    async fn read_slowly(bytes: usize, every: Duration, chunks: usize) -> Result<usize, BodyError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        actix_web::rt::spawn(async move {
            for _ in 0..chunks {
                tokio::time::sleep(every).await;
                if sender.send(Ok(Bytes::from(vec![b' '; bytes]))).await.is_err() {
                    return;
                }
            }
        });
        let stream: Pin<Box<dyn Stream<Item = _>>> = Box::pin(ChunkStream(receiver));
        let request = TestRequest::default().to_http_request();
        let mut payload = dev::Payload::Stream { payload: stream };
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        read_body(&request, payload, 1_000_000).await.map(|body| body.len())
    }

    struct ChunkStream(tokio::sync::mpsc::Receiver<Result<Bytes, PayloadError>>);

    impl Stream for ChunkStream {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(cx)
        }
    }

    #[actix_web::test]
    async fn a_body_may_be_slow_but_has_a_minimum_speed() {
        tokio::time::pause();
        let (second, count) = (Duration::from_secs(1), 60);
        assert_eq!(read_slowly(8 * 1024, second, count).await, Ok(8 * 1024 * count));
        assert_eq!(
            read_slowly(4 * 1024, second, 15).await,
            Ok(60 * 1024),
            "a phone's upload of a whole message"
        );
        assert_eq!(read_slowly(4 * 1024, second, count).await, Err(BodyError::TooSlow));
        assert_eq!(read_slowly(1, second, count).await, Err(BodyError::TooSlow));
        assert_eq!(read_slowly(500_001, second, 2).await, Err(BodyError::TooLarge));
        assert_eq!(read_slowly(1, second, 0).await, Ok(0));
    }
}
