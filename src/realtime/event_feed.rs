//! From the log to the rooms.
//!
//! One subscription turns appended events into events for clients, in the order of the log. Nothing else broadcasts, and
//! nothing that is not durable is broadcast. The one exception are presence signals about visitors who have not written,
//! which are not in the log.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{
    presence::{LoggedNews, OnlineUsers, PresenceSignal},
    sessions::ChatMessage,
};
use amoiq_events::{
    ConversationId, Event, EventLog, Position, RecordedEvent, TenantId, codec,
    presence::PresenceEvent,
    session::SessionEvent,
    store::{EventBatch, LogSubscription},
    stream::StreamKind,
};
use amoiq_socketio::socket::{OffsetWriter, OutgoingEvent, RoomBroadcast, RoomRegistry};
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard, mpsc, watch};

use super::ChatRoom;
use crate::{
    access::session_guard::NOT_YOURS,
    api::messages::{Audience, MessagePlace, MessageResponse},
    api::online::{OfflineUserResponse, OnlineUserResponse},
    api::sessions::conversations::ConversationEvent,
};

/// How long what the log says of presence waits for the list of online users.
pub(super) const FOLD_PATIENCE: Duration = Duration::from_secs(2);

/// How many events are broadcast together. One part of the log may have more.
const MOST_EVENTS: usize = 64;

/// The types of events that clients hear of.
const BROADCAST_KINDS: [&str; 7] = [
    "message.created",
    "visitor.identified",
    "conversation.started",
    "conversation.closed",
    "conversation.reopened",
    "user.online",
    "user.offline",
];

/// How long to wait before the log is read again after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How far the rooms are, for a sender whose answer should come after the echo.
#[derive(Clone)]
pub struct FeedProgress {
    position: watch::Receiver<Position>,
    rooms: Arc<RoomRegistry<ChatRoom>>,
}

impl FeedProgress {
    /// Waits until every socket that gets an event has it in its queue, but not longer than `patience`: the event is
    /// durable already.
    pub async fn wait_for(&self, position: Position, patience: Duration) {
        if self.rooms.is_empty() {
            return;
        }
        let mut current = self.position.clone();
        let reached = current.wait_for(|current| *current >= position);
        // Late or stopping: the sender is answered all the same.
        let _late = tokio::time::timeout(patience, reached).await;
    }
}

/// What staff are told of visitors beside the log.
pub struct PresenceFeed {
    /// Visitors who have not written.
    pub signals: mpsc::Receiver<PresenceSignal>,
    /// Who is online.
    pub users: OnlineUsers,
}

/// Everything that rooms get.
pub struct EventFeed {
    store: Arc<dyn EventLog>,
    rooms: Arc<RoomRegistry<ChatRoom>>,
    offsets: OffsetWriter,
    users: OnlineUsers,
    reached: watch::Sender<Position>,
    /// What was taken from the log. Whoever holds it follows the log.
    taken: Mutex<Position>,
}

impl EventFeed {
    /// A feed of what is appended after a position, once a thread follows it. Presence signals are broadcast at once, on the
    /// current thread.
    pub fn new(
        store: Arc<dyn EventLog>,
        from: Position,
        rooms: Arc<RoomRegistry<ChatRoom>>,
        offsets: OffsetWriter,
        presence: PresenceFeed,
    ) -> Arc<Self> {
        let users = presence.users;
        let others = store.is_shared().then(|| users.clone());
        actix::spawn(broadcast_signals(presence.signals, Arc::clone(&rooms), others));
        let (reached, taken) = (watch::Sender::new(from), Mutex::new(from));
        Arc::new(Self { store, rooms, offsets, users, reached, taken })
    }

    /// How far the rooms are.
    #[must_use]
    pub fn progress(&self) -> FeedProgress {
        FeedProgress { position: self.reached.subscribe(), rooms: Arc::clone(&self.rooms) }
    }

    /// Follows the log on the current arbiter, once no other one does. On a thread that serves sockets, a part of the rooms needs
    /// no wake-up.
    pub fn follow_here(self: &Arc<Self>) {
        let feed = Arc::clone(self);
        actix::spawn(async move { feed.follow(feed.taken.lock().await).await });
    }

