//! Who may use the interface, and what everybody else is answered.

use std::net::{IpAddr, UdpSocket};

use amoiq_testkit::{ApiResponse, AppLauncher, OperatorClient, TestApp, eventually, http_client};
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn without_the_token_nothing_is_revealed_not_even_which_routes_exist() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    let last = if door.token.ends_with('0') { '1' } else { '0' };
    let nearly = format!("{}{last}", &door.token[..63]);
    for path in ["/operator/tenants", "/operator/nothing", "/elsewhere"] {
        for token in [None, Some(""), Some("wrong"), Some(nearly.as_str())] {
            let request = door.request_without_token(Method::GET, path);
            let answer = ApiResponse::to(match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            });
            assert_eq!(answer.error(), (401, "INVALID_OPERATOR_TOKEN"), "{path} {token:?}");
            assert_eq!(answer.body["details"], json!({}));
        }
    }
}

#[test]
fn the_operator_token_opens_no_route_for_clients() {
    let app = TestApp::start();
    let answer = app.get(&OperatorClient::of(&app).token, "/api/chat/online-users?tenantId=demo");
    assert_eq!(answer.error(), (401, "INVALID_API_KEY"));
    assert_eq!(ApiResponse::to(app.request(Method::GET, "/operator/tenants")).status, 404);
}

#[test]
fn no_page_may_read_an_answer() {
    let door_of = TestApp::start();
    let door = OperatorClient::of(&door_of);
    let request = door.request(Method::GET, "/operator/tenants").header("Origin", "https://evil.example");
    let answer = ApiResponse::to(request);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
    let preflight = ApiResponse::to(door.request_without_token(Method::OPTIONS, "/operator/tenants"));
    assert_eq!(preflight.error(), (401, "INVALID_OPERATOR_TOKEN"));
}

#[test]
fn no_cache_may_keep_an_answer() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    for (path, status) in [("/operator/tenants", 200), ("/operator/nothing", 404), ("/metrics", 200)] {
        let answer = door.send(Method::GET, path, None);
        assert_eq!((answer.status, answer.header("cache-control")), (status, "no-store"), "{path}");
    }
    let refused = ApiResponse::to(door.request_without_token(Method::GET, "/operator/tenants"));
    assert_eq!((refused.status, refused.header("cache-control")), (401, "no-store"));
}

#[test]
fn two_tokens_count_as_none() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    let both = door.request(Method::GET, "/operator/tenants").header("Authorization", "Bearer other");
    assert_eq!(ApiResponse::to(both).error(), (400, "VALIDATION_FAILED"));
}

#[test]
fn errors_have_the_form_that_every_error_has() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    let unknown = door.send(Method::GET, "/operator/nothing", None);
    assert_eq!(unknown.error(), (404, "NOT_FOUND"));
    let method = door.send(Method::DELETE, "/operator/tenants", None);
    assert_eq!((method.error(), method.header("allow")), ((405, "METHOD_NOT_ALLOWED"), "GET, HEAD, POST"));
    let text = door.request(Method::POST, "/operator/tenants").body("{}");
    assert_eq!(ApiResponse::to(text).error(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let large: Value = json!({ "id": "x".repeat(70_000) });
    let large = door.send(Method::POST, "/operator/tenants", Some(&large));
    assert_eq!(large.error(), (413, "PAYLOAD_TOO_LARGE"));
    let named = door.request(Method::POST, "/operator/tenants").header("X-Operator", "a b");
    assert_eq!(ApiResponse::to(named.json(&json!({"id": "a"}))).error(), (400, "VALIDATION_FAILED"));
}

#[test]
fn head_is_get_without_its_body_and_ids_may_be_numbers() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    assert_eq!(door.send(Method::POST, "/operator/tenants", Some(&json!({"id": 7}))).body["id"], "7");
    for path in [
        "/metrics",
        "/operator/tenants",
        "/operator/tenants/7",
        "/operator/tenants/7/keys",
        "/operator/tenants/7/webhooks",
        "/operator/webhooks",
        "/operator/rebuild",
    ] {
        let (get, head) = (door.send(Method::GET, path, None), door.send(Method::HEAD, path, None));
        assert_eq!(
            (head.status, head.header("content-type")),
            (get.status, get.header("content-type")),
            "{path}"
        );
        assert_eq!(head.body, Value::Null, "{path}");
    }
    let nobody = json!({"tenant": 7, "session": 1_764_448_800_000_u64, "user": ""});
    let erased = door.send(Method::POST, "/operator/erase", Some(&nobody));
    assert_ne!(erased.error(), (400, "VALIDATION_FAILED"), "{erased:?}");
}

#[test]
fn a_request_without_a_body_has_no_fields_and_what_is_missing_is_named() {
    let app = TestApp::start();
    let answer = OperatorClient::of(&app).send(Method::POST, "/operator/erase", None);
    assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{answer:?}");
    let fields = answer.body["details"]["fields"].as_object().expect("fields");
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["session", "tenant"]);
}

#[test]
fn the_start_warns_of_an_address_that_others_can_reach() {
    let warned = ["operator interface can be reached from other machines"];
    let app = AppLauncher::new().environment("AMOIQ__OPERATOR__BIND", "0.0.0.0:0").start();
    eventually("it warns", || app.printed(&warned));
    let door = OperatorClient::of(&app);
    assert!(door.address.starts_with("http://127.0.0.1:"), "{}", door.address);
    assert_eq!(door.send(Method::GET, "/operator/tenants", None).status, 200);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let app = TestApp::start();
    let taken = OperatorClient::of(&app).address.replace("http://", "");
    let directory = tempfile::tempdir().expect("a directory");
    let output =
        AppLauncher::new().data(directory.path()).environment("AMOIQ__OPERATOR__BIND", &taken).output();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("operator.bind {taken}")), "{said}");
    assert!(!directory.path().join("operator.json").exists());
}

#[test]
fn the_metrics_are_read_from_a_network_that_is_named_and_nothing_else_is() {
    let Some(own) = own_address() else {
        eprintln!("this machine has no address but its own: nobody can come from another network");
        return;
    };
    let start = |networks: &str| {
        AppLauncher::new()
            .environment("AMOIQ__OPERATOR__BIND", "0.0.0.0:0")
            .environment("AMOIQ__OPERATOR__METRICS_NETWORKS", networks)
            .start()
    };
    let ask = |app: &TestApp, path: &str| {
        let address = OperatorClient::of(app).address.replace("127.0.0.1", &own.to_string());
        http_client().get(format!("{address}{path}")).send().expect("an answer").status().as_u16()
    };
    let app = start(&format!("203.0.113.0/24, {own}/32"));
    assert_eq!((ask(&app, "/metrics"), ask(&app, "/operator/tenants")), (200, 401));
    let app = start("203.0.113.0/24");
    assert_eq!((ask(&app, "/metrics"), ask(&app, "/operator/tenants")), (401, 401));
}

/// An address of this machine that others can reach. Connections to it come from it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the route.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback() && !own.is_unspecified())
}
