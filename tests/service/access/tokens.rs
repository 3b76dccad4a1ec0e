//! Tokens: which ones verify, and what each of them opens.

use std::time::{SystemTime, UNIX_EPOCH};

use amoiq_testkit::{ApiResponse, AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, eventually};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SIGNING: &str = "a-secret-of-a-test-0123456789abcdef";
const SESSION: &str = "session-0123456789";
const READ: &str = "/api/chat/messages?sessionId=session-0123456789";
const INVALID: (u16, &str) = (401, "INVALID_JWT_TOKEN");
const FORBIDDEN: (u16, &str) = (403, "FORBIDDEN");

fn start() -> TestApp {
    AppLauncher::new().environment("AMOIQ__AUTH__JWT_SECRET", SIGNING).start()
}

fn start_with_previous(secrets: &str) -> AppLauncher {
    let start = AppLauncher::new().environment("AMOIQ__AUTH__JWT_SECRET", SIGNING);
    start.environment("AMOIQ__AUTH__JWT_PREVIOUS_SECRETS", secrets)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `kid` of a signing secret.
fn kid(secret: &str) -> String {
    hex(&Sha256::digest(secret)[..4])
}

fn header() -> Header {
    Header { kid: Some(kid(SIGNING)), ..Header::new(Algorithm::HS256) }
}

/// Claims as the service makes them for a visitor of the demo tenant.
fn claims() -> Value {
    let now = now_seconds();
    let key = format!("key-{}", &hex(&Sha256::digest(SECRET_KEY))[..12]);
    json!({
        "iss": "amoiq", "aud": "amoiq-chat", "sub": "u-1", "tid": "demo", "sid": SESSION, "role": "visitor",
        "iat": now, "exp": now + 600, "jti": "j-1", "key": key, "verified": true
    })
}

fn now_seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test compares with the real clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn sign(header: &Header, claims: &Value, secret: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|digit| text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63])));
    }
    text
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_token_with_every_claim_and_the_right_signature_is_taken() {
    let app = start();
    let answer = app.get(&sign(&header(), &claims(), SIGNING), READ);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_token_that_this_service_did_not_sign_is_refused() {
    let app = start();
    let other = "another-secret-0123456789abcdef0123";
    let good = sign(&header(), &claims(), SIGNING);
    let (start, signature) = good.rsplit_once('.').expect("three parts");
    let foreign = Header { kid: Some(kid(other)), ..header() };
    let mut agent = claims();
    agent["role"] = json!("agent");
    let forged = unsigned(&json!({"alg": "HS256", "typ": "JWT", "kid": kid(SIGNING)}), &agent, signature);
    let mut wrong_end = start.to_owned();
    wrong_end.push_str(".AAAA");
    let refused = [
        ("another secret under our kid", sign(&header(), &claims(), other)),
        ("another secret under its own kid", sign(&foreign, &claims(), other)),
        ("no kid", sign(&Header::new(Algorithm::HS256), &claims(), SIGNING)),
        ("HS384", sign(&Header { alg: Algorithm::HS384, ..header() }, &claims(), SIGNING)),
        ("HS512", sign(&Header { alg: Algorithm::HS512, ..header() }, &claims(), SIGNING)),
        ("alg none", unsigned(&json!({"alg": "none", "kid": kid(SIGNING)}), &claims(), "")),
        ("alg None", unsigned(&json!({"alg": "None", "kid": kid(SIGNING)}), &claims(), "")),
        (
            "alg none with a signature",
            unsigned(&json!({"alg": "none", "kid": kid(SIGNING)}), &claims(), signature),
        ),
        ("alg RS256", unsigned(&json!({"alg": "RS256", "kid": kid(SIGNING)}), &claims(), signature)),
        ("no alg", unsigned(&json!({"kid": kid(SIGNING)}), &claims(), signature)),
        ("other claims under the signature", forged),
        ("another signature", wrong_end),
        ("no signature", format!("{start}.")),
        ("nothing", "..".to_owned()),
        ("rubbish", "a.b.c".to_owned()),
        ("not base64", "!.!.!".to_owned()),
    ];
    for (what, token) in refused {
        let answer = app.get(&token, READ);
        assert_eq!(answer.error(), INVALID, "{what}: {answer:?}");
    }
}

#[test]
fn a_token_that_lacks_a_claim_or_has_a_wrong_one_is_refused() {
    let app = start();
    for claim in ["iss", "aud", "sub", "tid", "role", "iat", "exp", "jti", "key"] {
        let mut lacking = claims();
        lacking.as_object_mut().expect("an object").remove(claim);
        let answer = app.get(&sign(&header(), &lacking, SIGNING), READ);
        assert_eq!(answer.error(), INVALID, "without {claim}: {answer:?}");
    }
    let wrong = [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("tid", json!("other")),
        ("tid", json!("*")),
        ("role", json!("owner")),
        ("exp", json!(now_seconds())),
        ("exp", json!("tomorrow")),
        ("key", json!("key-000000000000")),
    ];
    for (claim, value) in wrong {
        let mut bad = claims();
        bad[claim] = value;
        let answer = app.get(&sign(&header(), &bad, SIGNING), READ);
        assert_eq!(answer.error(), INVALID, "{claim}: {bad}: {answer:?}");
    }
}

#[test]
fn a_token_expires_after_its_ttl() {
    let app = start();
    let token = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "agent", "ttlSeconds": 1}));
    let online = "/api/chat/online-users";
    eventually("the token expires", || app.get(&token, online).error() == INVALID);
}

