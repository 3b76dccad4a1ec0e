//! Reading back: pages of a session, and a user's messages across sessions.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use amoiq_testkit::{AppLauncher, BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789";

/// The `seq` of each message, whether there are more, and the cursor.
fn page(app: &TestApp, query: &str) -> (Vec<u64>, bool, Value) {
    let answer = app.get(SECRET_KEY, &format!("/api/chat/messages?sessionId={SESSION}&{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let messages = answer.body["messages"].as_array().expect("a list");
    let seqs = messages.iter().filter_map(|message| message["seq"].as_u64()).collect();
    (seqs, answer.body["hasMore"] == true, answer.body["nextCursor"].clone())
}

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["text"].as_str()).collect()
}

#[test]
fn a_session_is_paged_backwards_and_forwards() {
    let app = TestApp::start();
    (1..=250).for_each(|number| drop(app.say(WIDGET_KEY, SESSION, &format!("message {number}"))));
    let span = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
    let seqs = |query: &str| page(&app, query).0;
    assert_eq!(seqs(""), span(151, 250), "the newest hundred, ascending");
    assert_eq!(seqs("limit=500"), span(1, 250));
    assert_eq!(seqs("before=11&limit=4"), span(7, 10));
    assert_eq!(seqs("before=3&limit=4"), span(1, 2));
    assert_eq!(seqs("after=10&limit=4"), span(11, 14));
    assert_eq!(seqs("after=248&limit=4"), span(249, 250));
    assert_eq!(seqs("before=1"), span(1, 0));
    assert_eq!(seqs("before=0"), span(1, 0));
    assert_eq!(seqs("after=250"), span(1, 0));
    assert_eq!(seqs("after=4294967295"), span(1, 0));
    let more = [
        "limit=250",
        "limit=249",
        "after=0&limit=249",
        "after=0&limit=250",
        "before=5&limit=4",
        "before=6&limit=4",
    ];
    assert_eq!(more.map(|query| page(&app, query).1), [false, true, true, false, false, true]);
}

#[test]
fn cursors_of_a_session_visit_every_message_once() {
    let app = TestApp::start();
    (1..=25).for_each(|number| drop(app.say(WIDGET_KEY, SESSION, &format!("message {number}"))));
    let (mut all, mut query) = (Vec::new(), "limit=10".to_owned());
    loop {
        let (seqs, has_more, cursor) = page(&app, &query);
        all.splice(0..0, seqs);
        assert_eq!(has_more, cursor.is_string());
        let Some(cursor) = cursor.as_str() else { break };
        query = format!("limit=10&cursor={cursor}");
        app.say(WIDGET_KEY, SESSION, "what comes meanwhile does not disturb");
    }
    assert_eq!(all, (1..=25).collect::<Vec<_>>());
}

#[test]
fn an_unknown_cursor_is_refused() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, SESSION, "x");
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    for query in ["cursor=x", "cursor=u.1.1", "cursor=s.1&before=2", "before=1&after=2"] {
        let answer = app.get(SECRET_KEY, &format!("/api/chat/messages?sessionId={SESSION}&{query}"));
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{query}");
    }
    for query in ["cursor=x", "cursor=s.1", "before=1", "after=1"] {
        let answer = app.get(&user, &format!("/api/chat/messages?{query}"));
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{query}");
    }
}

#[test]
fn a_message_is_in_the_next_read_from_any_connection() {
    let app = TestApp::start();
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    for number in 1..=50 {
        let id = app.say(&user, SESSION, &format!("message {number}"));
        for (credential, query) in
            [(SECRET_KEY, format!("sessionId={SESSION}&limit=1")), (&user, "limit=1".to_owned())]
        {
            assert_eq!(app.messages(credential, &query)[0]["id"], id, "read your write");
        }
    }
}

