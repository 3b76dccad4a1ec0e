//! From the log to the rooms.
//!
//! One subscription turns what was appended into events for clients, in the log's order. Nothing is
//! cast that is not durable, and nothing is cast by anybody else. Only signals go the same way without being in the log:
//! who came and went of those who have not written.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{presence::PresenceSignal, sessions::ChatMessage};
use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, TenantId, codec, presence::PresenceEvent,
    session::SessionEvent, stream::StreamKind,
};
use amoiq_socketio::socket::{OffsetWriter, OutgoingEvent, RoomBroadcast, RoomRegistry};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::Room;
use crate::{
    access::session_guard::NOT_YOURS,
    api::messages::{Audience, MessageResponse},
    api::online::{GoneView, UserView},
};

/// How long it waits when the log cannot be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How far the rooms are, for a sender who wants to be answered after they have heard.
#[derive(Clone)]
pub struct Echo {
    reached: watch::Receiver<Position>,
    rooms: Arc<RoomRegistry<Room>>,
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
    rooms: Arc<RoomRegistry<Room>>,
    offsets: OffsetWriter,
    signals: mpsc::Receiver<PresenceSignal>,
) -> Echo {
    let (reached, echo) = watch::channel(from);
    let echo = Echo { reached: echo, rooms: Arc::clone(&rooms) };
    actix::spawn(pass_on(signals, Arc::clone(&rooms)));
    actix::spawn(follow(store, from, rooms, offsets, reached));
    echo
}

async fn follow(
    store: Arc<dyn EventStore>,
    from: Position,
    rooms: Arc<RoomRegistry<Room>>,
    offsets: OffsetWriter,
    reached: watch::Sender<Position>,
) {
    let mut subscription = store.subscribe(from);
    loop {
        match subscription.next().await {
            Ok(Some(batch)) => {
                // Whoever joins later was not here when these were appended.
                if !rooms.is_empty() {
                    let news = batch.events.iter().filter_map(|event| cast(event, &offsets, Hearing::First));
                    rooms.broadcast(news.collect()).await;
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

/// Tells staff of visitors who have not written.
async fn pass_on(mut signals: mpsc::Receiver<PresenceSignal>, rooms: Arc<RoomRegistry<Room>>) {
    while let Some(PresenceSignal { tenant, events }) = signals.recv().await {
        if !rooms.is_empty() {
            rooms.broadcast(events.iter().map(|event| signalled(&tenant, event)).collect()).await;
        }
    }
}

/// Who hears of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Those who are here when it is appended.
    First,
    /// Somebody who was away.
    Later,
}

/// What staff hear of a visitor who has not written. It has no place in the log.
fn signalled(tenant: &TenantId, event: &PresenceEvent) -> RoomBroadcast<Room> {
    let rooms = vec![Room::Staff(tenant.clone())];
    RoomBroadcast { rooms, event: Arc::new(presence(event)), unrestricted_event: None, owner: None }
}

/// What staff hear of who came and who went.
fn presence(event: &PresenceEvent) -> OutgoingEvent {
    match event {
        PresenceEvent::Online(online) => OutgoingEvent::new("user_online", &UserView::of(online)),
        PresenceEvent::Offline(offline) => OutgoingEvent::new("user_offline", &GoneView::of(offline)),
    }
}

/// What clients hear of an event, and which of them. Once a session is a verified user's, others hear no more
/// of it.
pub(super) fn cast(
    recorded: &RecordedEvent,
    offsets: &OffsetWriter,
    hearing: Hearing,
) -> Option<RoomBroadcast<Room>> {
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
    let (rooms, emission, for_staff) = match (recorded.stream.kind()?, event) {
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::MessageCreated(created))) => {
            let message = ChatMessage::of(&created, recorded.event.time, recorded.position);
            let told = |audience| message_created(&tenant, &session, &message, audience);
            let (emission, for_staff) = (told(Audience::Visitor), told(Audience::Staff));
            (vec![Room::Session(tenant.clone(), session), Room::Staff(tenant)], emission, Some(for_staff))
        }
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::VisitorIdentified(visitor))) => {
            let owner = visitor.user_id.filter(|_| visitor.verified)?;
            let emission = Arc::new(OutgoingEvent::new("error", &NOT_YOURS.to_json()));
            let rooms = vec![Room::Session(tenant, session)];
            return Some(RoomBroadcast {
                rooms,
                event: emission,
                unrestricted_event: None,
                owner: Some(owner.as_str().into()),
            });
        }
        // Everybody who was here heard the signal.
        (_, Event::Presence(PresenceEvent::Online(online)))
            if online.is_told && hearing == Hearing::First =>
        {
            return None;
        }
        (StreamKind::Presence(tenant), Event::Presence(event)) => {
            (vec![Room::Staff(tenant)], presence(&event), None)
        }
        _ => return None,
    };
    let placed = |emission: OutgoingEvent| Arc::new(emission.at(offset, offsets));
    Some(RoomBroadcast {
        rooms,
        event: placed(emission),
        unrestricted_event: for_staff.map(placed),
        owner: None,
    })
}

/// `meta_message_created`, without its place in the log.
pub(super) fn message_created(
    tenant: &TenantId,
    session: &SessionId,
    message: &ChatMessage,
    audience: Audience,
) -> OutgoingEvent {
    let view = MessageResponse::of(message, session, audience).in_tenant(tenant);
    OutgoingEvent::new("meta_message_created", &json!({ "message": view }))
}