#[test]
fn a_signing_key_is_rotated_without_ending_its_tokens() {
    let mut app = start();
    let old = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "agent"}));
    app.kill();
    let next = "the-next-secret-0123456789abcdef012";
    let rotated = |previous: &str| {
        let start = AppLauncher::new().data(app.data()).environment("AMOIQ__AUTH__JWT_SECRET", next);
        start.environment("AMOIQ__AUTH__JWT_PREVIOUS_SECRETS", previous).start()
    };
    let mut both = rotated(SIGNING);
    assert_eq!(both.get(&old, "/api/chat/online-users").status, 200);
    let new = both.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "agent"}));
    both.kill();
    let one = AppLauncher::new().data(app.data()).environment("AMOIQ__AUTH__JWT_SECRET", next).start();
    assert_eq!(one.get(&old, "/api/chat/online-users").error(), INVALID);
    assert_eq!(one.get(&new, "/api/chat/online-users").status, 200);
}

#[test]
fn an_empty_previous_secret_opens_nothing() {
    let none = start_with_previous("").start();
    for secret in ["", " ", ","] {
        let header = Header { kid: Some(kid(secret)), ..Header::new(Algorithm::HS256) };
        assert_eq!(none.get(&sign(&header, &claims(), secret), READ).error(), INVALID, "{secret:?}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let listed =
        AppLauncher::new().data(directory.path()).config("[auth]\njwt_previous_secrets = ['']").output();
    assert!(!listed.status.success());
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(said.contains("auth.jwt_previous_secrets"), "{said}");
}

#[test]
fn a_token_outlives_a_restart_under_the_secret_that_was_made() {
    let mut app = TestApp::start();
    let token = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "agent"}));
    app.kill();
    let again = AppLauncher::new().data(app.data()).start();
    assert_eq!(again.get(&token, "/api/chat/online-users").status, 200);
}

#[test]
fn an_anonymous_token_opens_its_one_session() {
    let app = start();
    app.say(WIDGET_KEY, SESSION, "mine");
    app.say(WIDGET_KEY, "session-of-another-1", "another's");
    let token = app.anonymous_token(WIDGET_KEY, SESSION);
    assert_eq!(app.messages(&token, "").len(), 1);
    assert_eq!(app.messages(&token, &format!("sessionId={SESSION}&userId=anybody")).len(), 1);
    assert_eq!(app.get(&token, "/api/chat/messages?sessionId=session-of-another-1").error(), FORBIDDEN);
    assert_eq!(app.get(&token, "/api/chat/messages?userId=u-1").error(), FORBIDDEN);
    let elsewhere = json!({"text": "x", "sessionId": "session-of-another-1"});
    assert_eq!(app.post(&token, "/webchat/message", &elsewhere).error(), FORBIDDEN);
    let unnamed =
        app.post(&token, "/webchat/message", &json!({"text": "into the bound one", "userId": "claim"}));
    assert_eq!(unnamed.body["sessionId"], SESSION);
}

#[test]
fn an_anonymous_token_gives_no_further_tokens() {
    let app = start();
    let token = app.anonymous_token(WIDGET_KEY, SESSION);
    for path in ["/api/chat/anonymous-token", "/api/chat/token"] {
        let answer = app.post(&token, path, &json!({"userId": "u-1", "role": "agent"}));
        assert_eq!(answer.error(), FORBIDDEN, "{path}");
    }
}

#[test]
fn a_verified_token_is_its_user_and_nobody_else() {
    let app = start();
    let token = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let as_other = json!({"text": "x", "sessionId": SESSION, "userId": "u-2"});
    assert_eq!(app.post(&token, "/webchat/message", &as_other).error(), FORBIDDEN);
    for query in ["userId=u-2", "sessionId=session-0123456789&userId=u-2"] {
        assert_eq!(app.get(&token, &format!("/api/chat/messages?{query}")).error(), FORBIDDEN, "{query}");
    }
    app.say(&token, SESSION, "hello");
    assert_eq!(app.messages(SECRET_KEY, &format!("sessionId={SESSION}"))[0]["userId"], "u-1");
}

