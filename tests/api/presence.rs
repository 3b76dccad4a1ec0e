//! Who may see who is online. A visitor without a socket is not.

use serde_json::json;

use crate::app::{BOT, SECRET, TestApp, WIDGET};

#[test]
fn staff_see_who_is_online_and_nobody_else_does() {
    let app = TestApp::start();
    app.say(WIDGET, "session-0123456789", "a message alone is no presence");
    let token = |role: &str| app.mint(SECRET, &json!({"userId": "u-1", "role": role}));
    for credential in [SECRET, &token("agent"), &token("admin")] {
        let answer = app.get(credential, "/api/chat/online-users?tenantId=demo");
        assert_eq!((answer.status, answer.body), (200, json!({"users": [], "total": 0})));
    }
    for credential in [WIDGET, BOT, &token("visitor"), &app.anonymous(WIDGET, "session-0123456789")] {
        assert_eq!(app.get(credential, "/api/chat/online-users").error(), (403, "FORBIDDEN"));
    }
}
