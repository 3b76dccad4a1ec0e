//! What all sockets of one client may do together.

use amoiq_testkit::{AppLauncher, SocketClient, SocketHandshake, TestApp};
use serde_json::{Value, json};

fn start(messages: u32, connects: u32) -> AppLauncher {
    AppLauncher::new()
        .environment("AMOIQ__RATE_LIMIT__SOCKET_MESSAGES_PER_MINUTE_PER_IP", &messages.to_string())
        .environment("AMOIQ__RATE_LIMIT__SOCKET_CONNECTS_PER_MINUTE_PER_IP", &connects.to_string())
        .environment("AMOIQ__SERVER__TRUSTED_PROXIES", "127.0.0.0/8")
        .config("[[tenants]]\nid = 'acme'\nwidget_keys = ['wk_acme_00000']\nsecret_keys = ['sk_acme_00000']\nbot_keys = ['bk_acme_00000']")
}

/// Connects from an address.
fn ask(app: &TestApp, credential: &str, from: &str) -> SocketClient {
    let headers = [("X-Forwarded-For", from)];
    let auth = json!({ "token": credential, "tenantId": "acme" });
    let dial = SocketHandshake { auth, headers: &headers, ..SocketHandshake::default() };
    let mut socket = dial.open(app);
    socket.text(&format!("40{}", dial.auth));
    socket
}

/// Connects from an address, successfully.
fn connect(app: &TestApp, credential: &str, from: &str) -> SocketClient {
    let mut socket = ask(app, credential, from);
    let answer = socket.packet_or_end().expect("it is let in");
    assert!(answer.starts_with("40{"), "{answer}");
    socket
}

/// The connection is refused, but not for good: in the end it is closed.
#[track_caller]
fn assert_held(mut socket: SocketClient) {
    assert_eq!(socket.packet_or_end(), None);
}

fn say(socket: &mut SocketClient, session: &str) -> Value {
    socket.call("message", &json!({ "text": "x", "sessionId": session }))
}

#[test]
fn sockets_of_one_address_share_a_limit_of_messages() {
    let app = start(5, 0).start();
    let mut sockets: Vec<_> = (0..3).map(|_| connect(&app, "wk_acme_00000", "1.1.1.1")).collect();
    let mut answers = Vec::new();
    for round in 0..2 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            answers.push(say(socket, &format!("session-of-visitor-{number}-{round}")));
        }
    }
    let (taken, refused) = answers.split_at(5);
    assert!(taken.iter().all(|answer| answer["success"] == true), "{answers:?}");
    assert_eq!(refused[0]["code"], "RATE_LIMIT_EXCEEDED");
    let wait = refused[0]["details"]["retryAfterMs"].as_u64().expect("a time");
    assert!(wait > 1_000 && wait <= 60_000, "{wait}");
    let mut elsewhere = connect(&app, "wk_acme_00000", "2.2.2.2");
    assert_eq!(say(&mut elsewhere, "session-of-somebody-else")["success"], true);
    // Without an acknowledgement it is an event.
    sockets[0].emit("message", &json!({ "text": "y" }));
    assert_eq!(sockets[0].next("error")["code"], "RATE_LIMIT_EXCEEDED");
}

#[test]
fn an_address_over_its_connections_per_minute_is_not_refused_for_good() {
    let app = start(0, 3).start();
    let _open: Vec<_> = (0..3).map(|_| connect(&app, "wk_acme_00000", "1.1.1.1")).collect();
    let wrong = ask(&app, "wk_guess_0000", "1.1.1.1");
    let fourth = ask(&app, "wk_acme_00000", "1.1.1.1");
    connect(&app, "wk_acme_00000", "1.1.1.2");
    [fourth, wrong].into_iter().for_each(assert_held);
}

#[test]
fn staff_and_keys_are_counted_separately_whatever_their_address() {
    let app = start(2, 2).start();
    let token = |user: &str| app.mint_token("sk_acme_00000", &json!({ "userId": user, "role": "agent" }));
    let (ann, bob) = (token("ann"), token("bob"));
    let (session, mut held) = ("session-with-many-people", Vec::new());
    for credential in [ann.as_str(), &bob, "sk_acme_00000", "bk_acme_00000"] {
        let mut first = connect(&app, credential, "1.1.1.1");
        let mut second = connect(&app, credential, "2.2.2.2");
        held.push(ask(&app, credential, "3.3.3.3"));
        assert_eq!(say(&mut first, session)["success"], true);
        assert_eq!(say(&mut second, session)["success"], true);
        assert_eq!(say(&mut first, session)["code"], "RATE_LIMIT_EXCEEDED");
    }
    held.into_iter().for_each(assert_held);
}

#[test]
fn without_a_limit_for_each_socket_there_is_none_for_all() {
    let app = start(1, 1).environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0").start();
    for _ in 0..3 {
        let mut socket = connect(&app, "wk_acme_00000", "1.1.1.1");
        assert_eq!(say(&mut socket, "session-of-a-visitor-1")["success"], true);
        assert_eq!(say(&mut socket, "session-of-a-visitor-1")["success"], true);
    }
}

#[test]
fn a_limit_of_0_is_none() {
    let app = start(0, 0).start();
    for _ in 0..3 {
        let mut socket = connect(&app, "wk_acme_00000", "1.1.1.1");
        (0..3).for_each(|_| assert_eq!(say(&mut socket, "session-of-a-visitor-1")["success"], true));
    }
}
