//! Deliveries of a webhook: lists, repeats, skips, replays and tests.

use std::borrow::Cow;

use amoiq_actors::webhooks::{Delivery, DeliveryAttempt, DeliveryStatus, ReplayProgress, WebhookEndpoint};
use amoiq_events::{EventId, MessageId, Position, SessionId, ShortText, TenantId, Timestamp};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    api::{
        field::{
            Field, FieldValue,
            values::{ClientTime, id_text},
        },
        schema::{IdSchema, TimestampSchema},
    },
    webhooks::failure_texts,
};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is being tried, or will be.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// Every attempt of the schedule failed, or the message is gone from the log.
    Failed,
    /// The endpoint refused it and takes others: it is retried out of order.
    Refused,
    /// The webhook's owner skipped it.
    Skipped,
}

impl From<DeliveryStatus> for DeliveryState {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Delivered => Self::Delivered,
            DeliveryStatus::Failed => Self::Failed,
            DeliveryStatus::Refused => Self::Refused,
            DeliveryStatus::Skipped => Self::Skipped,
        }
    }
}

/// Which deliveries to list, as the query of `GET /api/webhooks/{id}/deliveries`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListDeliveriesQuery {
    /// Only deliveries in this state.
    pub status: Field<DeliveryFilter>,
    /// The `nextCursor` of an answer: the page after it.
    pub cursor: Field<DeliveryCursor>,
    /// The most deliveries, 1 to 100; 50 unless given.
    pub limit: Field<u32>,
}

/// The state of the deliveries to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFilter(pub DeliveryStatus);

impl FieldValue for DeliveryFilter {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let named = String::read(value)?.unwrap_or_default();
        let status = DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == named);
        let status = status.ok_or("must be pending, delivered, failed, refused or skipped")?;
        Ok(Some(Self(status)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": DeliveryStatus::ALL.map(DeliveryStatus::as_str) })
    }
}

/// The end of a page of deliveries: the position of its last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryCursor(pub Position);

impl DeliveryCursor {
    const PREFIX: &str = "d.";
}

impl std::fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.as_u64())
    }
}

impl FieldValue for DeliveryCursor {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let text = String::read(value)?.unwrap_or_default();
        let position = text.strip_prefix(Self::PREFIX).and_then(|position| position.parse().ok());
        let position = position.ok_or("is not one that this service gave")?;
        Ok(Some(Self(Position::from_u64(position))))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^d[.][0-9]+$" })
    }
}

/// A delivery.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryResponse {
    /// The message that is delivered.
    #[schemars(with = "IdSchema")]
    pub message_id: MessageId,
    /// The session of the message.
    #[schemars(with = "IdSchema")]
    pub session_id: SessionId,
    /// What became of it.
    pub status: DeliveryState,
    /// The `webhook-id` under which the endpoint gets it, each time.
    #[schemars(with = "IdSchema")]
    pub event_id: EventId,
    /// When it is tried next.
    #[schemars(with = "Option<TimestampSchema>")]
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts that were made.
    pub attempts: Vec<DeliveryAttemptResponse>,
}

impl DeliveryResponse {
    /// Shows a delivery of an endpoint.
    #[must_use]
    pub fn new(delivery: Delivery, attempts: Vec<DeliveryAttempt>, endpoint: &WebhookEndpoint) -> Self {
        let url = &endpoint.webhook.settings.url;
        Self {
            message_id: delivery.message_id,
            session_id: delivery.session,
            status: delivery.status.into(),
            event_id: delivery.event_id,
            next_attempt_at: delivery.next_at,
            attempts: attempts
                .into_iter()
                .map(|attempt| DeliveryAttemptResponse::new(attempt, url))
                .collect(),
        }
    }
}

/// An attempt to deliver.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttemptResponse {
    /// When it started.
    #[schemars(with = "TimestampSchema")]
    pub at: Timestamp,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// Why it failed.
    pub error: Option<String>,
    /// The start of the endpoint's answer, of failures only.
    pub answer: Option<String>,
}

