//! Receivers that redirect deliveries.

use std::{net::TcpListener, process::Command};

use amoiq_actors::webhooks::DeliveryOutcome;
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver};

use crate::delivery::{deliver, opened};

#[tokio::test]
async fn a_redirect_is_a_failure_wherever_it_leads() {
    let target = RawReceiver::everywhere().await;
    let port = target.address.port();
    for status in [301_u16, 302, 303, 307, 308] {
        for location in
            [format!("http://127.0.0.1:{port}/"), format!("http://localhost:{port}/"), "/hook".to_owned()]
        {
            let head = format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 5\r\n\r\nthere"
            );
            let receiver = RawReceiver::at("127.0.0.2:0", head, AfterAnswer::Close).await;
            let expected = DeliveryOutcome {
                status: Some(status),
                error: Some(format!("HTTP {status}: redirects are not followed")),
                retry_after: None,
                body: b"there".to_vec(),
            };
            assert_eq!(deliver(&opened(&["127.0.0.2/32"]), &receiver.url()).await, expected, "{location}");
            assert_eq!(receiver.requests().len(), 1, "it came back to {location}");
        }
    }
    assert_eq!(target.connections(), 0);
}

/// A proxy would make the connection, and bypass every check made here.
#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", proxy.local_addr().expect("bound"));
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    child.args(["--exact", "signed::a_delivery_is_verified_by_the_published_library"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
        child.env(name, &address);
    }
    let ran = child.env_remove("no_proxy").env_remove("NO_PROXY").output().expect("the same test");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    proxy.set_nonblocking(true).expect("a socket");
    assert!(proxy.accept().is_err(), "the proxy was asked");
}
