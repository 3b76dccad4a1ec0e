//! Attacks with connections: more than there are descriptors, and connections in each state in which the service waits.

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
    attack::{AttackEnvironment, AttackOutcome},
    concurrency::{run_many, source_address},
    raw_client::{RawClient, UpgradeAnswer},
};

/// How many files the service may open in [`partial_heads`].
pub const FILES: usize = 512;

/// The same in [`all_busy`]: few enough that the service's own files count.
pub const FEW_FILES: usize = 256;

/// For how long connections are held, and opened again when they end.
const ATTACK_TIME: Duration = Duration::from_secs(15);

/// How long a new client waits for an answer on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// More than the deadline of a head, of a body after its answer, and of an answer.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Less than that deadline.
const MIN_WAIT: Duration = Duration::from_secs(8);

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: amoiq\r\n\r\n";

const PARTIAL_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: amoiq\r\nX: ";

/// Connections that send a request and then a part of a second one: more than there are descriptors, on the port of the
/// service and on the operator's. Other clients are served.
pub async fn partial_heads(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (operator, token) = operator_of(&environment.server);
    let (service, count) = (environment.server.socket_address(), FILES + 100);
    let until = Instant::now() + ATTACK_TIME;
    let attack = tokio::spawn(async move {
        let targets = move |number| if number % 5 == 0 { operator } else { service };
        run_many(count, count, move |number| hold_partial_head(targets(number), number, until)).await
    });
    while Instant::now() < until {
        assert_answered(service, "/readyz", None).await.context("a visitor")?;
        assert_answered(operator, "/operator/tenants", Some(&token)).await.context("an operator")?;
        sleep(Duration::from_millis(200)).await;
    }
    attack.await??;
    environment.all_sockets_are_closed(MAX_WAIT).await?;
    Ok(AttackOutcome::of(count))
}

