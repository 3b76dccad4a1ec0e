//! Every limit at its edge: a value at the limit passes, and one more is refused, or cut where the contract says so.

use amoiq_testkit::{ApiResponse, AppLauncher, BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789";

/// Sends a message of the given fields.
fn send(app: &TestApp, mut fields: Value) -> ApiResponse {
    let message = fields.as_object_mut().expect("an object");
    message.entry("text").or_insert_with(|| json!("x"));
    message.entry("sessionId").or_insert_with(|| json!(SESSION));
    app.post(WIDGET_KEY, "/webchat/message", &fields)
}

fn raw(app: &TestApp, body: String) -> ApiResponse {
    let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
    ApiResponse::to(request.header("content-type", "application/json").body(body))
}

/// Checks that exactly this field was refused.
#[track_caller]
fn assert_refused(answer: &ApiResponse, field: &str) {
    assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{answer:?}");
    let fields = answer.body["details"]["fields"].as_object().expect("fields");
    assert_eq!(fields.keys().collect::<Vec<_>>(), [field]);
    assert!(fields[field].is_string());
}

#[test]
fn a_text_has_1_to_10_000_characters_after_trimming() {
    let app = TestApp::start();
    for text in
        ["x".to_owned(), "é".repeat(10_000), format!(" \n{}\t ", "x".repeat(10_000)), "😀".repeat(10_000)]
    {
        assert_eq!(send(&app, json!({"text": text})).status, 200);
        let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}&limit=1"));
        assert_eq!(read[0]["text"], text, "as sent, to the byte");
    }
    for text in [String::new(), " \n\t\u{a0}\u{2003}".to_owned(), "x".repeat(10_001), "é".repeat(10_001)] {
        assert_refused(&send(&app, json!({"text": text})), "text");
    }
    assert_refused(&send(&app, json!({"text": null})), "text");
    assert_refused(&send(&app, json!({"text": 7})), "text");
}

#[test]
fn a_text_is_never_changed() {
    let app = TestApp::start();
    let texts =
        ["<script>alert('x')</script> & \"q\"", "a\u{202e}b\u{feff}\u{7f}\u{1b}[0m\r\n", "e\u{301} é ﷽ 👩‍👩‍👧‍👦"];
    for text in texts {
        app.say(WIDGET_KEY, SESSION, text);
    }
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
    assert_eq!(read.iter().map(|message| &message["text"]).collect::<Vec<_>>(), texts);
}

