//! How large a page of history is, and how it is written.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use amoiq_testkit::{
    AppLauncher, OperatorClient, PATIENCE, SECRET_KEY, TestApp, WIDGET_KEY, eventually,
    process_figures::resident_bytes,
};
use reqwest::Method;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const SESSION: &str = "session-0123456789";

/// The default of `limits.history_bytes`.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The bytes of an answer, and the answer.
fn page(app: &TestApp, query: &str) -> (usize, Value) {
    let request = app.request(Method::GET, &format!("/api/chat/messages?{query}"));
    let response = request.bearer_auth(SECRET_KEY).send().expect("an answer");
    assert_eq!(response.status(), 200);
    let told = response.content_length();
    let body = response.bytes().expect("a whole body");
    assert_eq!(told, Some(body.len() as u64), "the length is known before");
    (body.len(), serde_json::from_slice(&body).expect("JSON"))
}

fn seqs(page: &Value) -> Vec<u64> {
    page["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|message| message["seq"].as_u64())
        .collect()
}

fn span(low: u64, high: u64) -> Vec<u64> {
    (low..=high).collect()
}

#[test]
fn a_page_of_the_usual_length_is_never_cut_whatever_is_in_its_texts() {
    let app = TestApp::start();
    for (session, text) in [
        ("session-of-emoji-000001", "\u{1F600}".repeat(10_000)),
        ("session-of-quotes-00001", "\"".repeat(10_000)),
        ("session-of-controls-001", format!("x{}", "\u{1}".repeat(9_999))),
    ] {
        for _ in 0..101 {
            app.say(WIDGET_KEY, session, &text);
        }
        let (bytes, newest) = page(&app, &format!("sessionId={session}"));
        assert_eq!(seqs(&newest), span(2, 101), "{session}: {bytes} bytes");
        assert_eq!((&newest["hasMore"], &newest["nextCursor"]), (&json!(true), &json!("s.2")));
        assert!(newest["messages"].as_array().expect("a list").iter().all(|message| message["text"] == text));
    }
}

#[test]
fn a_page_has_no_more_than_its_bytes_and_the_rest_comes_with_the_next() {
    let app = TestApp::start();
    let text = "x".repeat(9_900);
    (0..500).for_each(|_| drop(app.say(WIDGET_KEY, SESSION, &text)));
    let (bytes, newest) = page(&app, &format!("sessionId={SESSION}&limit=500"));
    let first = 501 - seqs(&newest).len() as u64;
    assert!(bytes <= PAGE_BYTES && bytes > PAGE_BYTES - 20_000, "{bytes}");
    assert_eq!(seqs(&newest), span(first, 500), "the far end is cut");
    assert_eq!((&newest["hasMore"], &newest["nextCursor"]), (&json!(true), &json!(format!("s.{first}"))));
    let (bytes, rest) = page(&app, &format!("sessionId={SESSION}&limit=500&cursor=s.{first}"));
    assert!(bytes <= PAGE_BYTES, "{bytes}");
    assert_eq!(seqs(&rest), span(1, first - 1));
    assert_eq!((&rest["hasMore"], &rest["nextCursor"]), (&json!(false), &Value::Null));

    let (bytes, oldest) = page(&app, &format!("sessionId={SESSION}&limit=500&after=0"));
    let last = seqs(&oldest).len() as u64;
    assert!(bytes <= PAGE_BYTES && bytes > PAGE_BYTES - 20_000, "{bytes}");
    assert_eq!(seqs(&oldest), span(1, last), "the far end of `after` is the newest");
    assert_eq!((&oldest["hasMore"], &oldest["nextCursor"]), (&json!(true), &Value::Null));
    let (_, newer) = page(&app, &format!("sessionId={SESSION}&limit=500&after={last}"));
    assert_eq!((seqs(&newer), &newer["hasMore"]), (span(last + 1, 500), &json!(false)));
}

#[test]
fn a_message_larger_than_a_page_is_a_page() {
    let app = AppLauncher::new().environment("AMOIQ__LIMITS__HISTORY_BYTES", "4096").start();
    for number in 0..3 {
        app.say(WIDGET_KEY, SESSION, &format!("{number}{}", "x".repeat(9_000)));
    }
    let (_, newest) = page(&app, &format!("sessionId={SESSION}"));
    assert_eq!((seqs(&newest), &newest["nextCursor"]), (vec![3], &json!("s.3")));
    let (_, oldest) = page(&app, &format!("sessionId={SESSION}&after=0"));
    assert_eq!((seqs(&oldest), &oldest["hasMore"]), (vec![1], &json!(true)));
}

#[test]
fn a_users_history_is_cut_at_its_bytes_and_its_pages_lose_nothing() {
    let app = AppLauncher::new().environment("AMOIQ__LIMITS__HISTORY_BYTES", "65536").start();
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let sessions = ["session-of-user-one-1", "session-of-user-one-2", "session-of-user-one-3"];
    // Short and long ones in turn: when one session is cut, older short messages of another must not come in their place.
    let said: Vec<_> = (0..120)
        .map(|number| {
            let (session, length) =
                if number % 3 == 0 { (sessions[0], 6_000) } else { (sessions[number % 3], 10) };
            let text = format!("{number} {}", "x".repeat(length));
            app.say(&user, session, &text);
            text
        })
        .collect();
    let (mut all, mut query, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (bytes, answer) = page(&app, &format!("userId=u-1&limit=500{query}"));
        assert!(bytes <= 65_536, "{bytes}");
        all.splice(0..0, answer["messages"].as_array().expect("a list").clone());
        pages += 1;
        assert_eq!(answer["hasMore"] == true, answer["nextCursor"].is_string());
        let Some(cursor) = answer["nextCursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    assert!(pages > 3, "{pages}");
    let texts: Vec<_> = all.iter().filter_map(|message| message["text"].as_str()).collect();
    assert_eq!(texts, said, "every message once, in order");
}

/// A reader that got the start of a page and reads the rest later.
fn slow_reader(app: &TestApp) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16_384).expect("an option");
    socket.connect(&app.socket_address().into()).expect("a connection");
    let mut reader = TcpStream::from(socket);
    reader.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!("Host: x\r\nAuthorization: Bearer {SECRET_KEY}\r\n\r\n");
    let ask = format!("GET /api/chat/messages?sessionId={SESSION}&limit=500 HTTP/1.1\r\n{head}");
    reader.write_all(ask.as_bytes()).expect("it is sent");
    reader.read_exact(&mut [0; 256]).expect("an answer begins");
    reader
}

#[test]
fn readers_that_stop_reading_hold_no_pages() {
    let app = TestApp::start();
    (0..420).for_each(|_| drop(app.say(WIDGET_KEY, SESSION, &"x".repeat(9_900))));
    let (size, _) = page(&app, &format!("sessionId={SESSION}&limit=500"));
    let resident = || usize::try_from(resident_bytes(app.pid()).expect("a process")).expect("fits");
    let before = resident();
    let mut readers: Vec<_> = (0..40).map(|_| slow_reader(&app)).collect();
    // 40 pages are 160 MiB; what waits for each reader is some pieces of 64 KiB.
    let bound = readers.len() * 512 * 1024 + 24 * 1024 * 1024;
    eventually("memory is what the pieces are worth", || resident() < before + bound);
    // A reader that continues gets the whole page.
    let mut last = readers.pop().expect("a reader");
    let (mut rest, mut piece) = (256, [0; 65_536]);
    while rest < size {
        match last.read(&mut piece).expect("it goes on") {
            0 => panic!("it ends after {rest} of {size} bytes"),
            read => rest += read,
        }
    }
}

#[test]
fn a_long_answer_is_cut_off_when_its_session_is_erased_meanwhile() {
    let app = TestApp::start();
    (0..420).for_each(|_| drop(app.say(WIDGET_KEY, SESSION, &"x".repeat(9_900))));
    let mut reader = slow_reader(&app);
    let session = json!({"tenant": "demo", "session": SESSION});
    OperatorClient::of(&app).send(Method::POST, "/operator/erase", Some(&session));
    // It may take a moment until no file has a byte of it; the session is gone before that.
    let history = format!("/api/chat/messages?sessionId={SESSION}");
    eventually("it is erased", || app.get(SECRET_KEY, &history).status == 404);
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ended = reader.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("\"hasMore\""), "the end of the page came: {} bytes", rest.len());
}
