//! Every error that HTTP can answer with: its status, its code and its form. Errors of the store and of full queues are in
//! `faults`.

use amoiq_testkit::{ApiResponse, AppLauncher, BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::{Value, json};

/// The routes that need a credential.
const ROUTES: [(Method, &str); 5] = [
    (Method::POST, "/webchat/message"),
    (Method::GET, "/api/chat/messages"),
    (Method::POST, "/api/chat/anonymous-token"),
    (Method::POST, "/api/chat/token"),
    (Method::POST, "/api/chat/sessions/session-0123456789/close"),
];

/// Checks that an answer is this error, in the form that every error has.
#[track_caller]
fn assert_error(answer: &ApiResponse, status: u16, code: &str) {
    assert_eq!(answer.error(), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let fields: Vec<_> = answer.body.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["code", "details", "error"]);
    assert!(answer.body["error"].as_str().is_some_and(|error| !error.is_empty()));
    assert!(answer.body["details"].is_object());
}

/// Checks that an answer complains about these fields.
#[track_caller]
fn assert_fields(answer: &ApiResponse, fields: &[&str]) {
    assert_error(answer, 400, "VALIDATION_FAILED");
    let named: Vec<_> = answer.body["details"]["fields"].as_object().expect("fields").keys().collect();
    assert_eq!(named, fields, "{answer:?}");
}

/// A service with a key for every tenant and two tenants.
fn with_gateway() -> TestApp {
    let config = "[[tenants]]\nid = '*'\nsecret_keys = ['sk_gateway_1']\nwidget_keys = ['wk_gateway_1']\n
        [[tenants]]\nid = 'acme'\n[[tenants]]\nid = 'bravo'";
    AppLauncher::new().config(config).start()
}

fn raw(
    app: &TestApp,
    path: &str,
    content_type: &str,
    body: impl Into<reqwest::blocking::Body>,
) -> ApiResponse {
    let request = app.request(Method::POST, path).bearer_auth(WIDGET_KEY);
    ApiResponse::to(request.header("content-type", content_type).body(body))
}

#[test]
fn invalid_api_key_is_for_no_credential_or_one_that_opens_nothing() {
    let app = TestApp::start();
    for (method, path) in ROUTES {
        let request = |credential: Option<&str>| {
            let request = app.request(method.clone(), path);
            ApiResponse::to(match credential {
                Some(credential) => request.header("authorization", credential),
                None => request,
            })
        };
        assert_error(&request(None), 401, "INVALID_API_KEY");
        for credential in [
            "Bearer wk_unknown_00000000",
            "Bearer sk_unknown_00000000",
            "Bearer nonsense",
            "Bearer ",
            "Bearer",
            "Basic d2tfZGVtbw==",
            WIDGET_KEY,
        ] {
            assert_error(&request(Some(credential)), 401, "INVALID_API_KEY");
        }
    }
}

#[test]
fn a_key_in_the_query_is_no_credential() {
    let app = TestApp::start();
    for key in [WIDGET_KEY, SECRET_KEY, BOT_KEY] {
        let path = format!("/api/chat/messages?sessionId=session-0123456789&token={key}&apiKey={key}");
        assert_error(&ApiResponse::to(app.request(Method::GET, &path)), 401, "INVALID_API_KEY");
    }
}

#[test]
fn invalid_jwt_token_is_for_a_token_that_does_not_verify() {
    let app = TestApp::start();
    for (method, path) in ROUTES {
        let answer = ApiResponse::to(app.request(method, path).bearer_auth("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"));
        assert_error(&answer, 401, "INVALID_JWT_TOKEN");
    }
}

#[test]
fn forbidden_is_for_a_good_credential_that_may_not_do_this() {
    let app = TestApp::start();
    assert_error(&app.get(WIDGET_KEY, "/api/chat/online-users"), 403, "FORBIDDEN");
    assert_error(&app.get(WIDGET_KEY, "/api/chat/online-users?tenantId=other"), 403, "FORBIDDEN");
}

#[test]
fn origin_not_allowed_is_for_a_widget_key_on_another_site() {
    let config =
        "[[tenants]]\nid = 'acme'\norigins = ['https://acme.example']\nwidget_keys = ['wk_acme_00000']";
    let app = AppLauncher::new().config(config).start();
    let request = app.request(Method::POST, "/webchat/message").bearer_auth("wk_acme_00000");
    let answer =
        ApiResponse::to(request.header("origin", "https://evil.example").json(&json!({"text": "x"})));
    assert_error(&answer, 403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(answer.body["details"], json!({"origin": "https://evil.example", "namedBy": "Origin"}));
    let body = json!({"text": "x", "origin": "https://evil.example"});
    let answer = app.post("wk_acme_00000", "/webchat/message", &body);
    assert_eq!(answer.body["details"], json!({"origin": "https://evil.example", "namedBy": "origin"}));
    let long = format!("https://{}.example", "a".repeat(1_000));
    let request = app.request(Method::POST, "/webchat/message").bearer_auth("wk_acme_00000");
    let answer = ApiResponse::to(request.header("x-website-origin", &long).json(&json!({"text": "x"})));
    assert_eq!(answer.body["details"], json!({"origin": &long[..256], "namedBy": "X-Website-Origin"}));
}

#[test]
fn missing_tenant_id_is_for_a_key_of_every_tenant_that_names_none() {
    let app = with_gateway();
    let body = json!({"text": "x", "userId": "u", "role": "agent"});
    for (method, path) in ROUTES {
        for key in ["sk_gateway_1", "wk_gateway_1"] {
            let answer = ApiResponse::to(app.request(method.clone(), path).bearer_auth(key).json(&body));
            assert_error(&answer, 400, "MISSING_TENANT_ID");
        }
    }
    assert_error(&app.get("sk_gateway_1", "/api/chat/online-users"), 400, "MISSING_TENANT_ID");
    assert_error(&app.get("sk_gateway_1", "/api/chat/online-users?tenantId="), 400, "MISSING_TENANT_ID");
}

#[test]
fn tenant_not_found_is_for_a_key_of_every_tenant_that_names_an_unknown_one() {
    let app = with_gateway();
    let body = json!({"text": "x", "userId": "u", "role": "agent", "tenantId": "nobody"});
    for (method, path) in ROUTES.into_iter().filter(|(method, _)| *method == Method::POST) {
        let answer = ApiResponse::to(app.request(method, path).bearer_auth("sk_gateway_1").json(&body));
        assert_error(&answer, 404, "TENANT_NOT_FOUND");
    }
    let answer = app.get("wk_gateway_1", "/api/chat/messages?tenantId=nobody&sessionId=session-0123456789");
    assert_error(&answer, 404, "TENANT_NOT_FOUND");
}

#[test]
fn a_tenant_is_named_in_the_body_the_query_or_the_header_and_they_agree() {
    let app = with_gateway();
    let send = |query: &str, header: Option<&str>, body: Option<&str>| {
        let request =
            app.request(Method::POST, &format!("/webchat/message{query}")).bearer_auth("wk_gateway_1");
        let request = header.map_or_else(
            || request.try_clone().expect("it"),
            |id| request.try_clone().expect("it").header("x-tenant-id", id),
        );
        ApiResponse::to(request.json(&json!({"text": "x", "tenantId": body})))
    };
    assert_eq!(send("", None, Some("acme")).status, 200);
    assert_eq!(send("?tenantId=acme", None, None).status, 200);
    assert_eq!(send("", Some("acme"), None).status, 200);
    assert_eq!(send("?tenantId=acme", Some("acme"), Some("acme")).status, 200);
    for answer in [
        send("?tenantId=bravo", None, Some("acme")),
        send("", Some("bravo"), Some("acme")),
        send("?tenantId=acme", Some("bravo"), None),
        send("?tenantId=acme", Some("acme"), Some("bravo")),
        send("?tenantId=acme&tenantId=bravo", None, None),
    ] {
        assert_fields(&answer, &["tenantId"]);
    }
}

#[test]
fn validation_failed_names_every_field_that_is_wrong() {
    let app = TestApp::start();
    let answer =
        app.post(WIDGET_KEY, "/webchat/message", &json!({"userId": true, "userInfo": [], "sessionId": -1}));
    assert_fields(&answer, &["sessionId", "text", "userId", "userInfo"]);
    assert_fields(
        &app.post(SECRET_KEY, "/api/chat/token", &json!({"ttlSeconds": 0})),
        &["role", "ttlSeconds", "userId"],
    );
    assert_fields(&app.get(WIDGET_KEY, "/api/chat/messages"), &["sessionId"]);
    assert_fields(
        &app.get(WIDGET_KEY, "/api/chat/messages?sessionId=s&limit=x&before=-1"),
        &["before", "limit"],
    );
}

#[test]
fn a_tenant_of_another_type_is_refused_on_every_route() {
    let app = TestApp::start();
    for (method, path) in ROUTES.into_iter().filter(|(method, _)| *method == Method::POST) {
        for tenant in [json!(-5), json!(true), json!("*"), json!(["demo"])] {
            let body = json!({"tenantId": tenant, "text": "x", "userId": "u", "role": "agent"});
            let answer =
                ApiResponse::to(app.request(method.clone(), path).bearer_auth(SECRET_KEY).json(&body));
            assert_fields(&answer, &["tenantId"]);
        }
    }
    assert_fields(&app.get(SECRET_KEY, "/api/chat/online-users?tenantId=*"), &["tenantId"]);
    let request = app.request(Method::GET, "/api/chat/online-users").bearer_auth(SECRET_KEY);
    assert_fields(&ApiResponse::to(request.header("x-tenant-id", "*")), &["X-Tenant-ID"]);
}

#[test]
fn malformed_json_is_for_a_body_that_is_not_json() {
    let app = TestApp::start();
    for path in ["/webchat/message", "/api/chat/anonymous-token", "/api/chat/token"] {
        for body in [
            "",
            "{",
            "{\"text\":\"x\"",
            "{'text':'x'}",
            "{\"text\":\"x\"} x",
            "nonsense",
            "{\"text\":\"\\ud8\"}",
        ] {
            assert_error(&raw(&app, path, "application/json", body), 400, "MALFORMED_JSON");
        }
        let not_utf8 = b"{\"text\":\"\xff\"}".to_vec();
        assert_error(&raw(&app, path, "application/json", not_utf8), 400, "MALFORMED_JSON");
        assert_error(&raw(&app, path, "application/json", "[".repeat(60_000)), 400, "MALFORMED_JSON");
    }
}

#[test]
fn a_json_body_that_is_not_an_object_fails_validation() {
    let app = TestApp::start();
    for body in ["[]", "null", "7", "\"text\""] {
        assert_fields(&raw(&app, "/webchat/message", "application/json", body), &["body"]);
    }
}

#[test]
fn session_not_found_is_for_staff_and_bots_only() {
    let app = TestApp::start();
    let agent = app.mint_token(SECRET_KEY, &json!({"userId": "ann", "role": "agent"}));
    let path = "/api/chat/messages?sessionId=session-0123456789";
    for credential in [SECRET_KEY, BOT_KEY, &agent] {
        assert_error(&app.get(credential, path), 404, "SESSION_NOT_FOUND");
    }
    let close = "/api/chat/sessions/session-0123456789/close";
    assert_error(&app.post(SECRET_KEY, close, &json!({})), 404, "SESSION_NOT_FOUND");
    assert_eq!(app.messages(WIDGET_KEY, "sessionId=session-0123456789"), [] as [Value; 0]);
}

#[test]
fn user_not_found_is_for_staff_only() {
    let app = TestApp::start();
    assert_error(&app.get(SECRET_KEY, "/api/chat/messages?userId=nobody"), 404, "USER_NOT_FOUND");
    let user = app.mint_token(SECRET_KEY, &json!({"userId": "nobody", "role": "visitor"}));
    assert_eq!(app.messages(&user, "userId=nobody"), [] as [Value; 0]);
}

#[test]
fn not_found_is_for_an_unknown_path() {
    let app = TestApp::start();
    for path in
        ["/", "/nothing", "/api/chat/nothing", "/webchat/", "/webchat/message/", "/api/chat/sessions//close"]
    {
        assert_error(&app.get(WIDGET_KEY, path), 404, "NOT_FOUND");
    }
}

#[test]
fn method_not_allowed_names_the_allowed_ones() {
    let app = TestApp::start();
    for (method, path) in ROUTES {
        for other in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE] {
            if other != method {
                let answer = ApiResponse::to(app.request(other, path).bearer_auth(WIDGET_KEY));
                assert_error(&answer, 405, "METHOD_NOT_ALLOWED");
                let allow = if method == Method::GET { "GET, HEAD" } else { method.as_str() };
                assert_eq!(answer.header("allow"), allow);
            }
        }
    }
    assert_eq!(app.post(WIDGET_KEY, "/healthz", &json!({})).header("allow"), "GET, HEAD");
}

#[test]
fn payload_too_large_is_for_a_body_over_the_limit_declared_or_not() {
    let app = TestApp::start();
    let long = " ".repeat(131_073);
    let declared = raw(&app, "/webchat/message", "application/json", long.clone());
    assert_error(&declared, 413, "PAYLOAD_TOO_LARGE");
    assert_eq!(declared.body["details"]["limitBytes"], 131_072);
    let chunked = reqwest::blocking::Body::new(std::io::Cursor::new(long));
    assert_error(&raw(&app, "/webchat/message", "application/json", chunked), 413, "PAYLOAD_TOO_LARGE");
}

#[test]
fn unsupported_media_type_is_for_a_body_that_is_not_declared_as_json() {
    let app = TestApp::start();
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx", ""]
    {
        let answer = raw(&app, "/webchat/message", content_type, "{\"text\":\"x\"}");
        assert_error(&answer, 415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
        assert_eq!(
            raw(&app, "/webchat/message", content_type, "{\"text\":\"x\"}").status,
            200,
            "{content_type}"
        );
    }
}

#[test]
fn rate_limit_exceeded_says_when_to_try_again() {
    let app = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1").start();
    app.get(WIDGET_KEY, "/api/chat/messages?sessionId=session-0123456789");
    let answer = app.get(WIDGET_KEY, "/api/chat/messages?sessionId=session-0123456789");
    assert_error(&answer, 429, "RATE_LIMIT_EXCEEDED");
    let seconds: u64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    let millis = answer.body["details"]["retryAfterMs"].as_u64().expect("milliseconds");
    assert_eq!(millis.div_ceil(1_000), seconds);
}

#[test]
fn a_path_with_other_percent_encoding_is_the_same_path() {
    let app = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1").start();
    let first = app.post(WIDGET_KEY, "/%77ebchat/message", &json!({"text": "x"}));
    assert_eq!((first.status, first.header("x-ratelimit-limit")), (200, "1"), "{first:?}");
    let second = app.post(WIDGET_KEY, "/webchat/%6dessage", &json!({"text": "x"}));
    assert_error(&second, 429, "RATE_LIMIT_EXCEEDED");
}
