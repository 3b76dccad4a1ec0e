//! Receivers that take a delivery, in different ways.

use amoiq_actors::webhooks::DeliveryOutcome;
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver};

use crate::delivery::{deliver, eventually, local};

fn taken(status: u16) -> DeliveryOutcome {
    DeliveryOutcome { status: Some(status), ..DeliveryOutcome::default() }
}

#[tokio::test]
async fn every_2xx_takes_it() {
    for status in [200_u16, 201, 202, 204, 206, 299] {
        let head = format!("HTTP/1.1 {status} Taken\r\nconnection: close\r\n\r\n");
        let receiver = RawReceiver::answering(head, AfterAnswer::Close).await;
        assert_eq!(deliver(&local(), &receiver.url()).await, taken(status));
    }
}

#[tokio::test]
async fn a_body_may_be_of_any_form_and_is_not_kept() {
    for answer in [
        "HTTP/1.0 200 OK\r\n\r\nuntil it closes",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let receiver = RawReceiver::answering(answer, AfterAnswer::Close).await;
        assert_eq!(deliver(&local(), &receiver.url()).await, taken(200), "{answer}");
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_and_the_connection_dropped() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n";
    for (head, flood) in
        [(chunked, AfterAnswer::Flood(b"4\r\nmore\r\n")), (long, AfterAnswer::Flood(&[b'x'; 4_096]))]
    {
        let receiver = RawReceiver::answering(head, flood).await;
        let sender = local();
        assert_eq!(deliver(&sender, &receiver.url()).await, taken(200));
        eventually("the connection is dropped", || receiver.ended() == 1).await;
    }
}

/// The beginning of a compressed megabyte. Decompressing it would fail or give other bytes.
#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let bomb =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xec\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7Om\x0e\x37\xa0";
    for status in [200_u16, 500] {
        let length = bomb.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n");
        let receiver = RawReceiver::answering([head.as_bytes(), bomb].concat(), AfterAnswer::Close).await;
        let answer = deliver(&local(), &receiver.url()).await;
        assert_eq!(answer.status, Some(status));
        assert_eq!(answer.body, if status == 200 { &[][..] } else { &bomb[..] }, "{status}");
        assert_eq!(receiver.requests()[0].header("accept-encoding"), None);
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver =
        RawReceiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", AfterAnswer::Stay).await;
    let sender = local();
    for _ in 0..5 {
        assert_eq!(deliver(&sender, &receiver.url()).await, taken(200));
    }
    assert_eq!((receiver.connections(), receiver.requests().len()), (1, 5));
}
