//! A session and its transcript.

use amoiq_actors::sessions::ChatMessage;
use amoiq_events::{
    Event, EventLog, Position, SessionId, StreamName, TenantId, UserId, codec,
    session::{ConversationState, Session, SessionEvent, VisitorIdentified},
};
use serde_json::{Value, json};

use crate::api::messages::{Audience, MessagePlace, MessageResponse};

/// What is known about the visitor, for people.
#[derive(Default)]
struct KnownVisitor {
    user_id: Option<UserId>,
    is_verified: bool,
    info: Option<Value>,
}

impl KnownVisitor {
    fn learn(&mut self, identified: &VisitorIdentified) {
        if let Some(user) = &identified.user_id {
            self.user_id = Some(user.clone());
            self.is_verified |= identified.verified;
        } else if identified.claimed_user_id.is_some() {
            self.user_id = None;
        }
        if let Some(info) = &identified.user_info {
            self.info = serde_json::from_str(info.get()).ok();
        }
    }
}

/// The session as it was at a position.
pub(super) async fn at(
    log: &dyn EventLog,
    tenant: &TenantId,
    session: &SessionId,
    at: Position,
) -> anyhow::Result<Value> {
    let mut state = Session::default();
    let mut visitor = KnownVisitor::default();
    let mut messages = Vec::new();
    super::stream(log, StreamName::session(tenant, session), at, |recorded| {
        let Event::Session(event) = codec::decode(recorded)? else { return Ok(()) };
        state.apply(&event);
        match &event {
            SessionEvent::VisitorIdentified(told) => visitor.learn(told),
            SessionEvent::MessageCreated(created) => {
                let message = ChatMessage::of(created, recorded.event.time, recorded.position);
                let place = MessagePlace { session: session.clone(), conversation: state.conversation_id() };
                messages.push(serde_json::to_value(MessageResponse::of(&message, &place, Audience::Staff))?);
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    anyhow::ensure!(state.exists(), "there was no such session at position {at}");
    Ok(json!({
        "tenant": tenant, "session": session, "position": at, "version": state.version(),
        "conversation": match state.conversation() {
            ConversationState::None => "none",
            ConversationState::Open => "open",
            ConversationState::Closed => "closed",
        },
        "userId": visitor.user_id, "verified": visitor.is_verified, "userInfo": visitor.info,
        "messages": messages,
    }))
}
