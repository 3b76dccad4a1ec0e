//! A name that a secret key vouched for belongs to nobody else: claims are distinguishable and replace nobody.

use std::thread;

use amoiq_testkit::{AppLauncher, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually};
use serde_json::{Value, json};

const REAL: &str = "session-of-the-real-one";
const OTHER: &str = "session-of-the-other-one";

fn start() -> TestApp {
    AppLauncher::new().environment("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "50").start()
}

fn token(app: &TestApp) -> String {
    app.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "visitor", "sessionId": REAL }))
}

/// A message of somebody who only says that they are ann.
fn claim(app: &TestApp, session: &str, text: &str) {
    let body = json!({ "sessionId": session, "text": text, "userId": "ann" });
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &body).status, 200);
}

/// For each online user: the id, whether it is verified, and the name that is only claimed; ordered by id.
fn online(app: &TestApp) -> Vec<Value> {
    let list = app.get(SECRET_KEY, "/api/chat/online-users").body;
    let users = list["users"].as_array().expect("a list");
    let mut users: Vec<_> = users
        .iter()
        .map(|user| json!([user["userId"], user["sessionId"], user["verified"], user["claimedUserId"]]))
        .collect();
    users.sort_by_key(Value::to_string);
    users
}

/// The same for the messages of a session, as a credential reads them.
fn names(app: &TestApp, credential: &str, session: &str) -> Vec<Value> {
    let read = app.messages(credential, &format!("sessionId={session}"));
    read.iter().map(|it| json!([it["userId"], it["verified"], it["claimedUserId"]])).collect()
}

fn strangers(session: &str) -> String {
    format!("anonymous-{session}")
}

#[test]
fn a_claim_of_a_proven_name_is_listed_announced_and_stored_as_a_strangers() {
    let app = start();
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    let mut real = SocketClient::connect(&app, &token(&app));
    let came = staff.next("user_online");
    assert_eq!((&came["userId"], &came["verified"]), (&json!("ann"), &json!(true)));
    real.call("message", &json!({ "text": "it is me" }));
    assert_eq!(staff.next("meta_message_created")["message"]["verified"], true);

    let mut other =
        SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER, "userId": "ann" }));
    let came = staff.next("user_online");
    assert_eq!(
        [&came["userId"], &came["sessionId"], &came["verified"], &came["claimedUserId"]],
        [&json!(strangers(OTHER)), &json!(OTHER), &json!(false), &json!("ann")]
    );
    other.call("message", &json!({ "text": "no, me", "userId": "ann" }));
    let told = staff.next("meta_message_created")["message"].take();
    assert_eq!(
        [&told["userId"], &told["verified"], &told["claimedUserId"]],
        [&json!(strangers(OTHER)), &json!(false), &json!("ann")]
    );
    let echo = other.next("meta_message_created")["message"].take();
    assert_eq!(echo["userId"], strangers(OTHER));
    assert!(echo.get("verified").is_none() && echo.get("claimedUserId").is_none(), "{echo}");

    let both = [json!(["ann", REAL, true, null]), json!([strangers(OTHER), OTHER, false, "ann"])];
    assert_eq!(online(&app), both);
    drop(other);
    let gone = staff.next("user_offline");
    assert_eq!(gone, json!({ "userId": strangers(OTHER), "sessionId": OTHER, "verified": false }));
    assert_eq!(online(&app), both[..1]);

    // Staff who answer there name the visitor in the same way.
    app.say(SECRET_KEY, OTHER, "who are you?");
    let stranger = json!([strangers(OTHER), false, "ann"]);
    assert_eq!(names(&app, SECRET_KEY, OTHER), [stranger.clone(), stranger]);
    let shown = json!([strangers(OTHER), null, null]);
    assert_eq!(names(&app, WIDGET_KEY, OTHER), [shown.clone(), shown]);
    let texts =
        |query| app.messages(SECRET_KEY, query).iter().map(|it| it["text"].clone()).collect::<Vec<_>>();
    assert_eq!(texts("userId=ann"), ["it is me"], "what others say in her name is not hers");
}

#[test]
fn a_proof_takes_the_name_from_whoever_had_only_claimed_it() {
    let app = start();
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    let mut claims =
        SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER, "userId": "ann" }));
    claims.call("message", &json!({ "text": "I am ann", "userId": "ann" }));
    assert_eq!(online(&app), [json!(["ann", OTHER, false, null])]);
    assert_eq!(names(&app, SECRET_KEY, OTHER), [json!(["ann", false, null])]);
    let mut real = SocketClient::connect(&app, &token(&app));
    real.call("message", &json!({ "text": "I am" }));
    let both = [json!(["ann", REAL, true, null]), json!([strangers(OTHER), OTHER, false, "ann"])];
    eventually("the claim is a stranger", || online(&app) == both);
    claims.call("message", &json!({ "text": "still", "userId": "ann" }));
    assert_eq!(
        names(&app, SECRET_KEY, OTHER),
        [json!(["ann", false, null]), json!([strangers(OTHER), false, "ann"])]
    );
    drop(claims);
    eventually("the stranger is gone", || online(&app) == both[..1]);
    // Clients that know only `userId` still see her.
    let mut list = std::collections::BTreeSet::new();
    while !list.contains("ann") || !list.contains("end") {
        let (name, user) = staff.event();
        let id = user["userId"].as_str().unwrap_or_default().to_owned();
        match &*name {
            "user_online" => drop(list.insert(id)),
            "user_offline" if id == strangers(OTHER) => drop(list.insert("end".to_owned())),
            "user_offline" => drop(list.remove(&id)),
            _ => {}
        }
    }
}

