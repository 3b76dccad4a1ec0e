//! Pages in browsers: preflights, readable answers, and the sites that a tenant allows.

use amoiq_testkit::{ApiResponse, AppLauncher, TestApp, WIDGET_KEY};
use reqwest::Method;
use serde_json::json;

const ROUTES: [&str; 10] = [
    "/webchat/message",
    "/api/chat/messages",
    "/api/chat/anonymous-token",
    "/api/chat/token",
    "/api/chat/online-users",
    "/api/chat/sessions/session-0123456789/close",
    "/healthz",
    "/readyz",
    "/api/nothing",
    "/",
];

fn has(list: &str, name: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(name))
}

#[test]
fn a_preflight_is_answered_on_every_route_for_every_origin_without_a_credential() {
    let app = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "1").start();
    for path in ROUTES {
        for origin in ["https://widget.example", "http://localhost:3000", "null"] {
            let request = app.request(Method::OPTIONS, path).header("origin", origin);
            let request = request.header("access-control-request-method", "POST");
            let answer = ApiResponse::to(
                request.header("access-control-request-headers", "authorization,x-tenant-id"),
            );
            assert_eq!(answer.status, 204, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert!(has(answer.header("vary"), "origin"));
            assert!(answer.header("access-control-max-age").parse::<u32>().is_ok_and(|seconds| seconds > 0));
            for name in [
                "Authorization",
                "Content-Type",
                "X-Tenant-ID",
                "X-Website-Origin",
                "X-Website-Domain",
                "Idempotency-Key",
            ] {
                assert!(has(answer.header("access-control-allow-headers"), name), "{name}");
            }
            for method in ["GET", "POST"] {
                assert!(has(answer.header("access-control-allow-methods"), method), "{method}");
            }
        }
    }
}

#[test]
fn a_page_can_read_every_answer_including_errors() {
    let app = AppLauncher::new().environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "5").start();
    let ask = |method: Method, path: &str, key: &str| {
        let request = app.request(method, path).bearer_auth(key).header("origin", "https://site.example");
        ApiResponse::to(request.json(&json!({"text": ""})))
    };
    let answers = [
        (200, ask(Method::GET, "/api/chat/messages?sessionId=session-0123456789", WIDGET_KEY)),
        (401, ask(Method::GET, "/api/chat/messages", "wk_unknown_0000")),
        (400, ask(Method::POST, "/webchat/message", WIDGET_KEY)),
        (403, ask(Method::GET, "/api/chat/online-users", WIDGET_KEY)),
        (405, ask(Method::DELETE, "/webchat/message", WIDGET_KEY)),
        (429, ask(Method::POST, "/webchat/message", WIDGET_KEY)),
        (404, ask(Method::GET, "/nothing", WIDGET_KEY)),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), "https://site.example", "{status}");
        assert!(has(answer.header("vary"), "origin"));
        let exposed = answer.header("access-control-expose-headers");
        for name in ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"] {
            assert!(has(exposed, name), "{name} of {status}");
        }
    }
}

#[test]
fn an_answer_to_no_page_still_varies_by_origin() {
    let app = TestApp::start();
    let answer = ApiResponse::to(app.request(Method::GET, "/healthz"));
    assert!(has(answer.header("vary"), "origin"));
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[test]
fn pages_may_send_cookies_to_the_sockets_and_to_nothing_else() {
    let app = TestApp::start();
    let allowed = |method: Method, path: &str| {
        let request = app.request(method, path).header("origin", "https://site.example");
        let answer = ApiResponse::to(request);
        assert_eq!(answer.header("access-control-allow-origin"), "https://site.example", "{path}");
        answer.header("access-control-allow-credentials").to_owned()
    };
    // Refusals too: a page that cannot read a refusal does not learn the reason.
    for path in [
        "/socket.io/?EIO=4&transport=polling",
        "/socket.io?EIO=4&transport=polling",
        "/socket.io/?EIO=3&transport=polling",
        "/socket.io/?EIO=4&transport=polling&sid=unknown",
        "/socket.io/",
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            assert_eq!(allowed(method, path), "true", "{path}");
        }
    }
    for path in ROUTES.iter().chain(&["/socket.io/more", "/socket.io.more", "/api/webhooks"]) {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            assert_eq!(allowed(method, path), "", "{path}");
        }
    }
}

#[test]
fn a_widget_key_works_on_the_tenants_sites_only() {
    let config = "
        [server]
        widget_origins = ['https://widget.example']
        [[tenants]]
        id = 'acme'
        origins = ['https://acme.example', 'https://*.acme.example']
        widget_keys = ['wk_acme_00000']
        secret_keys = ['sk_acme_00000']";
    let app = AppLauncher::new().config(config).start();
    let send = |key: &str, origin: Option<&str>, website: Option<&str>, body: Option<&str>| {
        let headers = [("origin", origin), ("x-website-origin", website)];
        let start = app.request(Method::POST, "/webchat/message").bearer_auth(key);
        let request = headers.iter().fold(start, |request, (name, value)| match value {
            Some(value) => request.header(*name, *value),
            None => request,
        });
        ApiResponse::to(request.json(&json!({"text": "x", "origin": body}))).error().0
    };
    let (good, below, evil, own) = (
        Some("https://acme.example"),
        Some("https://a.acme.example"),
        Some("https://evil.example"),
        Some("https://widget.example"),
    );
    let cases = [
        (None, None, None, 200),
        (good, None, None, 200),
        (below, None, None, 200),
        (evil, None, None, 403),
        (Some("https://acme.example.evil.example"), None, None, 403),
        (Some("http://acme.example"), None, None, 403),
        (Some("https://acme.example:8443"), None, None, 403),
        (Some("null"), None, None, 403),
        (own, good, None, 200),
        (own, evil, None, 403),
        (own, None, good, 200),
        (own, None, evil, 403),
        (own, None, None, 200),
        (good, evil, evil, 200),
        (evil, good, good, 403),
    ];
    for (origin, website, body, status) in cases {
        assert_eq!(send("wk_acme_00000", origin, website, body), status, "{origin:?} {website:?} {body:?}");
        assert_eq!(send("sk_acme_00000", origin, website, body), 200, "a server has no site");
    }
    for (method, path) in [
        (Method::GET, "/api/chat/messages?sessionId=session-0123456789"),
        (Method::POST, "/api/chat/anonymous-token"),
    ] {
        let request =
            app.request(method, path).bearer_auth("wk_acme_00000").header("origin", "https://evil.example");
        assert_eq!(ApiResponse::to(request.json(&json!({}))).error(), (403, "ORIGIN_NOT_ALLOWED"));
    }
}
