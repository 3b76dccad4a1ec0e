//! Who may manage endpoints: admins and secret keys, each in their own tenant.

use amoiq_testkit::{ApiResponse, TestApp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SESSION, register, send, starting};

const TENANTS: &str = "
[[tenants]]
id = 'acme'
widget_keys = ['wk_acme_00000']
secret_keys = ['sk_acme_00000']
bot_keys = ['bk_acme_00000']
[[tenants]]
id = 'bravo'
secret_keys = ['sk_bravo_0000']
[[tenants]]
id = '*'
secret_keys = ['sk_every_0000']
";

const SECRET: &str = "sk_acme_00000";

/// Every route below an endpoint, and what a caller who may is answered.
const ROUTES: [(Method, &str, u16); 14] = [
    (Method::GET, "", 200),
    (Method::PATCH, "", 200),
    (Method::POST, "/pause", 200),
    (Method::POST, "/resume", 200),
    (Method::POST, "/test", 200),
    (Method::POST, "/rotate-secret", 200),
    (Method::GET, "/deliveries", 200),
    (Method::POST, "/deliveries/msg-01a20400-0000-7000-8000-000000000000/redeliver", 404),
    (Method::POST, "/deliveries/msg-01a20400-0000-7000-8000-000000000000/skip", 404),
    (Method::POST, "/deliveries/skip", 400),
    (Method::POST, "/replay", 202),
    (Method::GET, "/replay", 200),
    (Method::DELETE, "/replay", 204),
    (Method::DELETE, "", 204),
];

fn start() -> TestApp {
    starting().config(TENANTS).start()
}

fn call(app: &TestApp, credential: &str, method: &Method, path: &str) -> ApiResponse {
    if *method == Method::GET {
        return app.get(credential, path);
    }
    send(app, credential, method.clone(), path, &json!({"from": 0, "description": "changed"}))
}

fn make(app: &TestApp, credential: &str, tenant: &str) -> String {
    let url = "http://127.0.0.1:9/";
    register(app, credential, &json!({"url": url, "tenantId": tenant})).0
}

#[test]
fn admins_and_secret_keys_manage_and_nobody_else() {
    let app = start();
    let mint = |role: &str| {
        let session = (role == "visitor").then_some(SESSION);
        app.mint_token(SECRET, &json!({"userId": "u-1", "role": role, "sessionId": session}))
    };
    let (agent, visitor, admin) = (mint("agent"), mint("visitor"), mint("admin"));
    let anonymous = app.anonymous_token("wk_acme_00000", SESSION);
    let id = make(&app, SECRET, "acme");
    let before = app.get(SECRET, "/api/webhooks").body;
    let refused = ["wk_acme_00000", "bk_acme_00000", &anonymous, &visitor, &agent];
    for credential in refused {
        for (method, rest, _) in &ROUTES {
            let answer = call(&app, credential, method, &format!("/api/webhooks/{id}{rest}"));
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{credential} {method} {rest}: {answer:?}");
        }
        for method in [Method::GET, Method::POST] {
            let answer = call(&app, credential, &method, "/api/webhooks");
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{credential} {method}: {answer:?}");
        }
    }
    let unknown = call(&app, "sk_unknown_0000", &Method::GET, "/api/webhooks");
    assert_eq!(unknown.error(), (401, "INVALID_API_KEY"));
    assert_eq!(app.get(SECRET, "/api/webhooks").body, before);
    for credential in [SECRET, &admin] {
        let id = make(&app, credential, "acme");
        for (method, rest, status) in &ROUTES {
            let answer = call(&app, credential, method, &format!("/api/webhooks/{id}{rest}"));
            assert_eq!(answer.status, *status, "{credential} {method} {rest}: {answer:?}");
        }
    }
}

#[test]
fn an_endpoint_of_another_tenant_does_not_exist() {
    let app = start();
    let theirs = make(&app, "sk_bravo_0000", "bravo");
    let before = app.get("sk_bravo_0000", "/api/webhooks").body;
    for (method, rest, _) in &ROUTES {
        for id in [&theirs, "wh-nobody", "%00", "wh%2F.."] {
            let answer = call(&app, SECRET, method, &format!("/api/webhooks/{id}{rest}"));
            assert_eq!(answer.error(), (404, "WEBHOOK_NOT_FOUND"), "{method} {id}{rest}: {answer:?}");
        }
        let named = call(&app, SECRET, method, &format!("/api/webhooks/{theirs}{rest}?tenantId=bravo"));
        assert_eq!(named.error(), (403, "FORBIDDEN"), "{method} {rest}: {named:?}");
    }
    assert_eq!(app.get(SECRET, "/api/webhooks").body, json!({"webhooks": []}));
    assert_eq!(app.get("sk_bravo_0000", "/api/webhooks").body, before);
}

#[test]
fn a_key_for_every_tenant_manages_the_one_that_it_names() {
    let app = start();
    let id = make(&app, "sk_every_0000", "bravo");
    let path = format!("/api/webhooks/{id}");
    assert_eq!(app.get("sk_every_0000", &path).error(), (400, "MISSING_TENANT_ID"));
    assert_eq!(app.get("sk_every_0000", &format!("{path}?tenantId=bravo")).status, 200);
    let elsewhere = app.get("sk_every_0000", &format!("{path}?tenantId=acme"));
    assert_eq!(elsewhere.error(), (404, "WEBHOOK_NOT_FOUND"));
    let nobody = app.get("sk_every_0000", "/api/webhooks?tenantId=nobody");
    assert_eq!(nobody.error(), (404, "TENANT_NOT_FOUND"));
    assert_eq!(app.get("sk_bravo_0000", &path).status, 200);
}

#[test]
fn another_method_is_answered_with_the_allowed_ones() {
    let app = start();
    for (path, allow) in [
        ("/api/webhooks", "GET, HEAD, POST"),
        ("/api/webhooks/wh-1", "GET, HEAD, PATCH, DELETE"),
        ("/api/webhooks/wh-1/pause", "POST"),
        ("/api/webhooks/wh-1/deliveries", "GET, HEAD"),
        ("/api/webhooks/wh-1/replay", "GET, HEAD, POST, DELETE"),
    ] {
        let answer = send(&app, SECRET, Method::PUT, path, &Value::Null);
        assert_eq!(answer.error(), (405, "METHOD_NOT_ALLOWED"), "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}
