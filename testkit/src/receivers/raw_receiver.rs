//! A receiver over bare TCP. It reads a request and sends exactly the bytes that a test wrote.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

/// How much a flood writes at once.
const FLOOD_BYTES: usize = 64 * 1024;

/// What comes after the answer's bytes.
#[derive(Clone, Copy)]
pub enum AfterAnswer {
    /// The connection closes.
    Close,
    /// It stays open, and further requests are answered.
    Stay,
    /// It stays open, and nothing more is sent.
    Silence,
    /// These bytes again and again, as fast as they are taken.
    Flood(&'static [u8]),
    /// These bytes again and again, slowly.
    Drip(&'static [u8]),
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// Request line and headers, each on a line of its own.
    pub head: String,
    /// The body, as long as its header says.
    pub body: Vec<u8>,
}

impl RawRequest {
    /// A header, which must not be there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }
}

/// A receiver. It ends with the runtime that it was started on.
#[derive(Clone)]
pub struct RawReceiver {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<RawRequest>>>,
}

impl RawReceiver {
    /// Answers every request with these bytes.
    pub async fn answering(answer: impl Into<Vec<u8>>, then: AfterAnswer) -> Self {
        Self::at("127.0.0.1:0", answer, then).await
    }

    /// Takes every delivery, wherever on this machine it is sent to.
    pub async fn everywhere() -> Self {
        let has_ipv6 = TcpListener::bind("[::1]:0").await.is_ok();
        let address = if has_ipv6 { "[::]:0" } else { "0.0.0.0:0" };
        Self::at(address, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", AfterAnswer::Stay).await
    }

    /// Listens on an address, and answers every request with these bytes.
    pub async fn at(address: &str, answer: impl Into<Vec<u8>>, then: AfterAnswer) -> Self {
        Self::on(TcpListener::bind(address).await.expect("a free port"), answer, then)
    }

    /// The same on a listener that exists.
    pub fn on(listener: TcpListener, answer: impl Into<Vec<u8>>, then: AfterAnswer) -> Self {
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            connections: Arc::default(),
            ended: Arc::default(),
            requests: Arc::default(),
        };
        let (answer, serving) = (Arc::new(answer.into()), receiver.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (answer, serving) = (Arc::clone(&answer), serving.clone());
                tokio::spawn(async move {
                    let _broken = serving.serve(stream, &answer, then).await;
                    serving.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        receiver
    }

    /// Answers the requests of one connection.
    ///
    /// # Errors
    /// When the connection ends, as it does in the end.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        answer: &[u8],
        then: AfterAnswer,
    ) -> io::Result<()> {
        loop {
            let request = read_request(&mut stream).await?;
            self.requests.lock().expect("nobody panicked").push(request);
            stream.write_all(answer).await?;
            stream.flush().await?;
            match then {
                AfterAnswer::Close => return stream.shutdown().await,
                AfterAnswer::Stay => {}
                AfterAnswer::Silence => return stream.read_u8().await.map(drop),
                AfterAnswer::Flood(bytes) => {
                    // Much at once: what is tested is who reads it.
                    let many = bytes.repeat(1 + FLOOD_BYTES / bytes.len());
                    loop {
                        stream.write_all(&many).await?;
                    }
                }
                AfterAnswer::Drip(bytes) => loop {
                    stream.write_all(bytes).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                },
            }
        }
    }

    /// Where deliveries are to be sent.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of them have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Every request that arrived, in order.
    pub fn requests(&self) -> Vec<RawRequest> {
        self.requests.lock().expect("nobody panicked").clone()
    }
}

/// Reads one request whose body has a length.
///
/// # Errors
/// When the connection ends before.
pub async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<RawRequest> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let mut request = RawRequest { head: String::from_utf8(head).expect("ASCII"), body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await?;
    Ok(request)
}