#[test]
fn a_verified_user_reads_across_sessions_in_the_order_of_the_log() {
    let app = TestApp::start();
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let sessions = ["session-of-user-one-1", "session-of-user-one-2", "session-of-user-one-3"];
    let said: Vec<_> = (0..30).map(|number| format!("message {number}")).collect();
    said.iter().zip(sessions.iter().cycle()).for_each(|(text, session)| drop(app.say(&user, session, text)));
    app.say(SECRET_KEY, sessions[0], "an answer");
    let mut expected: Vec<_> = said.iter().map(String::as_str).collect();
    expected.push("an answer");
    assert_eq!(texts(&app.messages(&user, "limit=500")), expected);
    assert_eq!(texts(&app.messages(SECRET_KEY, "userId=u-1")), expected);
    let (mut all, mut query) = (Vec::new(), "limit=7".to_owned());
    loop {
        let answer = app.get(&user, &format!("/api/chat/messages?userId=u-1&{query}"));
        let messages = answer.body["messages"].as_array().expect("a list").clone();
        all.splice(0..0, messages);
        let Some(cursor) = answer.body["nextCursor"].as_str() else { break };
        query = format!("limit=7&cursor={cursor}");
    }
    assert_eq!(texts(&all), expected, "every page once");
}

#[test]
fn pages_of_a_user_neither_overlap_nor_leave_anything_out_while_the_user_writes() {
    let app = TestApp::start();
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let sessions: Vec<_> = (0..8).map(|number| format!("session-of-user-one-{number}")).collect();
    let said: Vec<_> = (0..80).map(|number| app.say(&user, &sessions[number % 8], "before")).collect();
    let (is_over, mut read) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // Not without end: reading may be slower than writing, and a panic beside it has to end the test.
            let writes = sessions.iter().rev().cycle().take(1_000);
            for session in writes.take_while(|_| !is_over.load(Ordering::Acquire)) {
                app.say(&user, session, "meanwhile");
            }
        });
        for limit in [1, 3, 3, 7] {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let query = format!("/api/chat/messages?userId=u-1&limit={limit}{cursor}");
                let page = app.get(SECRET_KEY, &query).body;
                let messages = page["messages"].as_array().expect("a list");
                let ids = messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned());
                all.splice(0..0, ids);
                let Some(next) = page["nextCursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            read.push(all);
        }
        is_over.store(true, Ordering::Release);
    });
    for all in read {
        assert_eq!(all[..said.len()], said, "everything from before, once and in order");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "nothing twice");
    }
}

#[test]
fn a_claim_to_be_a_user_opens_nothing_and_is_shown_to_staff() {
    let app = TestApp::start();
    let claim = json!({"text": "I say I am u-1", "sessionId": SESSION, "userId": "u-1"});
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &claim).status, 200);
    let verified = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let anonymous = app.anonymous_token(WIDGET_KEY, SESSION);
    assert_eq!(app.messages(&verified, ""), [] as [Value; 0], "a claim is not in the user's history");
    assert_eq!(app.messages(SECRET_KEY, "userId=u-1").len(), 1);
    for credential in [WIDGET_KEY, BOT_KEY, &anonymous] {
        assert_eq!(app.get(credential, "/api/chat/messages?userId=u-1").error(), (403, "FORBIDDEN"));
    }
    let ignored = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}&userId=u-other"));
    assert_eq!(ignored[0]["userId"], "u-1", "ignored where a session is named");
}

#[test]
fn two_visitors_with_the_same_fingerprint_share_nothing() {
    let app = TestApp::start();
    for session in [SESSION, "session-of-another-1"] {
        let body = json!({"text": session, "sessionId": session, "fingerprint": "f-1"});
        assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &body).status, 200);
    }
    assert_eq!(texts(&app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"))), [SESSION]);
}

#[test]
fn a_history_is_the_same_after_a_crash() {
    let mut app = TestApp::start();
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    (0..300).for_each(|number| drop(app.say(&user, SESSION, &format!("message {number}"))));
    app.say(BOT_KEY, SESSION, "a bot's");
    let queries = [format!("sessionId={SESSION}&limit=500"), "userId=u-1&limit=500".to_owned()];
    let before = queries.clone().map(|query| app.messages(SECRET_KEY, &query));
    app.kill();
    let again = AppLauncher::new().data(app.data()).start();
    assert_eq!(queries.map(|query| again.messages(SECRET_KEY, &query)), before);
}
