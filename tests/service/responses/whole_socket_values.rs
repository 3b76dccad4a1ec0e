//! Every event to sockets as a whole.

use amoiq_testkit::{AppLauncher, SECRET_KEY, SocketClient, SocketHandshake, WIDGET_KEY, redacted};
use serde_json::json;

use super::whole_values::{SESSION, message};

#[test]
#[expect(clippy::too_many_lines, reason = "whole values are long")]
fn of_sockets() {
    let app = AppLauncher::new().environment("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "50").start();
    let mut agent = SocketClient::connect(&app, SECRET_KEY);
    insta::assert_json_snapshot!(redacted(&agent.welcome), @r#"
    {
      "sid": "[sid]"
    }
    "#);
    let auth = json!({"token": WIDGET_KEY, "sessionId": SESSION, "userId": "u-7", "domain": "shop.example"});
    let handshake = SocketHandshake { auth, ..SocketHandshake::default() };
    let mut visitor = handshake.connect(&app).expect("let in");
    insta::assert_json_snapshot!(redacted(&agent.next("user_online")), @r#"
    {
      "connectedAt": "[time]",
      "domain": "shop.example",
      "sessionId": "session-of-whole-values",
      "userId": "u-7",
      "verified": false
    }
    "#);
    insta::assert_json_snapshot!(redacted(&visitor.call("message", &message())), @r#"
    {
      "messageId": "msg-[uuid]",
      "sessionId": "session-of-whole-values",
      "success": true
    }
    "#);
    insta::assert_json_snapshot!(redacted(&agent.next("meta_message_created")), @r#"
    {
      "message": {
        "clientMessageId": "c-1",
        "conversationId": "conv-[uuid]",
        "conversation_id": "conv-[uuid]",
        "created_at": "[time]",
        "deliveryStatus": "delivered",
        "id": "msg-[uuid]",
        "message_id": "msg-[uuid]",
        "message_text": "Hello",
        "sender": "user",
        "sender_type": "user",
        "seq": 1,
        "sessionId": "session-of-whole-values",
        "temp_id": "c-1",
        "tenantId": "demo",
        "text": "Hello",
        "timestamp": "[time]",
        "userId": "u-7",
        "verified": false
      }
    }
    "#);
    let users = app.get(SECRET_KEY, "/api/chat/online-users").expect_status(200);
    insta::assert_json_snapshot!(redacted(&users), @r#"
    {
      "total": 1,
      "users": [
        {
          "connectedAt": "[time]",
          "domain": "shop.example",
          "origin": "https://shop.example",
          "sessionId": "session-of-whole-values",
          "url": "https://shop.example/page",
          "userId": "u-7",
          "verified": false
        }
      ]
    }
    "#);
    drop(visitor);
    insta::assert_json_snapshot!(redacted(&agent.next("user_offline")), @r#"
    {
      "sessionId": "session-of-whole-values",
      "userId": "u-7",
      "verified": false
    }
    "#);
}
