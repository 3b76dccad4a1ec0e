//! Every example of the API reference, as it is printed there.

use serde_json::json;

use crate::app::{TestApp, WIDGET};

#[test]
fn a_message_is_taken_as_the_reference_prints_it() {
    let app = TestApp::start();
    let answer = app.post(WIDGET, "/webchat/message", &json!({"text": "Hello", "tenantId": "demo"}));
    assert_eq!(answer.status, 200, "{answer:?}");
}
