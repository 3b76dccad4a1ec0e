//! Takes connections over after an upgrade.
//!
//! actix-http keeps its dispatcher and both of its buffers as long as an upgraded connection lives. So a request that
//! asks for a websocket goes to an `UpgradeService`: the same application answers it, and if its handler left a
//! [`ConnectionTakeover`] beside a 101, that gets the bare stream and everything else of HTTP is dropped. Any other
//! answer is written as for every other request, and ends the connection.

use std::{
    future::{Future, poll_fn},
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use actix_codec::{Encoder, Framed};
use actix_http::{
    ConnectionType, Request, Response, StatusCode,
    body::{BodySize, BoxBody, MessageBody},
    h1,
};
use actix_service::Service;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

use super::{LINGER, WatchedStream};

/// How much of an answer is encoded before it is written.
const WRITE_BYTES: usize = 64 * 1024;

/// How much is read at once of what nobody wants.
const DISCARD_BYTES: usize = 4 * 1024;

/// What a handler leaves in the extensions of its 101 to get the connection.
pub struct ConnectionTakeover(Box<dyn FnOnce(TakenConnection)>);

impl ConnectionTakeover {
    /// Calls this on the worker of the connection, once the connection is free.
    #[must_use]
    pub fn new(take: impl FnOnce(TakenConnection) + 'static) -> Self {
        Self(Box::new(take))
    }
}

/// A connection without HTTP. It can move to another worker.
pub struct TakenConnection {
    /// The stream.
    pub tcp: TcpStream,
    /// The head of the 101, which is not written yet: it can go out with the first bytes that follow it.
    pub head: Bytes,
    /// What the client sent after its request.
    pub received: Bytes,
    /// Keeps the connection counted.
    pub lease: ConnectionLease,
}

/// Keeps a connection counted, by the listener, by its address and by its worker, until it is dropped: after the
/// stream.
pub struct ConnectionLease(#[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>);

impl ConnectionLease {
    /// The lease, and what ends with it.
    pub(super) fn new() -> (Self, oneshot::Receiver<()>) {
        let (lease, ended) = oneshot::channel();
        (Self(lease), ended)
    }
}

/// Answers the requests that ask for a websocket.
pub(super) struct UpgradeService<S, B> {
    application: Rc<S>,
    _body: PhantomData<B>,
}

impl<S, B> UpgradeService<S, B> {
    pub(super) fn new(application: Rc<S>) -> Self {
        Self { application, _body: PhantomData }
    }
}

type UpgradeRequest = (Request, Framed<WatchedStream, h1::Codec>);

impl<S, B> Service<UpgradeRequest> for UpgradeService<S, B>
where
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_http::Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Self::Error>>>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // An application of actix-web is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&self, (request, framed): UpgradeRequest) -> Self::Future {
        let answer = self.application.call(request);
        Box::pin(async move {
            let finished = match answer.await {
                Ok(response) => finish(framed, response.into()).await,
                Err(error) => finish(framed, error.into()).await,
            };
            if let Err(error) = finished {
                tracing::debug!(%error, "a connection failed");
            }
            Ok(())
        })
    }
}

/// Hands the connection over, or writes the answer and ends the connection.
async fn finish<B: MessageBody>(
    framed: Framed<WatchedStream, h1::Codec>,
    mut response: Response<B>,
) -> io::Result<()> {
    let mut parts = framed.into_parts();
    let takeover = response.extensions_mut().remove::<ConnectionTakeover>();
    if let Some(ConnectionTakeover(take)) = takeover
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        let head = (response.drop_body(), BodySize::None);
        parts.codec.encode(h1::Message::Item(head), &mut parts.write_buf)?;
        let (head, received) = (parts.write_buf.freeze(), Bytes::copy_from_slice(&parts.read_buf));
        let (lease, ended) = ConnectionLease::new();
        let tcp = parts.io.take_over(ended);
        take(TakenConnection { tcp, head, received, lease });
        return Ok(());
    }
    response.head_mut().set_connection_type(ConnectionType::Close);
    write(&mut parts.io, parts.codec, parts.write_buf, response).await?;
    parts.io.shutdown().await?;
    // The client may still be sending what nobody reads, and would lose the answer if the connection was closed at once.
    let _in_time = timeout(LINGER, discard(&mut parts.io)).await;
    Ok(())
}

/// Writes an answer.
async fn write<B: MessageBody>(
    stream: &mut WatchedStream,
    mut codec: h1::Codec,
    mut buffer: BytesMut,
    response: Response<B>,
) -> io::Result<()> {
    let (response, body) = response.into_parts();
    let size = body.size();
    codec.encode(h1::Message::Item((response, size)), &mut buffer)?;
    if !matches!(size, BodySize::None | BodySize::Sized(0)) {
        let mut body = pin!(body);
        while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(|error| io::Error::other(error.into().to_string()))?;
            codec.encode(h1::Message::Chunk(Some(chunk)), &mut buffer)?;
            if buffer.len() >= WRITE_BYTES {
                stream.write_all_buf(&mut buffer).await?;
            }
        }
        codec.encode(h1::Message::Chunk(None), &mut buffer)?;
    }
    stream.write_all_buf(&mut buffer).await?;
    stream.flush().await
}

/// Reads until the client closes its side.
///
/// # Errors
/// When the connection breaks.
pub async fn discard<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut read_once = |cx: &mut Context<'_>| {
        let mut bytes = [MaybeUninit::uninit(); DISCARD_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        Pin::new(&mut *stream).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    };
    while poll_fn(&mut read_once).await? > 0 {}
    Ok(())
}
