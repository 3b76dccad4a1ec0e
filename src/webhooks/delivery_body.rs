//! The body of a delivery, field by field in the order of the API reference.
//!
//! It is written again for each attempt and has the same bytes each time, because everything in it comes from the
//! log.

use amoiq_actors::webhooks::{LoggedMessage, WebhookEndpoint, WebhookPayload};
use amoiq_events::{
    EventId, MessageId, MessageText, SessionId, TenantId, Timestamp, UserId, WebhookId,
    session::MessageSender,
};
use serde::Serialize;

#[derive(Serialize)]
struct WebhookBody<T> {
    event: &'static str,
    timestamp: Timestamp,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageData<'a> {
    message_id: MessageId,
    session_id: &'a SessionId,
    user_id: String,
    tenant_id: &'a TenantId,
    text: &'a MessageText,
    sender_type: MessageSender,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TestData<'a> {
    webhook_id: &'a WebhookId,
    tenant_id: &'a TenantId,
}

impl<'a> MessageData<'a> {
    fn of(logged: &'a LoggedMessage) -> Self {
        let LoggedMessage { tenant, session, message, .. } = logged;
        Self {
            message_id: message.message_id,
            session_id: session,
            user_id: match &message.user_id {
                Some(user) => user.to_string(),
                None => UserId::anonymous(session),
            },
            tenant_id: tenant,
            text: &message.text,
            sender_type: message.sender,
        }
    }
}

/// The id by which receivers recognise a delivery: the same in every attempt.
#[must_use]
pub fn id(payload: &WebhookPayload) -> EventId {
    match payload {
        WebhookPayload::Message(logged) => logged.event_id,
        WebhookPayload::Test { event_id, .. } => *event_id,
    }
}

/// The body of a delivery.
///
/// # Errors
/// In practice never: JSON can express everything in it.
pub fn body(endpoint: &WebhookEndpoint, payload: &WebhookPayload) -> serde_json::Result<Vec<u8>> {
    match payload {
        WebhookPayload::Message(logged) => serde_json::to_vec(&WebhookBody {
            event: "message.created",
            timestamp: logged.time,
            data: MessageData::of(logged),
        }),
        WebhookPayload::Test { time, .. } => serde_json::to_vec(&WebhookBody {
            event: "webhook.test",
            timestamp: *time,
            data: TestData { webhook_id: &endpoint.id, tenant_id: &endpoint.tenant },
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use amoiq_events::{
        Ambient, Position,
        ambient::{ManualClock, SeededEntropy},
        envelope::RecordedAt,
        session::MessageCreated,
        tenant::ManagedBy,
        webhook::{Webhook, WebhookSecret, WebhookSettings, WebhookStatus},
    };

    use super::*;

    const TIME: Timestamp = Timestamp::from_millis(1_705_314_600_000);

    fn ambient() -> Ambient {
        Ambient::new(Arc::new(ManualClock::new(TIME)), Arc::new(SeededEntropy::new(7)))
    }

    fn endpoint() -> WebhookEndpoint {
        let settings = WebhookSettings {
            url: "https://example.com/".to_owned(),
            events: vec!["message.created".to_owned()],
            description: None,
            headers: BTreeMap::new(),
            rate_per_second: None,
        };
        let webhook = Webhook {
            settings,
            secret: WebhookSecret::new("whsec_".to_owned()),
            previous: None,
            status: WebhookStatus::Enabled,
            source: ManagedBy::Api,
            registered: RecordedAt::default(),
        };
        WebhookEndpoint {
            tenant: TenantId::parse("tenant-123").unwrap(),
            id: WebhookId::parse("wh-1").unwrap(),
            webhook,
        }
    }

    fn message(user: Option<&str>, sender: MessageSender) -> String {
        let message = MessageCreated {
            message_id: ambient().message_id(),
            seq: 1,
            text: MessageText::parse("Hello \"there\" ✓", 100).unwrap(),
            sender,
            author: None,
            user_id: user.map(|user| UserId::parse(user).unwrap()),
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            page: None,
            conversation_id: None,
        };
        let logged = LoggedMessage {
            event_id: ambient().event_id(),
            position: Position::default(),
            time: TIME,
            tenant: TenantId::parse("tenant-123").unwrap(),
            session: SessionId::parse("session-456").unwrap(),
            message,
        };
        written(&WebhookPayload::Message(Arc::new(logged)))
    }

    fn written(payload: &WebhookPayload) -> String {
        String::from_utf8(body(&endpoint(), payload).unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_told_as_the_reference_has_it() {
        insta::assert_snapshot!(message(Some("user-789"), MessageSender::User), @r#"{"event":"message.created","timestamp":"2024-01-15T10:30:00.000Z","data":{"messageId":"msg-018d0cab-c440-770d-b259-e4e1cb631c66","sessionId":"session-456","userId":"user-789","tenantId":"tenant-123","text":"Hello \"there\" ✓","senderType":"user"}}"#);
    }

    #[test]
    fn a_visitor_without_a_name_is_told_by_their_session() {
        insta::assert_snapshot!(message(None, MessageSender::Agent), @r#"{"event":"message.created","timestamp":"2024-01-15T10:30:00.000Z","data":{"messageId":"msg-018d0cab-c440-770d-b259-e4e1cb631c66","sessionId":"session-456","userId":"anonymous-session-456","tenantId":"tenant-123","text":"Hello \"there\" ✓","senderType":"agent"}}"#);
    }

    #[test]
    fn a_test_says_whose_endpoint_it_is() {
        let event_id = ambient().event_id();
        insta::assert_snapshot!(written(&WebhookPayload::Test { event_id, time: TIME }), @r#"{"event":"webhook.test","timestamp":"2024-01-15T10:30:00.000Z","data":{"webhookId":"wh-1","tenantId":"tenant-123"}}"#);
    }
}
