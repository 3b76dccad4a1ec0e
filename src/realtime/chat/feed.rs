//! From the log to the rooms.
//!
//! One subscription turns what was appended into events for clients, in the log's order. Nothing is
//! cast that is not durable, and nothing is cast by anybody else.

use std::{sync::Arc, time::Duration};

use amoiq_actors::Message;
use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, TenantId, codec, presence::PresenceEvent,
    session::SessionEvent, stream::StreamKind,
};
use serde_json::json;
use tokio::sync::watch;

use super::Room;
use crate::{
    http::access::NOT_YOURS,
    message::MessageView,
    realtime::socket::{Cast, Emission, OffsetWriter, Rooms},
};

/// How long it waits when the log cannot be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How far the rooms are, for a sender who wants to be answered after they have heard.
#[derive(Clone)]
pub struct Echo {
    reached: watch::Receiver<Position>,
    rooms: Arc<Rooms<Room>>,
}

impl Echo {
    /// Waits until everybody who hears an event has it in their queue, but not for long: it is a
    /// courtesy, and the event is durable already.
    pub async fn of(&self, position: Position, patience: Duration) {
        if self.rooms.is_empty() {
            return;
        }
        let mut reached = self.reached.clone();
        let heard = reached.wait_for(|now| *now >= position);
        // Late or stopping: the sender is answered all the same.
        let _late = tokio::time::timeout(patience, heard).await;
    }
}

/// Starts to follow the log from a position on the caller's thread.
pub fn start(
    store: Arc<dyn EventStore>,
    from: Position,
    rooms: Arc<Rooms<Room>>,
    offsets: OffsetWriter,
) -> Echo {
    let (reached, echo) = watch::channel(from);
    let echo = Echo { reached: echo, rooms: Arc::clone(&rooms) };
    actix::spawn(follow(store, from, rooms, offsets, reached));
    echo
}

async fn follow(
    store: Arc<dyn EventStore>,
    from: Position,
    rooms: Arc<Rooms<Room>>,
    offsets: OffsetWriter,
    reached: watch::Sender<Position>,
) {
    let mut subscription = store.subscribe(from);
    loop {
        match subscription.next().await {
            Ok(Some(batch)) => {
                // Whoever joins later was not here when these were appended.
                if !rooms.is_empty() {
                    rooms.cast(batch.iter().filter_map(|event| cast(event, &offsets)).collect()).await;
                }
                reached.send_replace(subscription.position());
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the rooms do not follow the log; they try again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// What clients hear of an event, and which of them. Once a session is a verified user's, others hear no more
/// of it.
pub(super) fn cast(recorded: &RecordedEvent, offsets: &OffsetWriter) -> Option<Cast<Room>> {
    let kind = &*recorded.event.kind;
    if !matches!(kind, "message.created" | "visitor.identified" | "user.online" | "user.offline") {
        return None;
    }
    let event = match codec::decode(recorded) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(position = %recorded.position, %error, "an event cannot be read and is not cast");
            return None;
        }
    };
    let offset = recorded.position.as_u64();
    let (rooms, emission) = match (recorded.stream.kind()?, event) {
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::MessageCreated(created))) => {
            let message = Message::of(&created, recorded.event.time, recorded.position);
            let emission = message_created(&tenant, &session, &message);
            (vec![Room::Session(tenant.clone(), session), Room::Staff(tenant)], emission)
        }
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::VisitorIdentified(visitor))) => {
            let owner = visitor.user_id.filter(|_| visitor.verified)?;
            let emission = Arc::new(Emission::new("error", &NOT_YOURS.to_json()));
            let rooms = vec![Room::Session(tenant, session)];
            return Some(Cast { rooms, emission, only: Some(owner.as_str().into()) });
        }
        (StreamKind::Presence(tenant), Event::Presence(PresenceEvent::Online(online))) => {
            (vec![Room::Staff(tenant)], Emission::new("user_online", &online))
        }
        (StreamKind::Presence(tenant), Event::Presence(PresenceEvent::Offline(offline))) => {
            let gone = json!({ "userId": offline.user_id });
            (vec![Room::Staff(tenant)], Emission::new("user_offline", &gone))
        }
        _ => return None,
    };
    Some(Cast { rooms, emission: Arc::new(emission.at(offset, offsets)), only: None })
}

/// `meta_message_created`, without its place in the log.
pub(super) fn message_created(tenant: &TenantId, session: &SessionId, message: &Message) -> Emission {
    let view = MessageView::of(message, session).in_tenant(tenant);
    Emission::new("meta_message_created", &json!({ "message": view }))
}
