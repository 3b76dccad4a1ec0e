//! Presence is right after whatever happens to connections.

use amoiq_testkit::{
    AppLauncher, SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY, eventually,
};
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789abcdef";

fn start() -> TestApp {
    AppLauncher::new().environment("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "150").start()
}

fn online(app: &TestApp) -> Value {
    let answer = app.get(SECRET_KEY, "/api/chat/online-users?tenantId=demo");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn user() -> String {
    format!("anonymous-{SESSION}")
}

fn visitor(app: &TestApp) -> SocketClient {
    SocketClient::connect_with(app, WIDGET_KEY, &json!({ "sessionId": SESSION }))
}

#[test]
fn a_connected_visitor_is_in_the_next_list_with_their_page() {
    let app = start();
    let auth = json!({ "token": WIDGET_KEY, "sessionId": SESSION, "userId": "u-9", "domain": "a.example" });
    let headers = [("origin", "https://a.example"), ("referer", "https://a.example/page")];
    let dial = SocketHandshake { auth, headers: &headers, ..SocketHandshake::default() };
    let socket = dial.connect(&app).unwrap_or_else(|refusal| panic!("{refusal}"));
    let list = online(&app);
    assert_eq!(list["total"], 1, "{list}");
    let listed = &list["users"][0];
    assert_eq!((&listed["userId"], &listed["sessionId"]), (&json!("u-9"), &json!(SESSION)));
    assert_eq!(listed["domain"], "a.example");
    assert_eq!(
        (&listed["origin"], &listed["url"]),
        (&json!("https://a.example"), &json!("https://a.example/page"))
    );
    assert!(listed["connectedAt"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24));
    drop(socket);
}

#[test]
fn a_second_tab_announces_nothing_and_closing_the_last_announces_offline() {
    let app = start();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    let first = visitor(&app);
    assert_eq!(admin.next("user_online")["userId"], user());
    let second = visitor(&app);
    drop(first);
    assert_eq!(online(&app)["total"], 1);
    drop(second);
    let gone = json!({ "userId": user(), "sessionId": SESSION, "verified": false });
    assert_eq!(admin.next("user_offline"), gone);
    assert_eq!(online(&app), json!({ "users": [], "total": 0 }));
    // If the second tab had announced something, it would have come before.
    let _third = visitor(&app);
    let (name, _) = admin.event();
    assert_eq!(name, "user_online");
}

#[test]
fn naming_its_session_replaces_the_provisional_entry() {
    let app = start();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    let mut socket = SocketClient::connect(&app, WIDGET_KEY);
    let provisional = admin.next("user_online");
    assert_ne!(provisional["sessionId"], SESSION);
    socket.call("message", &json!({ "text": "hi", "sessionId": SESSION, "url": "https://a.example/1" }));
    assert_eq!(admin.next("user_offline")["userId"], provisional["userId"]);
    let named = admin.next("user_online");
    assert_eq!((&named["userId"], &named["sessionId"]), (&json!(user()), &json!(SESSION)));
    assert_eq!(named["url"], "https://a.example/1");
    assert_eq!(online(&app)["total"], 1);
    socket.call("message", &json!({ "text": "elsewhere", "url": "https://a.example/2" }));
    eventually("the message moved the visitor", || online(&app)["users"][0]["url"] == "https://a.example/2");
}

#[test]
fn staff_are_not_listed() {
    let app = start();
    let _admin = SocketClient::connect(&app, SECRET_KEY);
    let agent = app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "agent" }));
    let _agent = SocketClient::connect(&app, &agent);
    assert_eq!(online(&app)["total"], 0);
}

#[test]
fn after_a_crash_nobody_is_online_until_they_are_back() {
    let data = tempfile::tempdir().expect("a directory");
    let starting = || AppLauncher::new().data(data.path());
    let mut app = starting().start();
    let _before = visitor(&app);
    assert_eq!(online(&app)["total"], 1);
    app.kill();
    let app = starting().start();
    assert_eq!(online(&app)["total"], 0);
    let _back = visitor(&app);
    assert_eq!(online(&app)["total"], 1);
}

#[test]
fn a_thousand_rapid_reconnects_leave_one_visitor_and_then_none() {
    let app = start();
    let mut admin = SocketClient::connect(&app, SECRET_KEY);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| (0..100).for_each(|_| drop(visitor(&app))));
        }
    });
    let last = visitor(&app);
    let list = online(&app);
    assert_eq!((&list["total"], &list["users"][0]["userId"]), (&json!(1), &json!(user())));
    drop(last);
    eventually("nobody is online", || online(&app)["total"] == 0);
    let mut balance = 0;
    // Online and offline alternate, and the last word is offline.
    loop {
        let (name, _) = admin.event();
        balance += if name == "user_online" { 1 } else { -1 };
        assert!((0..=1).contains(&balance), "{name} twice in a row");
        if balance == 0 && admin.is_silent_for(std::time::Duration::from_millis(300)) {
            break;
        }
    }
}
