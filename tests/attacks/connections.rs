//! Attacks with connections: more than there are descriptors, and each in a state in which the service waits for it.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use amoiq_testkit::{OperatorClient, SECRET_KEY, TestApp};
use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    attack::{Outcome, Stage},
    client::{Client, Opened},
    crowd::{crowd, source},
};

/// As many files as the service may have open in [`half_heads`].
pub const FILES: usize = 512;

/// As many in [`all_busy`]: few enough that the service's own files count.
pub const FEW_FILES: usize = 256;

/// For how long connections are held, and made again when they are ended.
const SIEGE: Duration = Duration::from_secs(15);

/// How long somebody new waits for an answer on a machine that has other things to do.
const SERVED: Duration = Duration::from_secs(5);

/// The deadline of a head, of a body after its answer and of an answer, and some time more.
const AT_MOST: Duration = Duration::from_secs(20);

/// Less than that deadline.
const AT_LEAST: Duration = Duration::from_secs(8);

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: amoiq\r\n\r\n";

const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: amoiq\r\nX: ";

/// Connections that ask for something and then send half of a second request: more than there are descriptors, on the
/// service's port and on the operator's. Whoever else comes is served.
pub async fn half_heads(stage: &Stage) -> anyhow::Result<Outcome> {
    let (operator, token) = operator_of(&stage.server);
    let (service, count) = (stage.server.socket_address(), FILES + 100);
    let until = Instant::now() + SIEGE;
    let siege = tokio::spawn(async move {
        let targets = move |number| if number % 5 == 0 { operator } else { service };
        crowd(count, count, move |number| half_head(targets(number), number, until)).await
    });
    while Instant::now() < until {
        asked(service, "/readyz", None).await.context("a visitor")?;
        asked(operator, "/operator/tenants", Some(&token)).await.context("an operator")?;
        sleep(Duration::from_millis(200)).await;
    }
    siege.await??;
    stage.all_sockets_are_closed(AT_MOST).await?;
    Ok(Outcome::of(count))
}