/// Holds a connection with a partial head, and opens another when it ends.
async fn hold_partial_head(address: SocketAddr, number: usize, until: Instant) -> anyhow::Result<()> {
    while Instant::now() < until {
        let Ok(mut client) = RawClient::dial(address, source_address(number)).await else { continue };
        let started = async {
            client.stream.write_all(HEALTH).await?;
            client.head().await?;
            client.stream.write_all(PARTIAL_HEAD).await?;
            anyhow::Ok(())
        };
        if started.await.is_err() {
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

/// Websockets on every descriptor for clients. They are busy, so none is displaced. Health checks and operators are still
/// served, and other clients are told why they are not, also when partial heads are added.
pub async fn all_busy(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (address, (operator, token)) =
        (environment.server.socket_address(), operator_of(&environment.server));
    let mut sockets = Vec::new();
    let refused = loop {
        ensure!(sockets.len() < FEW_FILES, "no connection is refused");
        match RawClient::try_open(address, source_address(sockets.len()), "tenantId=demo").await? {
            UpgradeAnswer::WebSocket(client) => sockets.push(client),
            UpgradeAnswer::Refused(status, body) => break (status, body),
        }
    };
    ensure!(refused.0 == 503 && refused.1.contains("OVERLOADED"), "{refused:?}");
    ensure!(sockets.len() > FEW_FILES / 3, "only {} were served", sockets.len());
    for _ in 0..100 {
        assert_answered(address, "/readyz", None).await.context("a health check")?;
    }
    let partial = run_many(FEW_FILES, FEW_FILES, move |number| async move {
        let mut client =
            RawClient::dial(if number % 3 == 0 { operator } else { address }, source_address(number)).await?;
        client.stream.write_all(PARTIAL_HEAD).await?;
        Ok(client)
    });
    let partial = partial.await?;
    assert_answered(address, "/readyz", None).await.context("a health check beside partial heads")?;
    assert_answered(operator, "/operator/tenants", Some(&token)).await.context("an operator")?;
    drop(partial);
    let mut client = RawClient::dial(address, 9).await?;
    let (status, body) = client.request("GET", "/api/chat/messages?sessionId=s", b"").await?;
    ensure!(status == 503 && body.contains("OVERLOADED"), "{status} {body}");
    let outcome = AttackOutcome::of(sockets.len());
    drop(sockets);
    environment.all_sockets_are_closed(MAX_WAIT).await?;
    assert_answered(address, "/readyz", None).await?;
    Ok(outcome)
}

/// Checks that a new client is answered in time.
async fn assert_answered(address: SocketAddr, target: &str, token: Option<&str>) -> anyhow::Result<()> {
    let asking = async {
        let mut client = RawClient::dial(address, 9).await?;
        let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("GET {target} HTTP/1.1\r\nHost: amoiq\r\n{token}\r\n");
        client.stream.write_all(request.as_bytes()).await?;
        let (status, body) = client.head().await?;
        ensure!(status == 200, "{target}: {status} {body}");
        Ok(())
    };
    timeout(ANSWER_TIMEOUT, asking).await.with_context(|| format!("{target} is not answered"))?
}

/// One connection for each state in which the service waits for a client. All end in time, except those that only seem
/// slow.
pub async fn slow_clients(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let address = environment.server.socket_address();
    let operator = operator_of(&environment.server).0;
    fill_history(address).await?;
    let chunked = b"POST /webchat/message HTTP/1.1\r\nHost: amoiq\r\nTransfer-Encoding: chunked\r\n\r\n";
    let both = [HEALTH, PARTIAL_HEAD].concat();
    tokio::try_join!(
        // The first head, the second, one that came with the request before, and the same on the operator's port.
        ended("a first head", address, b"", PARTIAL_HEAD, b"a"),
        ended("silence", address, b"", b"", b""),
        ended("a second head", address, HEALTH, PARTIAL_HEAD, b"a"),
        ended("half a head at once", address, &both, b"", b""),
        ended("an operator's second head", operator, HEALTH, PARTIAL_HEAD, b"a"),
        ended("a body after its answer", address, chunked, b"", b"1\r\n \r\n"),
        ended("an operator's body after its answer", operator, chunked, b"", b"1\r\n \r\n"),
        slow_reader(address, operator),
        slow_upload(address),
        idle(address),
    )?;
    environment.all_sockets_are_closed(MAX_WAIT).await?;
    // Those of the history, and the phone's.
    Ok(AttackOutcome { messages: MESSAGES as u64 + 1, ..AttackOutcome::of(10) })
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
    let mut client = RawClient::dial(address, 1).await?;
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
        () = sleep(MAX_WAIT) => anyhow::bail!("the service waits for {what}"),
    }
    ensure!(since.elapsed() > MIN_WAIT, "{what} was ended after {:?}", since.elapsed());
    Ok(())
}

const MESSAGES: usize = 120;

const HISTORY: &str = "session-with-a-long-history";

/// Writes a history that is larger than the kernel's buffers.
async fn fill_history(address: SocketAddr) -> anyhow::Result<()> {
    let mut client = RawClient::dial(address, 1).await?;
    let text = "\u{20ac}".repeat(10_000);
    let body = format!(r#"{{"sessionId":"{HISTORY}","text":"{text}"}}"#);
    for _ in 0..MESSAGES {
        let (status, answer) = client.request("POST", "/webchat/message", body.as_bytes()).await?;
        ensure!(status == 200, "{status} {answer}");
    }
    Ok(())
}

/// Reads an answer at a fraction of the required speed.
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
    // The buffers of both kernels can still be read after the end, so the metrics say whether the service ended it.
    let _ended = timeout(MAX_WAIT, ended).await;
    ensure!(bytes > 1_000, "it was not answered: {bytes} in {:?}", since.elapsed());
    let mut asking = RawClient::dial(operator, 1).await?;
    let (_, metrics) = asking.request("GET", "/metrics", b"").await?;
    let is_ended = metrics.contains("amoiq_tcp_connections_ended_total{reason=\"slow_reader\"} 1");
    ensure!(is_ended, "the service waits for it: {bytes} bytes in {:?}", since.elapsed());
    drop(stream);
    Ok(())
}

/// A phone's upload: slower than ten seconds allow, but it makes progress.
async fn slow_upload(address: SocketAddr) -> anyhow::Result<()> {
    const SIZE: usize = 60 * 1024;
    let mut client = RawClient::dial(address, 1).await?;
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

/// A connection without requests is kept for longer than one with a partial head.
async fn idle(address: SocketAddr) -> anyhow::Result<()> {
    let mut client = RawClient::dial(address, 1).await?;
    for pause in [0, 12] {
        sleep(Duration::from_secs(pause)).await;
        client.stream.write_all(HEALTH).await.context("an idle connection")?;
        let (status, _) = client.head().await.context("an idle connection")?;
        ensure!(status == 200, "{status}");
    }
    Ok(())
}

/// More connections than one address may have, from an address that is not loopback. They use the operator's port, since
/// the service listens on loopback here.
pub async fn one_address(environment: &AttackEnvironment, own: IpAddr) -> anyhow::Result<AttackOutcome> {
    let operator = operator_of(&environment.server).0;
    let address = SocketAddr::new(own, operator.port());
    let held = Arc::new(run_many(ALLOWED, ALLOWED, move |_| async move { answered(address).await }).await?);
    let mut refused = TcpStream::connect(address).await?;
    refused.write_all(HEALTH).await?;
    let mut answer = Vec::new();
    timeout(ANSWER_TIMEOUT, refused.read_to_end(&mut answer)).await.context("the connection is held")??;
    let answer = String::from_utf8(answer)?;
    ensure!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("RATE_LIMIT_EXCEEDED"), "{answer}");
    // Loopback is not counted.
    for _ in 0..=ALLOWED {
        assert_answered(operator, "/metrics", None).await?;
    }
    drop(held);
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while answered(address).await.is_err() {
        ensure!(Instant::now() < deadline, "closed connections still count");
    }
    Ok(AttackOutcome::of(ALLOWED))
}

/// The operator interface's address and token.
fn operator_of(server: &TestApp) -> (SocketAddr, String) {
    let operator = OperatorClient::of(server);
    (operator.socket_address(), operator.token)
}

/// `server.connections_per_ip` in [`one_address`].
const ALLOWED: usize = 8;

/// The same as a setting.
pub const ALLOWED_TEXT: &str = "8";

/// An address of this machine that others reach. A connection to it comes from it.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the route.
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
