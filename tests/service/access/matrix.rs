//! Who may do what: every kind of credential on every endpoint, in its own tenant and against another.

use amoiq_testkit::{ApiResponse, AppLauncher, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

const TENANTS: &str = "
[[tenants]]
id = 'acme'
widget_keys = ['wk_acme_00000']
secret_keys = ['sk_acme_00000']
bot_keys = ['bk_acme_00000']
[[tenants]]
id = 'bravo'
widget_keys = ['wk_bravo_0000']
secret_keys = ['sk_bravo_0000']
";

const OURS: &str = "session-of-acme-0001";
const THEIRS: &str = "session-of-bravo-001";
const SECRET_WORDS: &str = "only bravo may read this";

/// One credential of each kind, all of acme, with their names.
fn credentials(app: &TestApp) -> Vec<(&'static str, String)> {
    let mint = |wanted: Value| app.mint_token("sk_acme_00000", &wanted);
    vec![
        ("widget", "wk_acme_00000".to_owned()),
        ("secret", "sk_acme_00000".to_owned()),
        ("bot", "bk_acme_00000".to_owned()),
        ("anonymous", app.anonymous_token("wk_acme_00000", OURS)),
        ("visitor", mint(json!({"userId": "u-1", "role": "visitor", "sessionId": OURS}))),
        ("agent", mint(json!({"userId": "ann", "role": "agent"}))),
        ("admin", mint(json!({"userId": "ada", "role": "admin"}))),
    ]
}

/// The service with two tenants, each with a session.
fn start() -> TestApp {
    let app = AppLauncher::new().config(TENANTS).start();
    app.say("wk_acme_00000", OURS, "hello");
    app.say("wk_bravo_0000", THEIRS, SECRET_WORDS);
    app
}

/// An endpoint and a valid body for it; `{session}` is filled in.
const ENDPOINTS: [(&str, &str); 10] = [
    ("POST", "/webchat/message"),
    ("GET", "/api/chat/messages?sessionId={session}"),
    ("GET", "/api/chat/messages?userId=u-1"),
    ("POST", "/api/chat/anonymous-token"),
    ("POST", "/api/chat/token"),
    ("GET", "/api/chat/online-users"),
    ("POST", "/api/chat/sessions/{session}/close"),
    ("POST", "/webchat/session"),
    ("POST", "/webchat/init"),
    ("GET", "/webchat/messages?sessionId={session}"),
];

/// Where a request names tenants.
#[derive(Debug, Clone, Copy, Default)]
struct Named {
    query: Option<&'static str>,
    header: Option<&'static str>,
    body: Option<&'static str>,
}

fn call(app: &TestApp, credential: &str, endpoint: (&str, &str), session: &str, named: Named) -> ApiResponse {
    let (method, path) = endpoint;
    let mut path = path.replace("{session}", session);
    if let Some(tenant) = named.query {
        path = format!("{path}{}tenantId={tenant}", if path.contains('?') { '&' } else { '?' });
    }
    let mut request = app.request(method.parse().expect("a method"), &path).bearer_auth(credential);
    if let Some(tenant) = named.header {
        request = request.header("x-tenant-id", tenant);
    }
    if method == "POST" {
        let mut body = json!({"tenantId": named.body, "text": "from acme"});
        let fields = body.as_object_mut().expect("an object");
        if path.starts_with("/api/chat/token") {
            fields.extend([("userId".to_owned(), json!("u-1")), ("role".to_owned(), json!("visitor"))]);
        }
        fields.insert("sessionId".to_owned(), json!(session));
        request = request.json(&body);
    }
    ApiResponse::to(request)
}

#[test]
fn no_credential_reaches_another_tenant() {
    let app = start();
    let read_theirs = || app.get("sk_bravo_0000", &format!("/api/chat/messages?sessionId={THEIRS}")).body;
    let before = read_theirs();
    let (acme, bravo) = (Some("acme"), Some("bravo"));
    let attempts = [
        (Named { query: bravo, ..Named::default() }, (403, "FORBIDDEN")),
        (Named { header: bravo, ..Named::default() }, (403, "FORBIDDEN")),
        (Named { body: bravo, ..Named::default() }, (403, "FORBIDDEN")),
        (Named { query: bravo, header: bravo, body: bravo }, (403, "FORBIDDEN")),
        (Named { query: Some("nobody"), ..Named::default() }, (403, "FORBIDDEN")),
        (Named { query: acme, header: bravo, body: None }, (400, "VALIDATION_FAILED")),
        (Named { query: bravo, header: acme, body: None }, (400, "VALIDATION_FAILED")),
        (Named { query: acme, header: None, body: bravo }, (400, "VALIDATION_FAILED")),
        (Named { query: None, header: acme, body: bravo }, (400, "VALIDATION_FAILED")),
        (Named { query: None, header: bravo, body: acme }, (400, "VALIDATION_FAILED")),
    ];
    let mut tried = 0;
    for (kind, credential) in credentials(&app) {
        for endpoint in ENDPOINTS {
            // A GET has no body to name a tenant in.
            let possible = |named: &Named| endpoint.0 == "POST" || named.body.is_none();
            for (named, expected) in attempts.iter().filter(|(named, _)| possible(named)) {
                let answer = call(&app, &credential, endpoint, THEIRS, *named);
                assert_eq!(answer.error(), *expected, "{kind} {endpoint:?} {named:?}: {answer:?}");
                assert!(!answer.body.to_string().contains(SECRET_WORDS));
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 7 * (6 * 10 + 4 * 5));
    assert_eq!(read_theirs(), before, "bravo's session is as it was");
}

#[test]
fn another_tenants_session_id_names_a_session_of_the_callers_own() {
    let app = start();
    for (kind, credential) in credentials(&app) {
        for endpoint in ENDPOINTS {
            let answer = call(&app, &credential, endpoint, THEIRS, Named::default());
            assert!(!answer.body.to_string().contains(SECRET_WORDS), "{kind} {endpoint:?}: {answer:?}");
        }
    }
    let theirs = app.messages("sk_bravo_0000", &format!("sessionId={THEIRS}"));
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0]["text"], SECRET_WORDS);
    let ours = app.messages("sk_acme_00000", &format!("sessionId={THEIRS}"));
    assert!(!ours.is_empty() && ours.iter().all(|message| message["text"] == "from acme"), "{ours:?}");
}

#[test]
fn a_users_history_ends_at_the_tenant() {
    let app = start();
    for secret in ["sk_acme_00000", "sk_bravo_0000"] {
        let token = app.mint_token(secret, &json!({"userId": "shared", "role": "visitor"}));
        app.say(&token, &format!("session-shared-{secret}"), secret);
    }
    for secret in ["sk_acme_00000", "sk_bravo_0000"] {
        let token = app.mint_token(secret, &json!({"userId": "shared", "role": "visitor"}));
        for credential in [secret, &token] {
            let texts: Vec<_> =
                app.messages(credential, "userId=shared").iter().map(|m| m["text"].clone()).collect();
            assert_eq!(texts, [secret]);
        }
    }
}

#[test]
fn each_credential_may_do_what_the_contract_says() {
    let endpoints = ENDPOINTS;
    // In the order of the endpoints above.
    let allowed = [
        ("widget", [200, 200, 403, 200, 403, 403, 403, 200, 200, 200]),
        ("secret", [200, 200, 404, 200, 200, 200, 200, 403, 403, 200]),
        ("bot", [200, 200, 403, 403, 403, 403, 403, 403, 403, 200]),
        ("anonymous", [200, 200, 403, 403, 403, 403, 403, 200, 200, 200]),
        ("visitor", [200, 200, 200, 403, 403, 403, 403, 403, 403, 200]),
        ("agent", [200, 200, 404, 403, 403, 200, 200, 403, 403, 200]),
        ("admin", [200, 200, 404, 403, 403, 200, 200, 403, 403, 200]),
    ];
    for (kind, expected) in allowed {
        // A visitor's message would close the session to the credentials after it.
        let app = start();
        let credentials = credentials(&app);
        let (_, credential) = credentials.iter().find(|(name, _)| *name == kind).expect("one of each kind");
        let statuses = endpoints.map(|endpoint| match (kind, endpoint) {
            // Before the visitor's first message as u-1, nobody was verified as that user.
            ("visitor", ("GET", path)) if path.contains("userId") => {
                let answer = call(&app, credential, endpoint, OURS, Named::default());
                assert_eq!(answer.body["messages"].as_array().map(Vec::len), Some(2), "{answer:?}");
                answer.status
            }
            _ => call(&app, credential, endpoint, OURS, Named::default()).status,
        });
        assert_eq!(statuses, expected, "{kind}");
    }
}

#[test]
fn the_sender_follows_from_the_credential() {
    let app = start();
    for (kind, credential) in credentials(&app) {
        let body =
            json!({"text": kind, "sessionId": OURS, "sender": "bot", "role": "admin", "senderType": "agent"});
        assert_eq!(app.post(&credential, "/webchat/message", &body).status, 200, "{kind}");
        if kind == "anonymous" {
            break;
        }
    }
    for role in ["agent", "admin", "visitor"] {
        let token = app.mint_token("sk_acme_00000", &json!({"userId": "u-1", "role": role}));
        app.say(&token, OURS, role);
    }
    let read = app.messages("sk_acme_00000", &format!("sessionId={OURS}"));
    let senders: Vec<_> = read.iter().map(|message| (&message["text"], &message["sender"])).collect();
    let expected = [
        ("hello", "user"),
        ("widget", "user"),
        ("secret", "agent"),
        ("bot", "bot"),
        ("anonymous", "user"),
        ("agent", "agent"),
        ("admin", "agent"),
        ("visitor", "user"),
    ];
    let expected = expected.map(|(text, sender)| (json!(text), json!(sender)));
    assert_eq!(senders, expected.iter().map(|(text, sender)| (text, sender)).collect::<Vec<_>>());
}

#[test]
fn a_revoked_key_and_its_tokens_open_nothing() {
    let mut app = start();
    let all = credentials(&app);
    app.kill();
    let kept =
        TENANTS.replace("'wk_acme_00000'", "'wk_acme_other'").replace("'sk_acme_00000'", "'sk_acme_other'");
    let app = AppLauncher::new().data(app.data()).config(&kept).start();
    for (kind, credential) in all {
        let expected = match kind {
            "widget" | "secret" => (401, "INVALID_API_KEY"),
            "bot" => (200, ""),
            _ => (401, "INVALID_JWT_TOKEN"),
        };
        let answer = app.get(&credential, &format!("/api/chat/messages?sessionId={OURS}"));
        assert_eq!(answer.error(), expected, "{kind}");
    }
    assert_eq!(app.messages("sk_acme_other", &format!("sessionId={OURS}")).len(), 1, "the history stays");
}

#[test]
fn a_key_of_every_tenant_mints_tokens_for_the_one_that_it_named() {
    let config = format!("{TENANTS}\n[[tenants]]\nid = '*'\nsecret_keys = ['sk_gateway_1']");
    let app = AppLauncher::new().config(&config).start();
    let token =
        app.mint_token("sk_gateway_1", &json!({"tenantId": "acme", "userId": "ann", "role": "agent"}));
    assert_eq!(app.get(&token, "/api/chat/online-users").status, 200);
    assert_eq!(app.get(&token, "/api/chat/online-users?tenantId=bravo").error(), (403, "FORBIDDEN"));
}

#[test]
fn the_demo_tenant_is_not_reached_through_a_proxy() {
    let app = TestApp::start();
    let request = app.request(Method::POST, "/webchat/message").bearer_auth(amoiq_testkit::WIDGET_KEY);
    let answer =
        ApiResponse::to(request.header("x-forwarded-for", "203.0.113.9").json(&json!({"text": "x"})));
    assert_eq!(answer.error(), (403, "FORBIDDEN"));
}
