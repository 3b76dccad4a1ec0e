//! Who may see who is online. A visitor without a socket is not online.

use amoiq_testkit::{BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
use serde_json::json;

#[test]
fn only_staff_see_who_is_online() {
    let app = TestApp::start();
    app.say(WIDGET_KEY, "session-0123456789", "a message alone is no presence");
    let token = |role: &str| app.mint_token(SECRET_KEY, &json!({"userId": "u-1", "role": role}));
    for credential in [SECRET_KEY, &token("agent"), &token("admin")] {
        let answer = app.get(credential, "/api/chat/online-users?tenantId=demo");
        assert_eq!((answer.status, answer.body), (200, json!({"users": [], "total": 0})));
    }
    for credential in
        [WIDGET_KEY, BOT_KEY, &token("visitor"), &app.anonymous_token(WIDGET_KEY, "session-0123456789")]
    {
        assert_eq!(app.get(credential, "/api/chat/online-users").error(), (403, "FORBIDDEN"));
    }
}
