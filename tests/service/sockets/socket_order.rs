//! Everybody receives the same messages, in the same order, once.

use amoiq_testkit::{AppLauncher, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY};
use serde_json::{Value, json};

const SESSION: &str = "session-that-everybody-is-in";

/// How many sockets send.
const SENDERS: usize = 100;

/// How many messages each of them sends.
const EACH: usize = 10;

fn start() -> TestApp {
    AppLauncher::new().environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0").start()
}

/// The `seq` of the next messages that a socket receives.
fn heard(socket: &mut SocketClient, count: usize) -> Vec<(u64, String)> {
    let message = |heard: Value| {
        let message = &heard["message"];
        (message["seq"].as_u64().expect("a seq"), message["id"].as_str().expect("an id").to_owned())
    };
    (0..count).map(|_| message(socket.next("meta_message_created"))).collect()
}

#[test]
fn a_hundred_senders_receive_the_same_order_without_a_gap() {
    let app = start();
    let bind = json!({ "sessionId": SESSION });
    let mut senders: Vec<_> =
        (0..SENDERS).map(|_| SocketClient::connect_with(&app, WIDGET_KEY, &bind)).collect();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    let mut stories: Vec<_> = std::thread::scope(|scope| {
        let tellers: Vec<_> = senders
            .iter_mut()
            .enumerate()
            .map(|(number, socket)| {
                scope.spawn(move || {
                    for count in 0..EACH {
                        socket.emit("message", &json!({ "text": format!("{number}-{count}") }));
                    }
                    heard(socket, SENDERS * EACH)
                })
            })
            .collect();
        tellers.into_iter().map(|teller| teller.join().expect("a story")).collect()
    });
    stories.push(heard(&mut admin, SENDERS * EACH));
    let first = &stories[0];
    assert!(first.iter().map(|(seq, _)| *seq).eq(1..=(SENDERS * EACH) as u64), "a gap or a repeat");
    for story in &stories {
        assert_eq!(story, first);
    }
    let history = app.messages(SECRET_KEY, &format!("tenantId=demo&sessionId={SESSION}&limit=500"));
    let newest = &first[SENDERS * EACH - 500..];
    assert!(
        history.iter().map(|message| message["id"].as_str()).eq(newest.iter().map(|(_, id)| Some(&**id)))
    );
}

#[test]
fn messages_of_one_socket_keep_their_order() {
    let app = start();
    let mut socket = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    for number in 0..100 {
        socket.emit("message", &json!({ "text": number.to_string() }));
    }
    for number in 0..100 {
        assert_eq!(socket.next("meta_message_created")["message"]["text"], number.to_string());
    }
}

#[test]
fn the_answer_over_http_comes_after_the_echo_on_the_senders_socket() {
    let app = start();
    let mut socket = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    for number in 0..50 {
        let id = app.say(WIDGET_KEY, SESSION, &number.to_string());
        // It was sent on the socket before the answer, so it has arrived or is on its way through the kernel.
        assert_eq!(socket.next("meta_message_created")["message"]["id"], id);
    }
}

#[test]
fn missed_messages_are_sent_again_up_to_the_queue_limit_beyond_which_a_client_does_not_recover() {
    let app = TestApp::start();
    const MISSED: &str = "session-that-is-missed";
    let say = |count: usize| (0..count).for_each(|_| drop(app.say(SECRET_KEY, MISSED, &"x".repeat(10_000))));
    let come_back = |pid: &Value| {
        let who = json!({ "sessionId": MISSED, "recovery": true, "pid": pid });
        SocketClient::connect_with(&app, WIDGET_KEY, &who)
    };
    let mut first = come_back(&Value::Null);
    assert_eq!(first.call("message", &json!({ "text": "hello" }))["success"], true);
    let pid = first.welcome["pid"].clone();
    drop(first);
    // An event has its text twice.
    say(45);
    let mut again = come_back(&pid);
    assert_eq!(again.welcome["pid"], pid, "0.9 MB of an outbox of 1 MiB");
    for _ in 0..46 {
        again.next("meta_message_created");
    }
    drop(again);
    say(90);
    let mut anew = come_back(&pid);
    assert_ne!(anew.welcome["pid"], pid, "1.8 MB are more than that");
    assert_eq!(anew.call("message", &json!({ "text": "still here" }))["success"], true);
}
