//! Reads a request's body, whatever it is: within a limit, and at the pace that is asked for. A phone's upload may
//! take its time as long as it goes on; a client that drips it is let go.

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use actix_web::{
    HttpRequest,
    web::{Bytes, BytesMut, Payload},
};
use futures_core::Stream;
use tokio::time::{Instant, timeout_at};

use super::{
    ledger::Ended,
    watch::{ConnectionWatch, paced},
};

/// How long a body may take; and a second more for every [`super::watch::RATE`] bytes that have come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLoss {
    /// It is over the limit.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// It ended early.
    Broken,
}

/// The whole body.
///
/// # Errors
/// When it is too large, too slow or broken off.
pub async fn whole(
    request: &HttpRequest,
    mut payload: Payload,
    limit_bytes: usize,
) -> Result<Bytes, BodyLoss> {
    let begun = Instant::now();
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let received = if all.is_empty() { first.len() } else { all.len() };
        let next = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx));
        let chunk = match timeout_at(paced(begun, PATIENCE, received as u64), next).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_broken))) => return Err(BodyLoss::Broken),
            Ok(None) => return Ok(if all.is_empty() { first } else { all.freeze() }),
            Err(_elapsed) => {
                if let Some(watch) = request.conn_data::<Rc<ConnectionWatch>>() {
                    watch.count(Ended::SlowBody);
                }
                return Err(BodyLoss::TooSlow);
            }
        };
        if received + chunk.len() > limit_bytes {
            return Err(BodyLoss::TooLarge);
        }
        // Most bodies come in one piece, which need not be copied.
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

    /// A body of so many chunks, one each time.
    async fn arriving(bytes: usize, every: Duration, chunks: usize) -> Result<usize, BodyLoss> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        actix_web::rt::spawn(async move {
            for _ in 0..chunks {
                tokio::time::sleep(every).await;
                if sender.send(Ok(Bytes::from(vec![b' '; bytes]))).await.is_err() {
                    return;
                }
            }
        });
        let stream: Pin<Box<dyn Stream<Item = _>>> = Box::pin(Chunks(receiver));
        let request = TestRequest::default().to_http_request();
        let mut payload = dev::Payload::Stream { payload: stream };
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        whole(&request, payload, 1_000_000).await.map(|body| body.len())
    }

    struct Chunks(tokio::sync::mpsc::Receiver<Result<Bytes, PayloadError>>);

    impl Stream for Chunks {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(cx)
        }
    }

    #[actix_web::test]
    async fn a_body_may_be_slow_but_not_as_slow_as_it_likes() {
        tokio::time::pause();
        let (second, count) = (Duration::from_secs(1), 60);
        assert_eq!(arriving(8 * 1024, second, count).await, Ok(8 * 1024 * count));
        assert_eq!(
            arriving(4 * 1024, second, 15).await,
            Ok(60 * 1024),
            "a phone's upload of a whole message"
        );
        assert_eq!(arriving(4 * 1024, second, count).await, Err(BodyLoss::TooSlow));
        assert_eq!(arriving(1, second, count).await, Err(BodyLoss::TooSlow));
        assert_eq!(arriving(500_001, second, 2).await, Err(BodyLoss::TooLarge));
        assert_eq!(arriving(1, second, 0).await, Ok(0));
    }
}
