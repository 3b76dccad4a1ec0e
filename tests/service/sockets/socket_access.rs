//! Who may connect, and as what.

use amoiq_testkit::{AppLauncher, BOT_KEY, SECRET_KEY, SocketClient, SocketHandshake, TestApp, WIDGET_KEY};
use serde_json::{Value, json};

const TENANTS: &str = "
[[tenants]]
id = 'acme'
origins = ['https://acme.example']
widget_keys = ['wk_acme_00000']
secret_keys = ['sk_acme_00000']
[[tenants]]
id = 'bravo'
widget_keys = ['wk_bravo_0000']
secret_keys = ['sk_bravo_0000']
[[tenants]]
id = '*'
widget_keys = ['wk_gateway_00']
";

fn refused(app: &TestApp, handshake: &SocketHandshake<'_>) -> Value {
    let error = handshake.connect(app).err().expect("it is refused");
    assert_eq!(error["message"], error["data"]["code"]);
    assert!(error["data"]["error"].is_string() && error["data"]["details"].is_object());
    let is_of_site = error["message"] == "ORIGIN_NOT_ALLOWED";
    assert_eq!(error["data"]["details"]["origin"].is_string(), is_of_site, "{error}");
    error["message"].clone()
}

#[test]
fn a_credential_is_found_wherever_clients_put_it() {
    let app = TestApp::start();
    let header = format!("Bearer {WIDGET_KEY}");
    for handshake in [
        SocketHandshake { auth: json!({ "token": WIDGET_KEY }), ..SocketHandshake::default() },
        SocketHandshake { auth: json!({ "apiKey": WIDGET_KEY }), ..SocketHandshake::default() },
        SocketHandshake {
            query: &format!("tenantId=demo&token={WIDGET_KEY}"),
            auth: json!({}),
            ..SocketHandshake::default()
        },
        SocketHandshake {
            headers: &[("authorization", &header)],
            auth: json!({}),
            ..SocketHandshake::default()
        },
        SocketHandshake {
            auth: json!({ "token": WIDGET_KEY, "apiKey": "wk_wrong_00000" }),
            ..SocketHandshake::default()
        },
    ] {
        assert!(handshake.connect(&app).is_ok(), "{}", handshake.auth);
    }
    let first_counts = SocketHandshake {
        auth: json!({ "token": "wk_wrong_00000", "apiKey": WIDGET_KEY }),
        ..SocketHandshake::default()
    };
    assert_eq!(refused(&app, &first_counts), "INVALID_API_KEY");
}

#[test]
fn a_credential_that_is_bad_is_refused_with_its_code() {
    let app = AppLauncher::new().config(TENANTS).start();
    let handshake = |auth: Value| SocketHandshake { auth, ..SocketHandshake::default() };
    let agent = app.mint_token("sk_acme_00000", &json!({ "userId": "ann", "role": "agent" }));
    let mut forged = agent.clone();
    forged.replace_range(agent.len() - 4.., "AAAA");
    for (auth, code) in [
        (json!({}), "INVALID_API_KEY"),
        (json!({ "token": "" }), "INVALID_API_KEY"),
        (json!({ "token": "wk_nobody_0000" }), "INVALID_API_KEY"),
        (json!({ "token": "a.b.c" }), "INVALID_JWT_TOKEN"),
        (json!({ "token": forged }), "INVALID_JWT_TOKEN"),
        (json!({ "token": "wk_acme_00000", "role": "admin" }), "FORBIDDEN"),
        (json!({ "token": "wk_acme_00000", "tenantId": "bravo" }), "FORBIDDEN"),
        (json!({ "token": agent, "tenantId": "bravo" }), "FORBIDDEN"),
        (json!({ "token": "wk_gateway_00" }), "MISSING_TENANT_ID"),
        (json!({ "token": "wk_gateway_00", "tenantId": "nobody" }), "TENANT_NOT_FOUND"),
        (json!({ "token": "wk_acme_00000", "origin": "https://evil.example" }), "ORIGIN_NOT_ALLOWED"),
        (json!({ "token": "wk_bravo_0000", "sessionId": "short" }), "FORBIDDEN"),
    ] {
        assert_eq!(refused(&app, &handshake(auth.clone())), code, "{auth}");
    }
    let evil = [("origin", "https://evil.example")];
    let elsewhere = SocketHandshake {
        auth: json!({ "token": "wk_acme_00000" }),
        headers: &evil,
        ..SocketHandshake::default()
    };
    assert_eq!(refused(&app, &elsewhere), "ORIGIN_NOT_ALLOWED");
    let at_home = [("origin", "https://acme.example")];
    assert!(SocketHandshake { headers: &at_home, ..elsewhere }.connect(&app).is_ok());
    let by_query = SocketHandshake {
        query: "tenantId=bravo",
        auth: json!({ "token": "wk_gateway_00" }),
        ..SocketHandshake::default()
    };
    assert!(by_query.connect(&app).is_ok());
    let twice = SocketHandshake {
        query: "tenantId=bravo",
        ..handshake(json!({ "token": "wk_gateway_00", "tenantId": "acme" }))
    };
    assert_eq!(refused(&app, &twice), "VALIDATION_FAILED");
}