    async fn follow(&self, mut taken: MutexGuard<'_, Position>) {
        let mut subscription = self.store.subscribe(*taken);
        loop {
            match subscription.next().await {
                Ok(Some(batch)) => {
                    // A socket that joins later is not owed what was appended before.
                    if !self.rooms.is_empty() {
                        self.broadcast_ready(batch, &mut subscription, &mut taken).await;
                    }
                    *taken = subscription.position();
                    self.reached.send_replace(*taken);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the rooms cannot follow the log and try again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Broadcasts a part of the log, with the parts after it that are there when its listeners can take more: what was appended
    /// while a large room was written goes out with one write for each listener.
    async fn broadcast_ready(
        &self,
        first: EventBatch,
        subscription: &mut LogSubscription,
        taken: &mut Position,
    ) {
        let mut broadcasts = self.broadcasts_of(&first).await;
        self.rooms.ready_for(&broadcasts).await;
        for batch in ready_after(first.events.len(), subscription).await {
            broadcasts.extend(self.broadcasts_of(&batch).await);
        }
        // Before they are broadcast: if this thread ends meanwhile, no socket gets an event from the next one again.
        *taken = subscription.position();
        self.rooms.broadcast(broadcasts).await;
    }

    async fn broadcasts_of(&self, batch: &EventBatch) -> Vec<RoomBroadcast<ChatRoom>> {
        if self.store.is_shared() {
            self.fold_presence(batch).await;
        }
        batch.events.iter().filter_map(|event| self.broadcast_of(event)).collect()
    }

    /// Staff are told after it is folded: whether somebody who left is still on another node shows then, and a signal that
    /// somebody left is not told after the log said that they are back.
    async fn fold_presence(&self, batch: &EventBatch) {
        if batch.events.iter().any(|event| matches!(&*event.event.kind, "user.online" | "user.offline")) {
            // Late: the list may still have those who left, and then nobody is told that they did.
            let _late = self.users.progress().reach(batch.upto, FOLD_PATIENCE).await;
        }
    }

    fn broadcast_of(&self, event: &RecordedEvent) -> Option<RoomBroadcast<ChatRoom>> {
        let timing = match self.store.is_shared().then(|| self.users.news(event)) {
            None | Some(LoggedNews::Own) => BroadcastTiming::Live,
            Some(LoggedNews::Others) => BroadcastTiming::Later,
            Some(LoggedNews::Nothing) => return None,
        };
        broadcast_of(event, &self.offsets, timing)
    }
}

/// The parts of the log that are there already, until there are enough events with those before.
async fn ready_after(mut events: usize, subscription: &mut LogSubscription) -> Vec<EventBatch> {
    let mut batches = Vec::new();
    while events < MOST_EVENTS
        && let Some(next) = subscription.next_if_ready().await
    {
        events += next.events.len();
        batches.push(next);
    }
    batches
}

/// Tells staff about visitors who have not written. `users` are those of all nodes, where there are others.
async fn broadcast_signals(
    mut signals: mpsc::Receiver<PresenceSignal>,
    rooms: Arc<RoomRegistry<ChatRoom>>,
    users: Option<OnlineUsers>,
) {
    while let Some(PresenceSignal { tenant, events }) = signals.recv().await {
        if rooms.is_empty() {
            continue;
        }
        let holds =
            |event: &&PresenceEvent| users.as_ref().is_none_or(|users| users.still_holds(&tenant, event));
        let broadcast = |event| {
            // A signal has no offset, since it has no position in the log.
            let event = Arc::new(presence_event(event));
            RoomBroadcast {
                rooms: vec![ChatRoom::Staff(tenant.clone())],
                event,
                unrestricted_event: None,
                owner: None,
            }
        };
        rooms.broadcast(events.iter().filter(holds).map(broadcast).collect()).await;
    }
}

/// When an event reaches a client, and what reached it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BroadcastTiming {
    /// When it is appended.
    Live,
    /// After the client was away, or by a node that told nothing of it before.
    Later,
}

fn presence_event(event: &PresenceEvent) -> OutgoingEvent {
    match event {
        PresenceEvent::Online(online) => OutgoingEvent::new("user_online", &OnlineUserResponse::of(online)),
        PresenceEvent::Offline(offline) => {
            OutgoingEvent::new("user_offline", &OfflineUserResponse::of(offline))
        }
    }
}

/// What clients get of a recorded event, and which of them. Once a session belongs to a verified user, others get no
/// more of it.
pub(super) fn broadcast_of(
    recorded: &RecordedEvent,
    offsets: &OffsetWriter,
    timing: BroadcastTiming,
) -> Option<RoomBroadcast<ChatRoom>> {
    let kind = &*recorded.event.kind;
    if !BROADCAST_KINDS.contains(&kind) {
        return None;
    }
    let event = match codec::decode(recorded) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(
                position = %recorded.position, %error,
                "an event cannot be read and is not broadcast"
            );
            return None;
        }
    };
    let (rooms, event, for_staff) = match (recorded.stream.kind()?, event) {
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::MessageCreated(created))) => {
            let message = ChatMessage::of(&created, recorded.event.time, recorded.position);
            let place = MessagePlace { session, conversation: created.conversation_id };
            let shown_to = |audience| message_created(&tenant, &place, &message, audience);
            let (event, for_staff) = (shown_to(Audience::Visitor), shown_to(Audience::Staff));
            (
                vec![ChatRoom::Session(tenant.clone(), place.session), ChatRoom::Staff(tenant)],
                event,
                Some(for_staff),
            )
        }
        (StreamKind::Session(tenant, session), Event::Session(SessionEvent::VisitorIdentified(visitor))) => {
            let owner = visitor.user_id.filter(|_| visitor.verified)?;
            return Some(RoomBroadcast {
                rooms: vec![ChatRoom::Session(tenant, session)],
                event: Arc::new(OutgoingEvent::new("error", &NOT_YOURS.to_json())),
                unrestricted_event: None,
                owner: Some(owner.as_str().into()),
            });
        }
        (StreamKind::Session(tenant, session), Event::Session(event)) => {
            let (name, conversation) = conversation_news(&event)?;
            let told = ConversationEvent::new(conversation, &session, recorded.event.time);
            let for_staff = OutgoingEvent::new(name, &told.clone().by(&recorded.event.actor));
            let event = OutgoingEvent::new(name, &told);
            (
                vec![ChatRoom::Session(tenant.clone(), session), ChatRoom::Staff(tenant)],
                event,
                Some(for_staff),
            )
        }
        // Everybody who is connected got the signal.
        (_, Event::Presence(PresenceEvent::Online(online)))
            if online.is_told && timing == BroadcastTiming::Live =>
        {
            return None;
        }
        (StreamKind::Presence(tenant), Event::Presence(event)) => {
            (vec![ChatRoom::Staff(tenant)], presence_event(&event), None)
        }
        _ => return None,
    };
    let with_offset = |event: OutgoingEvent| Arc::new(event.at(recorded.position.as_u64(), offsets));
    Some(RoomBroadcast {
        rooms,
        event: with_offset(event),
        unrestricted_event: for_staff.map(with_offset),
        owner: None,
    })
}

/// What clients are told when something happens to a conversation. `None` where an older event does not say to which.
fn conversation_news(event: &SessionEvent) -> Option<(&'static str, ConversationId)> {
    match event {
        SessionEvent::ConversationStarted(started) => Some(("conversation:created", started.conversation_id)),
        SessionEvent::ConversationClosed(closed) => Some(("conversation:closed", closed.conversation_id?)),
        SessionEvent::ConversationReopened(reopened) => {
            Some(("conversation:reopened", reopened.conversation_id?))
        }
        SessionEvent::Started(_) | SessionEvent::VisitorIdentified(_) | SessionEvent::MessageCreated(_) => {
            None
        }
    }
}

/// What `meta_message_created` carries.
#[derive(Serialize)]
struct MessageCreated {
    message: MessageResponse,
}

/// `meta_message_created`, without its offset.
pub(super) fn message_created(
    tenant: &TenantId,
    place: &MessagePlace,
    message: &ChatMessage,
    audience: Audience,
) -> OutgoingEvent {
    let response = MessageResponse::of(message, place, audience).in_tenant(tenant);
    OutgoingEvent::new("meta_message_created", &MessageCreated { message: response })
}

#[cfg(test)]
mod tests;