#[test]
fn a_session_that_a_verified_user_has_used_is_closed_to_everybody_but_them_and_staff() {
    let app = start();
    let before = app.anonymous_token(WIDGET_KEY, SESSION);
    app.say(WIDGET_KEY, SESSION, "before the login");
    let owner = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let other = app.mint_token(SECRET_KEY, &json!({"userId": "u-2", "role": "visitor"}));
    let agent = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "agent"}));
    app.say(&owner, SESSION, "after the login");
    for credential in [&owner, &agent, SECRET_KEY] {
        assert_eq!(app.messages(credential, &format!("sessionId={SESSION}")).len(), 2);
    }
    for credential in [WIDGET_KEY, &before, &other] {
        assert_eq!(app.get(credential, READ).error(), FORBIDDEN);
        let send = json!({"text": "x", "sessionId": SESSION});
        assert_eq!(app.post(credential, "/webchat/message", &send).error(), FORBIDDEN);
    }
    let mint = json!({"sessionId": SESSION});
    assert_eq!(app.post(WIDGET_KEY, "/api/chat/anonymous-token", &mint).error(), FORBIDDEN);
    assert_eq!(app.messages(SECRET_KEY, &format!("sessionId={SESSION}")).len(), 2);
}

#[test]
fn a_verified_token_bound_to_a_session_stays_in_it() {
    let app = start();
    let token =
        app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor", "sessionId": SESSION}));
    assert_eq!(app.post(&token, "/webchat/message", &json!({"text": "x"})).body["sessionId"], SESSION);
    let elsewhere = json!({"text": "x", "sessionId": "session-of-another-1"});
    assert_eq!(app.post(&token, "/webchat/message", &elsewhere).error(), FORBIDDEN);
    assert_eq!(app.get(&token, "/api/chat/messages?sessionId=session-of-another-1").error(), FORBIDDEN);
}

#[test]
fn an_agents_name_in_the_token_is_shown_unless_the_message_names_another() {
    let app = start();
    let agent = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "agent", "name": "Ann"}));
    app.say(WIDGET_KEY, SESSION, "help");
    app.say(&agent, SESSION, "yes?");
    let named = json!({"text": "bye", "sessionId": SESSION, "senderName": "Ann B.", "sender": "user"});
    assert_eq!(app.post(&agent, "/webchat/message", &named).status, 200);
    let read = app.messages(WIDGET_KEY, &format!("sessionId={SESSION}"));
    let shown: Vec<_> = read.iter().map(|message| (&message["sender"], &message["senderName"])).collect();
    let (user, agent) = (json!("user"), json!("agent"));
    assert_eq!(shown, [(&user, &Value::Null), (&agent, &json!("Ann")), (&agent, &json!("Ann B."))]);
}

#[test]
fn without_the_widget_keys_trust_it_opens_new_sessions_only() {
    let app = AppLauncher::new().environment("AMOIQ__SECURITY__WIDGET_KEY_READS_HISTORY", "false").start();
    let token = app.anonymous_token(WIDGET_KEY, SESSION);
    assert!(app.messages(WIDGET_KEY, &format!("sessionId={SESSION}")).is_empty());
    app.say(WIDGET_KEY, SESSION, "hello");
    assert_eq!(app.get(WIDGET_KEY, READ).error(), FORBIDDEN);
    let mint = json!({"sessionId": SESSION});
    assert_eq!(app.post(WIDGET_KEY, "/api/chat/anonymous-token", &mint).error(), FORBIDDEN);
    assert_eq!(app.messages(&token, "").len(), 1, "its own again with that session's token");
    let headed =
        ApiResponse::to(app.request(Method::GET, READ).header("authorization", format!("bearer  {token} ")));
    assert_eq!(headed.status, 200);
}

#[test]
fn a_verified_user_takes_over_no_session_by_guessing_its_id() {
    let app = start();
    app.say(WIDGET_KEY, "s-1001", "before anybody came");
    let guesser = app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": "visitor"}));
    let message = json!({"text": "x", "sessionId": "s-1001"});
    assert_eq!(app.post(&guesser, "/webchat/message", &message).error(), FORBIDDEN);
    assert!(app.messages(&guesser, "").is_empty(), "nothing became theirs");
    app.say(&guesser, "s-1002", "in one that was not there");
    app.say(&guesser, "s-1002", "in their own");
    app.say(WIDGET_KEY, SESSION, "before the login");
    app.say(&guesser, SESSION, "in one whose id says enough");
    assert_eq!(app.messages(&guesser, "").len(), 4);
    app.say(WIDGET_KEY, "s-1001", "nothing happened here");
}

#[test]
fn a_token_claims_no_more_than_its_key_may_vouch_for() {
    let app = start();
    let of_widget_key = |role: &str, verified: bool| {
        let mut claims = claims();
        claims["key"] = json!(format!("key-{}", &hex(&Sha256::digest(WIDGET_KEY))[..12]));
        claims["role"] = json!(role);
        claims["verified"] = json!(verified);
        app.get(&sign(&header(), &claims, SIGNING), READ)
    };
    for (role, verified) in [("visitor", true), ("agent", false), ("admin", false)] {
        assert_eq!(of_widget_key(role, verified).error(), INVALID, "{role} {verified}");
    }
    assert_eq!(of_widget_key("visitor", false).status, 200);
}

#[test]
fn a_blank_secret_refuses_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    for secret in [" ", "\t"] {
        let blank =
            AppLauncher::new().data(directory.path()).environment("AMOIQ__AUTH__JWT_SECRET", secret).output();
        assert!(!blank.status.success());
        let said = String::from_utf8_lossy(&blank.stderr);
        assert!(said.contains("auth.jwt_secret is blank"), "{said}");
    }
}
