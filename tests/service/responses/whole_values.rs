//! Every answer and every event as a whole: no field is missing, and none is unexpected.

use amoiq_testkit::{
    AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, cli, eventually, receivers::RecordingReceiver, redacted,
};
use serde_json::{Value, json};

pub(super) const SESSION: &str = "session-of-whole-values";

/// A message with every field that a widget sends.
pub(super) fn message() -> Value {
    json!({
        "sessionId": SESSION, "text": "Hello", "userId": "u-7", "clientMessageId": "c-1",
        "userInfo": {"name": "Ann"}, "domain": "shop.example", "origin": "https://shop.example",
        "url": "https://shop.example/page", "referrer": "https://search.example", "fingerprint": "f-1",
    })
}

#[test]
fn of_messages_and_their_history() {
    let app = TestApp::start();
    let sent = app.post(WIDGET_KEY, "/webchat/message", &message()).expect_status(200);
    insta::assert_json_snapshot!(redacted(&sent), @r#"
    {
      "messageId": "msg-[uuid]",
      "sessionId": "session-of-whole-values",
      "success": true
    }
    "#);
    let again = app.post(WIDGET_KEY, "/webchat/message", &message()).expect_status(200);
    insta::assert_json_snapshot!(redacted(&again), @r#"
    {
      "duplicate": true,
      "messageId": "msg-[uuid]",
      "sessionId": "session-of-whole-values",
      "success": true
    }
    "#);
    app.say(SECRET_KEY, SESSION, "An answer");
    let history = app.get(SECRET_KEY, &format!("/api/chat/messages?sessionId={SESSION}")).expect_status(200);
    insta::assert_json_snapshot!(redacted(&history), @r#"
    {
      "hasMore": false,
      "messages": [
        {
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
          "text": "Hello",
          "timestamp": "[time]",
          "userId": "u-7",
          "verified": false
        },
        {
          "conversationId": "conv-[uuid]",
          "conversation_id": "conv-[uuid]",
          "created_at": "[time]",
          "deliveryStatus": "delivered",
          "id": "msg-[uuid]",
          "message_id": "msg-[uuid]",
          "message_text": "An answer",
          "sender": "agent",
          "sender_type": "agent",
          "seq": 2,
          "sessionId": "session-of-whole-values",
          "text": "An answer",
          "timestamp": "[time]",
          "userId": "u-7",
          "verified": false
        }
      ],
      "nextCursor": null
    }
    "#);
}

#[test]
fn of_tokens_and_errors() {
    let app = TestApp::start();
    let anonymous = app.post(WIDGET_KEY, "/api/chat/anonymous-token", &json!({})).expect_status(200);
    insta::assert_json_snapshot!(redacted(&anonymous), @r#"
    {
      "expiresIn": 3600,
      "sessionId": "[session]",
      "token": "[token]"
    }
    "#);
    let agent = json!({"userId": "ann", "role": "agent", "name": "Ann", "ttlSeconds": 60});
    insta::assert_json_snapshot!(redacted(&app.post(SECRET_KEY, "/api/chat/token", &agent).body), @r#"
    {
      "expiresIn": 60,
      "token": "[token]"
    }
    "#);
    let empty = app.post(WIDGET_KEY, "/webchat/message", &json!({"sessionId": SESSION})).expect_status(400);
    insta::assert_json_snapshot!(redacted(&empty), @r#"
    {
      "code": "VALIDATION_FAILED",
      "details": {
        "fields": {
          "text": "is required"
        }
      },
      "error": "Validation failed"
    }
    "#);
    insta::assert_json_snapshot!(redacted(&app.get("wk_unknown", "/api/chat/messages").expect_status(401)), @r#"
    {
      "code": "INVALID_API_KEY",
      "details": {},
      "error": "Invalid API key"
    }
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "whole values are long")]
fn of_webhooks() {
    let app = AppLauncher::new().environment("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8").start();
    let receiver = RecordingReceiver::start();
    let here = |value: &Value| {
        let text = redacted(value).to_string().replace(&receiver.url(), "[url]");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let wanted = json!({"url": receiver.url(), "description": "ours", "ratePerSecond": 50});
    let made = app.post(SECRET_KEY, "/api/webhooks", &wanted).expect_status(201);
    insta::assert_json_snapshot!(here(&made), @r#"
    {
      "createdAt": "[time]",
      "description": "ours",
      "disabledReason": null,
      "events": [
        "message.created"
      ],
      "headers": {},
      "id": "wh-[uuid]",
      "ratePerSecond": 50,
      "secret": "[secret]",
      "source": "api",
      "status": "enabled",
      "url": "[url]"
    }
    "#);
    let path = format!("/api/webhooks/{}", made["id"].as_str().expect("an id"));
    app.post(WIDGET_KEY, "/webchat/message", &message()).expect_status(200);
    eventually("it is delivered", || {
        app.get(SECRET_KEY, &format!("{path}/deliveries")).body["deliveries"][0]["status"] == "delivered"
    });
    insta::assert_json_snapshot!(here(&receiver.requests()[0].json()), @r#"
    {
      "data": {
        "messageId": "msg-[uuid]",
        "senderType": "user",
        "sessionId": "session-of-whole-values",
        "tenantId": "demo",
        "text": "Hello",
        "userId": "u-7"
      },
      "event": "message.created",
      "timestamp": "[time]"
    }
    "#);
    let deliveries = app.get(SECRET_KEY, &format!("{path}/deliveries")).expect_status(200);
    insta::assert_json_snapshot!(here(&deliveries), @r#"
    {
      "deliveries": [
        {
          "attempts": [
            {
              "answer": null,
              "at": "[time]",
              "durationMs": "[durationMs]",
              "error": null,
              "status": 200
            }
          ],
          "eventId": "[uuid]",
          "messageId": "msg-[uuid]",
          "nextAttemptAt": null,
          "sessionId": "session-of-whole-values",
          "status": "delivered"
        }
      ],
      "hasMore": false,
      "nextCursor": null
    }
    "#);
    let shown = || app.get(SECRET_KEY, &path).expect_status(200);
    eventually("it has settled", || {
        ["pending", "inFlight", "lagEvents"].iter().all(|name| shown()["standing"][name] == 0)
    });
    insta::assert_json_snapshot!(here(&shown()), @r#"
    {
      "createdAt": "[time]",
      "description": "ours",
      "disabledReason": null,
      "events": [
        "message.created"
      ],
      "headers": {},
      "id": "wh-[uuid]",
      "ratePerSecond": 50,
      "source": "api",
      "standing": {
        "failingSince": null,
        "inFlight": 0,
        "lagEvents": 0,
        "notBefore": null,
        "pending": 0,
        "refused": 0
      },
      "status": "enabled",
      "url": "[url]"
    }
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "whole values are long")]
fn of_events() {
    let app = TestApp::start();
    app.post(WIDGET_KEY, "/webchat/message", &message()).expect_status(200);
    app.post(SECRET_KEY, &format!("/api/chat/sessions/{SESSION}/close"), &json!({})).expect_status(200);
    let printed = cli::stdout_of(app.data(), &["events", "--json", "--session", SESSION]);
    let mut events: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // Positions rise; which numbers they are is for each backend to say.
    let mut newest = 0;
    for (number, event) in (1..).zip(&mut events) {
        let position = event["position"].as_u64().expect("a position");
        assert!(position > newest, "{position}");
        newest = position;
        event["position"] = json!(number);
    }
    insta::assert_json_snapshot!(redacted(&json!(events)), @r#"
    [
      {
        "actor": "key:key-daeb1de42f25",
        "causation": "[uuid]",
        "data": {},
        "id": "[uuid]",
        "position": 1,
        "schema": 1,
        "stream": "session:demo:session-of-whole-values",
        "time": "[time]",
        "type": "session.started",
        "version": 1
      },
      {
        "actor": "key:key-daeb1de42f25",
        "causation": "[uuid]",
        "data": {
          "fingerprint": "f-1",
          "userId": "u-7",
          "userInfo": {
            "name": "Ann"
          }
        },
        "id": "[uuid]",
        "position": 2,
        "schema": 1,
        "stream": "session:demo:session-of-whole-values",
        "time": "[time]",
        "type": "visitor.identified",
        "version": 2
      },
      {
        "actor": "key:key-daeb1de42f25",
        "causation": "[uuid]",
        "data": {},
        "id": "[uuid]",
        "position": 3,
        "schema": 1,
        "stream": "session:demo:session-of-whole-values",
        "time": "[time]",
        "type": "conversation.started",
        "version": 3
      },
      {
        "actor": "key:key-daeb1de42f25",
        "causation": "[uuid]",
        "data": {
          "clientMessageId": "c-1",
          "conversationId": "conv-[uuid]",
          "messageId": "msg-[uuid]",
          "page": {
            "domain": "shop.example",
            "origin": "https://shop.example",
            "referrer": "https://search.example",
            "url": "https://shop.example/page"
          },
          "sender": "user",
          "seq": 1,
          "text": "Hello",
          "userId": "u-7",
          "verified": false
        },
        "id": "[uuid]",
        "position": 4,
        "schema": 1,
        "stream": "session:demo:session-of-whole-values",
        "time": "[time]",
        "type": "message.created",
        "version": 4
      },
      {
        "actor": "key:key-1afe86994e1c",
        "causation": "[uuid]",
        "data": {
          "conversationId": "conv-[uuid]",
          "reason": "agent"
        },
        "id": "[uuid]",
        "position": 5,
        "schema": 1,
        "stream": "session:demo:session-of-whole-values",
        "time": "[time]",
        "type": "conversation.closed",
        "version": 5
      }
    ]
    "#);
}
