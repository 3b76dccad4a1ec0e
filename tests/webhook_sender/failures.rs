//! Receivers that fail in different ways, and how each failure is explained.

use std::time::Duration;

use amoiq_actors::webhooks::DeliveryOutcome;
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver};
use tokio::net::TcpListener;

use crate::delivery::{deliver, eventually, failed, local, within};

/// The time limit of the lane, for receivers that never finish.
const DEADLINE: Duration = Duration::from_millis(300);

async fn answer(bytes: &str, then: AfterAnswer) -> DeliveryOutcome {
    let receiver = RawReceiver::answering(bytes, then).await;
    deliver(&local(), &receiver.url()).await
}

fn refusal(status: u16, body: &str) -> DeliveryOutcome {
    let error = Some(format!("HTTP {status}"));
    DeliveryOutcome { status: Some(status), error, retry_after: None, body: body.as_bytes().to_vec() }
}

#[tokio::test]
async fn another_status_is_a_failure_with_the_beginning_of_its_body() {
    for status in [300_u16, 400, 401, 404, 410, 500, 502, 504, 599] {
        let bytes = format!("HTTP/1.1 {status} No\r\ncontent-length: 6\r\n\r\nreason");
        assert_eq!(answer(&bytes, AfterAnswer::Close).await, refusal(status, "reason"));
    }
    assert_eq!(answer("HTTP/1.1 304 No\r\n\r\n", AfterAnswer::Silence).await, refusal(304, ""));
    let upgrade = "HTTP/1.1 101 No\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    assert_eq!(answer(upgrade, AfterAnswer::Close).await, refusal(101, ""));
}

#[tokio::test]
async fn of_a_long_body_the_first_kib_is_kept() {
    let flood = answer("HTTP/1.1 500 No\r\n\r\n", AfterAnswer::Flood(b"0123456789abcdef")).await;
    assert_eq!(flood, refusal(500, &"0123456789abcdef".repeat(64)));
}

#[tokio::test]
async fn a_failure_counts_although_its_body_drips_or_breaks_off() {
    let drip = answer("HTTP/1.1 410 Gone\r\n\r\n", AfterAnswer::Drip(b"x")).await;
    assert_eq!((drip.status, drip.error.as_deref()), (Some(410), Some("HTTP 410")));
    assert!(drip.body.starts_with(b"x"), "what arrived is kept");
    let broken = answer("HTTP/1.1 410 Gone\r\ncontent-length: 9\r\n\r\nhalf", AfterAnswer::Close).await;
    assert_eq!(broken, refusal(410, "half"));
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_told() {
    let ask = async |status: u16, after: &str| {
        let bytes = format!("HTTP/1.1 {status} Later\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n");
        answer(&bytes, AfterAnswer::Close).await.retry_after
    };
    let day = Duration::from_secs(86_400);
    for status in [429, 503] {
        assert_eq!(ask(status, "7").await, Some(Duration::from_secs(7)));
        assert_eq!(ask(status, "31536000").await, Some(day));
        assert_eq!(ask(status, "Fri, 31 Dec 2100 23:59:59 GMT").await, Some(day));
        assert_eq!(ask(status, "Fri, 31 Dec 1999 23:59:59 GMT").await, None);
        assert_eq!(ask(status, "soon").await, None);
    }
    assert_eq!(ask(500, "7").await, None, "only 429 and 503 are asked");
}

#[tokio::test]
async fn who_closes_before_the_answer_is_told_apart_from_who_is_not_there() {
    let closed = "connection closed before the answer";
    assert_eq!(answer("", AfterAnswer::Close).await, failed(closed));
    assert_eq!(answer("HTTP/1.1 200 OK\r\ncontent-", AfterAnswer::Close).await, failed(closed));
    assert_eq!(answer("HTTP/1.1 100 Continue\r\n\r\n", AfterAnswer::Close).await, failed(closed));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream)
        }
    });
    assert_eq!(deliver(&local(), &url).await, failed(closed), "it hangs up at once");

    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    assert_eq!(deliver(&local(), &format!("http://{gone}/")).await, failed("connection refused"));
}

#[tokio::test]
async fn what_is_not_http_is_not_understood() {
    let unread = failed("the answer cannot be read as HTTP/1");
    assert_eq!(answer("SSH-2.0-OpenSSH_9.6\r\n", AfterAnswer::Silence).await, unread);
    assert_eq!(answer("HTTP/2.0 200 OK\r\n\r\n", AfterAnswer::Silence).await, unread);
    assert_eq!(
        answer("HTTP/1.1 200 OK\r\n", AfterAnswer::Flood(b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")).await,
        unread
    );
    assert_eq!(answer("HTTP/1.1 200 OK\r\nx: ", AfterAnswer::Flood(&[b'x'; 4_096])).await, unread);
}

#[tokio::test]
async fn a_2xx_whose_body_breaks_off_is_a_failure() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ] {
        let error = Some("the answer's body broke off".to_owned());
        let expected =
            DeliveryOutcome { status: Some(200), error, retry_after: None, body: b"half".to_vec() };
        assert_eq!(answer(bytes, AfterAnswer::Close).await, expected, "{bytes}");
    }
}

/// The lane drops the attempt, and with it the connection.
#[tokio::test]
async fn who_never_ends_an_answer_is_left_at_the_deadline() {
    for (bytes, then) in [
        ("", AfterAnswer::Silence),
        ("HTTP/1.1 200 OK\r\ncontent-", AfterAnswer::Silence),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", AfterAnswer::Silence),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", AfterAnswer::Drip(b"x")),
        ("", AfterAnswer::Drip(b"HTTP/1.1 100 Continue\r\n\r\n")),
    ] {
        let receiver = RawReceiver::answering(bytes, then).await;
        let sender = local();
        let answer = within(DEADLINE, &sender, &receiver.url()).await;
        assert_eq!(answer, None, "{bytes:?}");
        eventually("the connection is dropped", || receiver.ended() == receiver.connections()).await;
    }
}