impl DeliveryAttemptResponse {
    fn new(attempt: DeliveryAttempt, url: &str) -> Self {
        Self {
            at: attempt.at,
            status: attempt.status,
            duration_ms: attempt.duration_ms,
            error: attempt.error.map(|error| failure_texts::told(error, url)),
            answer: answer_text(&attempt.answer),
        }
    }
}

/// An endpoint's answer as text; nothing when it was empty.
#[must_use]
pub fn answer_text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// A page of deliveries, the newest message first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveriesResponse {
    /// The deliveries.
    pub deliveries: Vec<DeliveryResponse>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Reads the next page.
    pub next_cursor: Option<String>,
}

/// Something was done to the delivery of a message.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryChangedResponse {
    /// Always true.
    pub success: bool,
    /// The message.
    #[schemars(with = "IdSchema")]
    pub message_id: MessageId,
}

/// Skips deliveries: those of one session, those of messages before a place in the log, or all that wait by now.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["status"]))]
pub struct SkipDeliveriesRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// The state of the deliveries to skip.
    pub status: Field<SkippableStatus>,
    /// Only those of this session.
    pub session_id: Field<NamedSession>,
    /// Only those of messages before this place.
    pub before: Field<LogPlace>,
}

/// The state of the deliveries to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippableStatus(pub DeliveryStatus);

impl FieldValue for SkippableStatus {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        match String::read(value)?.as_deref() {
            Some("pending") => Ok(Some(Self(DeliveryStatus::Pending))),
            Some("refused") => Ok(Some(Self(DeliveryStatus::Refused))),
            _ => Err("must be pending or refused".into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["pending", "refused"] })
    }
}

/// A session that must not be empty. An empty id counts as absent elsewhere; here that would skip every session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSession(pub SessionId);

impl FieldValue for NamedSession {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let text = id_text(value)?.unwrap_or_default();
        SessionId::parse(&text).map(Self).map(Some).map_err(|error| error.to_string().into())
    }

    fn schema() -> Schema {
        let mut schema = SessionId::schema();
        schema.insert("minLength".to_owned(), 1.into());
        schema
    }
}

/// How many deliveries were skipped.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SkippedResponse {
    /// So many.
    pub skipped: usize,
}

/// A place in the log: a position, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPlace {
    /// A position.
    Position(Position),
    /// A time.
    Time(Timestamp),
}

impl FieldValue for LogPlace {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let Some(ClientTime(text)) = ClientTime::read(value)? else { return Ok(None) };
        let text: &ShortText = &text;
        let position =
            text.as_str().parse().ok().map(|position| Self::Position(Position::from_u64(position)));
        let place = position.or_else(|| Timestamp::parse(text.as_str()).map(Self::Time));
        place.map(Some).ok_or("must be an RFC 3339 time, or a position".into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

/// Delivers a part of the log again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["from"]))]
pub struct ReplayRequest {
    /// The tenant, where the credential is good for several.
    pub tenant_id: Field<TenantId>,
    /// After this place.
    pub from: Field<LogPlace>,
    /// Up to this place; the end of the log unless given.
    pub to: Field<LogPlace>,
}

/// Whether a replay is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// It is not.
    Running,
    /// Everything was delivered again, or waits for its next attempt.
    Done,
    /// Its owner ended it.
    Cancelled,
}

/// A replay.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayResponse {
    /// The position that it starts after.
    pub from: u64,
    /// The position that it ends with.
    pub to: u64,
    /// The position that it has come to.
    pub position: u64,
    /// How many deliveries it has started.
    pub begun: u64,
    /// Whether it is over.
    pub status: ReplayState,
}

impl From<ReplayProgress> for ReplayResponse {
    fn from(replay: ReplayProgress) -> Self {
        Self {
            from: replay.after.as_u64(),
            to: replay.until.as_u64(),
            position: replay.cursor.as_u64(),
            begun: replay.begun,
            status: match replay {
                ReplayProgress { is_cancelled: true, .. } => ReplayState::Cancelled,
                replay if replay.is_over() => ReplayState::Done,
                _ => ReplayState::Running,
            },
        }
    }
}

/// The answer of an endpoint to a test.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTestResponse {
    /// Whether the endpoint took the test.
    pub success: bool,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// The start of the endpoint's answer.
    pub answer: Option<String>,
}