/// Holds a connection with half a head, and makes another when it is ended.
async fn half_head(address: SocketAddr, number: usize, until: Instant) -> anyhow::Result<()> {
    while Instant::now() < until {
        let Ok(mut client) = Client::dial(address, source(number)).await else { continue };
        let begun = async {
            client.stream.write_all(HEALTH).await?;
            client.head().await?;
            client.stream.write_all(HALF).await?;
            anyhow::Ok(())
        };
        if begun.await.is_err() {
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        while Instant::now() < until
            && timeout(Duration::from_secs(1), client.stream.readable()).await.is_err()
        {
            if client.stream.write_all(b"a").await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Websockets on every descriptor that there is for clients. They are busy, so nobody is displaced: the service's health
/// is told all the same, operators are served, and others learn why they are not; also when half heads come on top.
pub async fn all_busy(stage: &Stage) -> anyhow::Result<Outcome> {
    let (address, (operator, token)) = (stage.server.socket_address(), operator_of(&stage.server));
    let mut sockets = Vec::new();
    let refused = loop {
        ensure!(sockets.len() < FEW_FILES, "there is no end");
        match Client::try_open(address, source(sockets.len()), "tenantId=demo").await? {
            Opened::WebSocket(client) => sockets.push(client),
            Opened::Refused(status, body) => break (status, body),
        }
    };
    ensure!(refused.0 == 503 && refused.1.contains("OVERLOADED"), "{refused:?}");
    ensure!(sockets.len() > FEW_FILES / 3, "only {} were served", sockets.len());
    for _ in 0..100 {
        asked(address, "/readyz", None).await.context("whoever looks after the service")?;
    }
    let halves = crowd(FEW_FILES, FEW_FILES, move |number| async move {
        let mut client =
            Client::dial(if number % 3 == 0 { operator } else { address }, source(number)).await?;
        client.stream.write_all(HALF).await?;
        Ok(client)
    });
    let halves = halves.await?;
    asked(address, "/readyz", None).await.context("whoever looks after the service beside half heads")?;
    asked(operator, "/operator/tenants", Some(&token)).await.context("an operator")?;
    drop(halves);
    let mut client = Client::dial(address, 9).await?;
    let (status, body) = client.request("GET", "/api/chat/messages?sessionId=s", b"").await?;
    ensure!(status == 503 && body.contains("OVERLOADED"), "{status} {body}");
    let outcome = Outcome::of(sockets.len());
    drop(sockets);
    stage.all_sockets_are_closed(AT_MOST).await?;
    asked(address, "/readyz", None).await?;
    Ok(outcome)
}

/// Somebody who has no connection yet asks for something, and gets it in time.
async fn asked(address: SocketAddr, target: &str, token: Option<&str>) -> anyhow::Result<()> {
    let asking = async {
        let mut client = Client::dial(address, 9).await?;
        let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("GET {target} HTTP/1.1\r\nHost: amoiq\r\n{token}\r\n");
        client.stream.write_all(request.as_bytes()).await?;
        let (status, body) = client.head().await?;
        ensure!(status == 200, "{target}: {status} {body}");
        Ok(())
    };
    timeout(SERVED, asking).await.with_context(|| format!("{target} is not answered"))?
}

/// One connection for each state in which the service waits for a client. All are ended in time, but for those that
/// only seem slow.
pub async fn slow_clients(stage: &Stage) -> anyhow::Result<Outcome> {
    let address = stage.server.socket_address();
    let operator = operator_of(&stage.server).0;
    fill_history(address).await?;
    let chunked = b"POST /webchat/message HTTP/1.1\r\nHost: amoiq\r\nTransfer-Encoding: chunked\r\n\r\n";
    let both = [HEALTH, HALF].concat();
    tokio::try_join!(
        // The first head, the second, one that came with the request before, and the same on the operator's port.
        ended("a first head", address, b"", HALF, b"a"),
        ended("silence", address, b"", b"", b""),
        ended("a second head", address, HEALTH, HALF, b"a"),
        ended("half a head at once", address, &both, b"", b""),
        ended("an operator's second head", operator, HEALTH, HALF, b"a"),
        ended("a body after its answer", address, chunked, b"", b"1\r\n \r\n"),
        ended("an operator's body after its answer", operator, chunked, b"", b"1\r\n \r\n"),
        slow_reader(address, operator),
        slow_upload(address),
        idle(address),
    )?;
    stage.all_sockets_are_closed(AT_MOST).await?;
    // Those of the history, and the phone's.
    Ok(Outcome { messages: MESSAGES as u64 + 1, ..Outcome::of(10) })
}

/// Sends a request and reads its answer, sends something more at once and then a bit of it again and again, until the
/// service ends the connection: not at once, and in time.
async fn ended(
    what: &str,
    address: SocketAddr,
    request: &[u8],
    more: &[u8],
    drip: &[u8],
) -> anyhow::Result<()> {
    let mut client = Client::dial(address, 1).await?;
    let since = Instant::now();
    if !request.is_empty() {
        client.stream.write_all(request).await?;
        client.head().await?;
    }
    client.stream.write_all(more).await?;
    let (mut reads, mut writes) = client.stream.into_split();
    let dripping = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            if writes.write_all(drip).await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let reading = async {
        let mut rest = Vec::new();
        // A connection that breaks is ended as well.
        drop(reads.read_to_end(&mut rest).await);
    };
    tokio::select! {
        () = reading => {}
        () = dripping => {}
        () = sleep(AT_MOST) => anyhow::bail!("{what} is waited for"),
    }
    ensure!(since.elapsed() > AT_LEAST, "{what} was ended after {:?}", since.elapsed());
    Ok(())
}

const MESSAGES: usize = 120;

const HISTORY: &str = "session-with-a-long-history";

/// Makes a history that no kernel's buffer holds.
async fn fill_history(address: SocketAddr) -> anyhow::Result<()> {
    let mut client = Client::dial(address, 1).await?;
    let text = "\u{20ac}".repeat(10_000);
    let body = format!(r#"{{"sessionId":"{HISTORY}","text":"{text}"}}"#);
    for _ in 0..MESSAGES {
        let (status, answer) = client.request("POST", "/webchat/message", body.as_bytes()).await?;
        ensure!(status == 200, "{status} {answer}");
    }
    Ok(())
}

/// Takes an answer at a fraction of the pace that is asked for.
async fn slow_reader(address: SocketAddr, operator: SocketAddr) -> anyhow::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut stream: TcpStream = socket.connect(address).await?;
    let request = format!(
        "GET /api/chat/messages?tenantId=demo&sessionId={HISTORY}&limit=500 HTTP/1.1\r\nHost: amoiq\r\n\
         Authorization: Bearer {SECRET_KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (since, mut some, mut bytes) = (Instant::now(), [0; 256], 0);
    let ended = async {
        loop {
            match stream.read(&mut some).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes += read,
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    // What the two kernels hold may be read on after the end, so the service is asked whether it ended it.
    let _ended = timeout(AT_MOST, ended).await;
    ensure!(bytes > 1_000, "it was not answered: {bytes} in {:?}", since.elapsed());
    let mut asking = Client::dial(operator, 1).await?;
    let (_, metrics) = asking.request("GET", "/metrics", b"").await?;
    let is_ended = metrics.contains("amoiq_tcp_connections_ended_total{reason=\"slow_reader\"} 1");
    ensure!(is_ended, "it is waited for: {bytes} bytes in {:?}", since.elapsed());
    drop(stream);
    Ok(())
}

/// A phone's upload: slower than ten seconds allow, but it goes on.
async fn slow_upload(address: SocketAddr) -> anyhow::Result<()> {
    const SIZE: usize = 60 * 1024;
    let mut client = Client::dial(address, 1).await?;
    let body = r#"{"sessionId":"session-of-a-phone","text":"from a phone","padding":""#;
    let body = format!("{body}{}\"}}", "x".repeat(SIZE - body.len() - 2));
    let head = format!(
        "POST /webchat/message HTTP/1.1\r\nHost: amoiq\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {SECRET_KEY}\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    client.stream.write_all(head.as_bytes()).await?;
    for piece in body.as_bytes().chunks(1_280) {
        sleep(Duration::from_millis(250)).await;
        client.stream.write_all(piece).await?;
    }
    let (status, answer) = client.head().await?;
    ensure!(status == 200, "a slow upload: {status} {answer}");
    Ok(())
}

/// A connection without requests is kept for longer than a head, and serves on.
async fn idle(address: SocketAddr) -> anyhow::Result<()> {
    let mut client = Client::dial(address, 1).await?;
    for pause in [0, 12] {
        sleep(Duration::from_secs(pause)).await;
        client.stream.write_all(HEALTH).await.context("an idle connection")?;
        let (status, _) = client.head().await.context("an idle connection")?;
        ensure!(status == 200, "{status}");
    }
    Ok(())
}

/// Connections of one address that is not this machine's own loopback, beyond what one may have. They come to the
/// operator's port, since the service's own is on loopback here.
pub async fn one_address(stage: &Stage, own: IpAddr) -> anyhow::Result<Outcome> {
    let operator = operator_of(&stage.server).0;
    let address = SocketAddr::new(own, operator.port());
    let held = Arc::new(crowd(ALLOWED, ALLOWED, move |_| async move { answered(address).await }).await?);
    let mut refused = TcpStream::connect(address).await?;
    refused.write_all(HEALTH).await?;
    let mut answer = Vec::new();
    timeout(SERVED, refused.read_to_end(&mut answer)).await.context("it is held")??;
    let answer = String::from_utf8(answer)?;
    ensure!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("RATE_LIMIT_EXCEEDED"), "{answer}");
    // This machine's own loopback is not counted.
    for _ in 0..=ALLOWED {
        asked(operator, "/metrics", None).await?;
    }
    drop(held);
    let deadline = Instant::now() + SERVED;
    while answered(address).await.is_err() {
        ensure!(Instant::now() < deadline, "places are not given back");
    }
    Ok(Outcome::of(ALLOWED))
}

/// Where operators are served, and their token.
fn operator_of(server: &TestApp) -> (SocketAddr, String) {
    let operator = OperatorClient::of(server);
    (operator.socket_address(), operator.token)
}

/// `server.connections_per_ip` as it is set for [`one_address`].
const ALLOWED: usize = 8;

/// The same, as it is set.
pub const ALLOWED_TEXT: &str = "8";

/// An address of this machine that others reach: who connects to it comes from it.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only says which way it would go.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback() && !own.is_unspecified())
}

/// A connection of somebody without the token that was answered.
async fn answered(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(HEALTH).await?;
    let mut some = [0; 16];
    stream.read_exact(&mut some).await?;
    ensure!(some.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&some));
    Ok(stream)
}