#[test]
fn a_secret_or_bot_key_in_the_url_is_refused() {
    let app = TestApp::start();
    for key in [SECRET_KEY, BOT_KEY] {
        let query = format!("token={key}");
        let handshake = SocketHandshake { query: &query, auth: json!({}), ..SocketHandshake::default() };
        assert_eq!(refused(&app, &handshake), "FORBIDDEN");
    }
}

#[test]
fn a_tenants_sockets_receive_nothing_of_another_tenant() {
    let app = AppLauncher::new().config(TENANTS).start();
    const SAME: &str = "session-with-the-same-id";
    let mut ours = SocketClient::connect_with(&app, "wk_acme_00000", &json!({ "sessionId": SAME }));
    let mut staff = SocketClient::connect(&app, "sk_acme_00000");
    let mut theirs = SocketClient::connect_with(&app, "wk_bravo_0000", &json!({ "sessionId": SAME }));
    theirs.call("message", &json!({ "text": "bravo's own" }));
    app.say("sk_bravo_0000", SAME, "bravo's answer");
    ours.call("message", &json!({ "text": "acme's" }));
    // A message that was broadcast before would have come before.
    assert_eq!(ours.next("meta_message_created")["message"]["text"], "acme's");
    assert_eq!(staff.next("meta_message_created")["message"]["text"], "acme's");
    let list = staff.call("get_online_users", &json!({}));
    assert_eq!(list["total"], 1, "{list}");
    assert_eq!(staff.call("get_online_users", &json!({ "tenantId": "bravo" }))["code"], "FORBIDDEN");
}

#[test]
fn a_session_of_a_verified_user_is_closed_to_other_sockets() {
    let app = TestApp::start();
    const OWNED: &str = "session-that-is-somebodys";
    let visitor = |user: &str| app.mint_token(SECRET_KEY, &json!({ "userId": user, "role": "visitor" }));
    let mut owner = SocketClient::connect(&app, &visitor("u-1"));
    assert_eq!(owner.call("message", &json!({ "text": "mine", "sessionId": OWNED }))["success"], true);
    for credential in [WIDGET_KEY.to_owned(), visitor("u-2")] {
        let auth = json!({ "token": credential, "sessionId": OWNED });
        assert_eq!(refused(&app, &SocketHandshake { auth, ..SocketHandshake::default() }), "FORBIDDEN");
        let mut socket = SocketClient::connect(&app, &credential);
        for event in ["message", "join:session"] {
            let answer = socket.call(event, &json!({ "text": "x", "sessionId": OWNED }));
            assert_eq!(answer["code"], "FORBIDDEN", "{event}: {answer}");
        }
    }
}

#[test]
fn visitors_and_bots_get_no_list_of_who_is_online() {
    let app = TestApp::start();
    for credential in [WIDGET_KEY, BOT_KEY] {
        let mut socket = SocketClient::connect(&app, credential);
        assert_eq!(socket.call("get_online_users", &json!({ "tenantId": "demo" }))["code"], "FORBIDDEN");
    }
}

#[test]
fn a_listener_receives_nothing_more_once_a_session_belongs_to_a_verified_user() {
    let app = TestApp::start();
    const SHARED: &str = "session-of-a-shared-computer";
    let visitor = |user: &str| app.mint_token(SECRET_KEY, &json!({ "userId": user, "role": "visitor" }));
    let named = json!({ "sessionId": SHARED });
    let mut page = SocketClient::connect_with(&app, WIDGET_KEY, &named);
    let mut joined = SocketClient::connect(&app, WIDGET_KEY);
    assert_eq!(joined.call("join:session", &named)["success"], true);
    let mut token = SocketClient::connect(&app, &app.anonymous_token(WIDGET_KEY, SHARED));
    let mut other = SocketClient::connect_with(&app, &visitor("u-2"), &named);
    let mut owner = SocketClient::connect_with(&app, &visitor("u-1"), &named);
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    assert_eq!(page.call("message", &json!({ "text": "everybody hears this" }))["success"], true);
    assert_eq!(agent.call("join:session", &named)["success"], true);
    assert_eq!(owner.call("message", &json!({ "text": "mine" }))["success"], true);
    app.say(SECRET_KEY, SHARED, "for you alone");
    for guest in [&mut page, &mut joined, &mut token, &mut other] {
        assert_eq!(guest.next("meta_message_created")["message"]["text"], "everybody hears this");
        let (events, _) = guest.until_closed();
        let [(name, error)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((name.as_str(), &error["code"]), ("error", &json!("FORBIDDEN")));
    }
    for stays in [&mut owner, &mut agent] {
        for text in ["everybody hears this", "mine", "for you alone"] {
            assert_eq!(stays.next("meta_message_created")["message"]["text"], text);
        }
    }
}