#[test]
fn a_body_has_at_most_128_kib() {
    let app = TestApp::start();
    let padded = |size: usize| {
        let body = format!(r#"{{"text":"x","sessionId":"{SESSION}"}}"#);
        format!("{body}{}", " ".repeat(size - body.len()))
    };
    assert_eq!(raw(&app, padded(131_072)).status, 200);
    assert_eq!(raw(&app, padded(131_073)).error(), (413, "PAYLOAD_TOO_LARGE"));
}

#[test]
fn an_id_of_a_message_has_1_to_256_bytes_without_control_characters() {
    let app = TestApp::start();
    for field in ["sessionId", "userId", "clientMessageId", "temp_id", "fingerprint", "siteId"] {
        for good in ["x".to_owned(), "x".repeat(256), "é".repeat(128), "a b/c\u{2028}\"'<".to_owned()] {
            let answer = send(&app, json!({field: good}));
            assert_eq!(answer.status, 200, "{field}: {answer:?}");
        }
        for bad in
            ["x".repeat(257), "é".repeat(129), "a\nb".to_owned(), "\u{7f}".to_owned(), "\u{85}".to_owned()]
        {
            assert_refused(&send(&app, json!({field: bad})), field);
        }
    }
}

#[test]
fn an_idempotency_key_is_an_id_too() {
    let app = TestApp::start();
    let keyed = |key: &str| {
        let request = app.request(Method::POST, "/webchat/message").bearer_auth(WIDGET_KEY);
        ApiResponse::to(request.header("idempotency-key", key).json(&json!({"text": "x"})))
    };
    assert_eq!(keyed(&"x".repeat(256)).status, 200);
    assert_refused(&keyed(&"x".repeat(257)), "Idempotency-Key");
    assert_refused(&keyed("a\tb"), "Idempotency-Key");
}

#[test]
fn a_tenant_id_follows_the_rules_of_ids_everywhere() {
    let app = TestApp::start();
    let long = "x".repeat(257);
    assert_refused(&send(&app, json!({"tenantId": long})), "tenantId");
    assert_eq!(send(&app, json!({"tenantId": "x".repeat(256)})).error(), (403, "FORBIDDEN"));
    let read = |tenant: &str| {
        app.get(WIDGET_KEY, &format!("/api/chat/messages?sessionId={SESSION}&tenantId={tenant}"))
    };
    assert_refused(&read(&long), "tenantId");
    assert_refused(&read("a%00"), "tenantId");
    assert_eq!(read(&"x".repeat(256)).error(), (403, "FORBIDDEN"));
}

#[test]
fn an_id_of_a_query_or_a_path_has_the_same_limits() {
    let app = TestApp::start();
    let path = |field: &str, id: &str| format!("/api/chat/messages?{field}={id}");
    let long = "x".repeat(257);
    for field in ["sessionId", "userId"] {
        for bad in [long.as_str(), "a%0Ab", "%C2%85", "a%00"] {
            assert_refused(&app.get(SECRET_KEY, &path(field, bad)), field);
        }
        assert_eq!(app.get(SECRET_KEY, &path(field, &"x".repeat(256))).status, 404);
    }
    let close = |id: &str| app.post(SECRET_KEY, &format!("/api/chat/sessions/{id}/close"), &json!({}));
    for bad in [long.as_str(), "a%0Ab", "a%00"] {
        assert_refused(&close(bad), "sessionId");
    }
    assert_eq!(close(&"x".repeat(256)).error(), (404, "SESSION_NOT_FOUND"));
}

#[test]
fn an_id_of_a_token_has_the_same_limits() {
    let app = TestApp::start();
    let mint = |user: &str, session: Option<&str>| {
        let wanted = json!({"userId": user, "sessionId": session, "role": "visitor"});
        app.post(SECRET_KEY, "/api/chat/token", &wanted)
    };
    assert_eq!(mint(&"x".repeat(256), Some(&"s".repeat(256))).status, 200);
    assert_refused(&mint(&"x".repeat(257), None), "userId");
    assert_refused(&mint("a\nb", None), "userId");
    assert_refused(&mint("u", Some(&"s".repeat(257))), "sessionId");
    let anonymous =
        |session: &str| app.post(WIDGET_KEY, "/api/chat/anonymous-token", &json!({"sessionId": session}));
    let longest = "s".repeat(256);
    let token = anonymous(&longest).body["token"].as_str().map(str::to_owned).expect("a token");
    app.say(&token, &longest, "the longest session works");
    assert_refused(&anonymous(&"s".repeat(257)), "sessionId");
    assert_refused(&anonymous("session\t0123456789"), "sessionId");
}

#[test]
fn user_info_is_an_object_of_at_most_4_kib() {
    let app = TestApp::start();
    // {"name":""} is eleven bytes.
    for (length, status) in [(4_085, 200), (4_086, 400)] {
        let answer = send(&app, json!({"userInfo": {"name": "x".repeat(length)}}));
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(send(&app, json!({"userInfo": {"any": {"thing": [1, null, true]}}})).status, 200);
    for bad in
        [json!("John"), json!([]), json!(7), json!({"name": "a\0"}), json!({"a\0": 1}), json!({"a": ["\0"]})]
    {
        assert_refused(&send(&app, json!({"userInfo": bad})), "userInfo");
    }
}

#[test]
fn a_visitors_location_is_cut_and_never_refused() {
    let app = TestApp::start();
    for field in ["url", "referrer", "origin", "domain"] {
        for length in [0, 2_048, 2_049, 20_000] {
            let answer = send(&app, json!({field: "x".repeat(length)}));
            assert_eq!(answer.status, 200, "{field} of {length}: {answer:?}");
        }
        assert_refused(&send(&app, json!({field: "a\0b"})), field);
    }
}

#[test]
fn nul_and_lone_surrogates_are_refused_in_every_field_that_is_kept() {
    let app = TestApp::start();
    let fields = [
        "text",
        "sessionId",
        "userId",
        "clientMessageId",
        "temp_id",
        "fingerprint",
        "siteId",
        "url",
        "referrer",
        "origin",
        "domain",
        "timestamp",
    ];
    for field in fields {
        for escape in [r"\u0000", r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"\ude00\ud83d"] {
            let text = if field == "text" { "" } else { r#","text":"x""# };
            assert_refused(&raw(&app, format!(r#"{{"{field}":"a{escape}b"{text}}}"#)), field);
        }
    }
    let info = r#"{"text":"x","userInfo":{"name":"\ud83d"}}"#;
    assert_refused(&raw(&app, info.to_owned()), "userInfo");
    let pair = format!(r#"{{"text":"\ud83d\ude00","sessionId":"{SESSION}","unknown":"\ud83d"}}"#);
    assert_eq!(raw(&app, pair).status, 200, "a pair is a character, and unknown fields are ignored");
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"))[0]["text"], "😀");
}

#[test]
fn unknown_fields_are_ignored() {
    let app = TestApp::start();
    let answer =
        send(&app, json!({"sender": "agent", "role": "admin", "seq": 99, "type": "message", "x": {"y": []}}));
    assert_eq!(answer.status, 200);
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
    assert_eq!((&read[0]["sender"], &read[0]["seq"]), (&json!("user"), &json!(1)));
}

#[test]
fn a_clients_own_time_is_kept_and_decides_nothing() {
    let app = TestApp::start();
    for timestamp in [json!("1999-01-01T00:00:00Z"), json!(915_148_800_000_u64), json!("rubbish")] {
        assert_eq!(send(&app, json!({"timestamp": timestamp})).status, 200);
    }
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
    let kept: Vec<_> = read.iter().map(|message| &message["clientTimestamp"]).collect();
    assert_eq!(kept, ["1999-01-01T00:00:00Z", "915148800000", "rubbish"]);
    assert!(read.iter().all(|message| message["timestamp"].as_str().is_some_and(|time| time > "2024")));
}

#[test]
fn a_page_of_history_has_1_to_500_messages() {
    let app = TestApp::start();
    send(&app, json!({}));
    let page =
        |limit: &str| app.get(WIDGET_KEY, &format!("/api/chat/messages?sessionId={SESSION}&limit={limit}"));
    for good in ["1", "500", ""] {
        assert_eq!(page(good).status, 200, "{good}");
    }
    for bad in ["0", "501", "-1", "1.5", "x", "99999999999"] {
        assert_refused(&page(bad), "limit");
    }
}

#[test]
fn a_session_has_a_limit_of_events() {
    // The first message is three events: the session, the conversation and the message.
    let app = AppLauncher::new().environment("AMOIQ__LIMITS__EVENTS_PER_SESSION", "5").start();
    let message = |id: &str| send(&app, json!({"clientMessageId": id}));
    let taken: Vec<_> = ["a", "b", "c"].map(message).iter().map(|answer| answer.status).collect();
    assert_eq!(taken, [200; 3]);
    for credential in [WIDGET_KEY, SECRET_KEY, BOT_KEY] {
        let full = app.post(credential, "/webchat/message", &json!({"text": "x", "sessionId": SESSION}));
        assert_eq!(full.error(), (400, "VALIDATION_FAILED"));
        assert_eq!(full.body["details"]["reason"], "session_full");
    }
    let repeat = message("c");
    assert_eq!((repeat.status, &repeat.body["duplicate"]), (200, &json!(true)), "a repeat takes no place");
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}")).len(), 3);
    assert_eq!(send(&app, json!({"sessionId": "session-of-another-1"})).status, 200);
    // Once it is closed, retention removes it; a message would open it again, and is refused.
    for _ in 0..2 {
        assert_eq!(
            app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &json!({})).status,
            200
        );
    }
    assert_eq!(message("d").body["details"]["reason"], "session_full");
}

#[test]
fn a_token_is_good_for_1_second_to_24_hours_for_staff_and_30_days_for_visitors() {
    let app = TestApp::start();
    for (role, longest) in [("agent", 86_400), ("admin", 86_400), ("visitor", 2_592_000)] {
        let mint = |ttl: Value| {
            app.post(SECRET_KEY, "/api/chat/token", &json!({"userId": "u", "role": role, "ttlSeconds": ttl}))
        };
        for good in [json!(1), json!(longest)] {
            assert_eq!(mint(good.clone()).body["expiresIn"], good);
        }
        assert_eq!(mint(Value::Null).body["expiresIn"], 3_600);
        for bad in [json!(0), json!(longest + 1), json!(-1), json!(1.5), json!("x"), json!(u64::MAX)] {
            assert_refused(&mint(bad), "ttlSeconds");
        }
    }
}

#[test]
fn an_id_of_less_than_16_characters_opens_no_session_to_a_public_credential() {
    let app = TestApp::start();
    let (short, long) = ("s23456789012345", "s234567890123456");
    for session in [short, long] {
        app.say(WIDGET_KEY, session, "anybody may write");
    }
    let unbound = app.mint_token(SECRET_KEY, &json!({"userId": "u", "role": "visitor"}));
    for credential in [WIDGET_KEY, &unbound] {
        let read = |session: &str| app.get(credential, &format!("/api/chat/messages?sessionId={session}"));
        assert_eq!(read(short).error(), (403, "FORBIDDEN"));
        assert_eq!(read(long).status, 200);
    }
    let mint =
        |session: &str| app.post(WIDGET_KEY, "/api/chat/anonymous-token", &json!({"sessionId": session}));
    assert_eq!(mint(short).error(), (403, "FORBIDDEN"));
    assert_eq!(mint(long).status, 200);
    for staff in [SECRET_KEY, BOT_KEY] {
        assert_eq!(app.messages(staff, &format!("sessionId={short}")).len(), 1);
    }
}

#[test]
fn guesses_of_session_ids_are_limited_for_each_client() {
    let app = AppLauncher::new()
        .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1000")
        .environment("AMOIQ__RATE_LIMIT__SESSION_MISSES_PER_MINUTE", "3")
        .start();
    app.say(WIDGET_KEY, SESSION, "x");
    let bound = app.anonymous_token(WIDGET_KEY, SESSION);
    let guess =
        |number: u32| app.get(WIDGET_KEY, &format!("/api/chat/messages?sessionId=session-guessed-{number}"));
    let own = format!("/api/chat/messages?sessionId={SESSION}");
    for number in 0..3 {
        assert_eq!(app.get(WIDGET_KEY, &own).status, 200, "what exists is no miss");
        assert_eq!(guess(number).status, 200);
    }
    assert_eq!(app.get(WIDGET_KEY, &own).status, 429, "a refusal does not tell what exists");
    let refused = guess(3);
    assert_eq!(refused.error(), (429, "RATE_LIMIT_EXCEEDED"));
    assert!(!refused.header("retry-after").is_empty());
    let mint = app.post(WIDGET_KEY, "/api/chat/anonymous-token", &json!({"sessionId": "session-guessed-4"}));
    assert_eq!(mint.error(), (429, "RATE_LIMIT_EXCEEDED"), "one count for everything that an id opens");
    for credential in [bound.as_str(), SECRET_KEY] {
        assert_eq!(app.get(credential, &own).status, 200, "who has more than an id guesses nothing");
    }
}

#[test]
fn the_longest_message_that_can_be_configured_is_taken() {
    let app = AppLauncher::new().config("[limits]\nbody_bytes = 1048576\ntext_characters = 1048576").start();
    let text = "x".repeat(1_048_576 - 200);
    let sent = send(&app, json!({ "text": text }));
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}")).len(), 1);
}
