//! Ways to write the addresses of this machine. A receiver listens at each of them, and gets no call.

use amoiq_testkit::receivers::RawReceiver;

use crate::delivery::{deliver, failed, guarded, opened};

/// URL parsers read all of these as 127.0.0.1.
const LOOPBACK: [&str; 14] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0X7F000001",
    "2130706433",
    "017700000001",
    "0177.0.0.01",
    "%31%32%37.0.0.1",
    "１２７.０.０.１",
    "127。0。0。1",
    "⑫７.0.0.1",
];

const REFUSAL: &str = "refused address 127.0.0.1; see webhooks.allowed_networks";

const SETTING: &str = "; see webhooks.allowed_networks";

#[tokio::test]
async fn loopback_is_refused_however_it_is_written() {
    let receiver = RawReceiver::everywhere().await;
    let port = receiver.address.port();
    for host in LOOPBACK {
        let answer = deliver(&guarded(), &format!("http://{host}:{port}/")).await;
        assert_eq!(answer.error.as_deref(), Some(REFUSAL), "{host}");
    }
    for start in ["http:", "http:/", "http:\\\\", "http:////", "\thttp://\n", "HtTp://"] {
        let answer = deliver(&guarded(), &format!("{start}127.0.0.1:{port}/")).await;
        assert_eq!(answer.error.as_deref(), Some(REFUSAL), "{start:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn this_machine_is_refused_by_its_other_addresses() {
    let receiver = RawReceiver::everywhere().await;
    let port = receiver.address.port();
    for (host, address) in [
        ("0", "0.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.255.255.254", "127.255.255.254"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
        ("[::127.0.0.1]", "::7f00:1"),
        ("[::ffff:0:127.0.0.1]", "::ffff:0:7f00:1"),
        ("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1"),
        ("[2002:7f00:1::]", "2002:7f00:1::"),
    ] {
        let answer = deliver(&guarded(), &format!("http://{host}:{port}/")).await;
        let refusal = format!("refused address {address}; see webhooks.allowed_networks");
        assert_eq!(answer.error, Some(refusal), "{host}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn this_machine_is_refused_by_its_name() {
    let receiver = RawReceiver::everywhere().await;
    let port = receiver.address.port();
    for host in ["localhost", "LOCALHOST", "ⓛocalhost", "local%68ost"] {
        let error = deliver(&guarded(), &format!("http://{host}:{port}/")).await.error.expect("a refusal");
        assert!(error.starts_with("refused address ") && error.ends_with(SETTING), "{host}: {error}");
    }
    // With a dot at the end, the system decides whether it is a name at all.
    let error = deliver(&guarded(), &format!("http://localhost.:{port}/")).await.error.expect("a refusal");
    assert!(error.ends_with(SETTING) || error == "the name could not be resolved", "{error}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn what_is_before_the_host_or_after_it_changes_nothing() {
    let receiver = RawReceiver::everywhere().await;
    let port = receiver.address.port();
    for url in [
        format!("http://example.com@127.0.0.1:{port}/"),
        format!("http://example.com:80@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}@127.0.0.1:{port}/"),
    ] {
        assert_eq!(deliver(&guarded(), &url).await, failed("the URL holds a user or a password"), "{url}");
    }
    for url in
        [format!("http://127.0.0.1:{port}#@example.com/"), format!("http://127.0.0.1:{port}\\@example.com/")]
    {
        assert_eq!(deliver(&guarded(), &url).await, failed(REFUSAL), "{url}");
    }
    assert_eq!(receiver.connections(), 0);
}

/// Proves that the receivers above can be reached.
#[tokio::test]
async fn an_opened_network_is_delivered_to() {
    let receiver = RawReceiver::everywhere().await;
    let port = receiver.address.port();
    for host in LOOPBACK {
        let answer = deliver(&opened(&["127.0.0.1/32"]), &format!("http://{host}:{port}/")).await;
        assert!(answer.is_success(), "{host}: {answer:?}");
    }
    assert_eq!(receiver.connections(), LOOPBACK.len());
}