#[test]
fn a_proof_over_http_counts_at_once_and_after_a_restart() {
    let mut app = start();
    let _claims =
        SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER, "userId": "ann" }));
    app.say(&token(&app), REAL, "it is me");
    claim(&app, "session-of-a-third-one", "me too");
    let stranger = |session| json!([strangers(session), false, "ann"]);
    assert_eq!(names(&app, SECRET_KEY, "session-of-a-third-one"), [stranger("session-of-a-third-one")]);
    eventually("the claim is a stranger", || {
        online(&app) == [json!([strangers(OTHER), OTHER, false, "ann"])]
    });
    app.kill();
    let app = AppLauncher::new().data(app.data()).start();
    claim(&app, "session-of-a-fourth-one", "and me");
    assert_eq!(names(&app, SECRET_KEY, "session-of-a-fourth-one"), [stranger("session-of-a-fourth-one")]);
    let _claims = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "userId": "ann" }));
    let listed = online(&app);
    assert_eq!((listed.len(), &listed[0][3]), (1, &json!("ann")), "{listed:?}");
    assert_eq!(names(&app, SECRET_KEY, REAL), [json!(["ann", true, null])]);
}

#[test]
fn staff_find_what_a_verified_user_wrote_however_many_claim_the_name() {
    let app = start();
    let everybody = |text: &str| {
        thread::scope(|scope| {
            for part in 0..4 {
                let app = &app;
                scope.spawn(move || {
                    for number in (part..1_001).step_by(4) {
                        claim(app, &format!("session-of-somebody-{number:04}"), text);
                    }
                });
            }
        });
    };
    everybody("I am ann");
    app.say(&token(&app), REAL, "it is me");
    everybody("I am ann, as I said");
    let (mut found, mut query) = (0, "userId=ann&limit=500".to_owned());
    loop {
        let answer = app.get(SECRET_KEY, &format!("/api/chat/messages?{query}"));
        let messages = answer.body["messages"].as_array().expect("a list");
        found += messages.iter().filter(|it| it["verified"] == true && it["text"] == "it is me").count();
        let Some(cursor) = answer.body["nextCursor"].as_str() else { break };
        query = format!("userId=ann&limit=500&cursor={cursor}");
    }
    assert_eq!(found, 1);
}

#[test]
fn nobody_can_take_the_name_that_is_shown_for_a_stranger() {
    let app = start();
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    let _stranger = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": REAL }));
    let shown = staff.next("user_online")["userId"].take();
    let _other =
        SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER, "userId": shown }));
    assert_eq!(
        online(&app),
        [
            json!([strangers(OTHER), OTHER, false, strangers(REAL)]),
            json!([strangers(REAL), REAL, false, null])
        ]
    );
    let body = json!({ "sessionId": REAL, "text": "as I am called", "userId": shown });
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &body).status, 200);
    assert_eq!(names(&app, SECRET_KEY, REAL), [json!([strangers(REAL), false, null])], "that is no claim");
}

#[test]
fn the_log_has_the_presence_of_visitors_who_write_and_of_no_others() {
    let mut app = start();
    let mut staff = SocketClient::connect(&app, SECRET_KEY);
    for number in 0..20 {
        let session = format!("session-without-messages-{number:02}");
        // Open until it is announced: a visitor who leaves before that leaves no trace.
        let _visitor = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": session }));
        assert_eq!(staff.next("user_online")["sessionId"], session);
    }
    for _ in 0..20 {
        staff.next("user_offline");
    }
    let mut writes = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": REAL }));
    assert_eq!(staff.next("user_online")["sessionId"], REAL);
    writes.call("message", &json!({ "text": "hello" }));
    drop(writes);
    assert_eq!(staff.next("user_offline")["sessionId"], REAL);
    // Announced once: a broadcast of the event in the log would have come before.
    let _next = SocketClient::connect_with(&app, WIDGET_KEY, &json!({ "sessionId": OTHER }));
    assert_eq!(staff.next("user_online")["sessionId"], OTHER);
    app.kill();
    let log = |kind| {
        let printed = cli::stdout_of(app.data(), &["events", "--json", "--type", kind]);
        printed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for kind in ["user.online", "user.offline"] {
        let lines = log(kind);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(REAL), "{lines:?}");
    }
}
