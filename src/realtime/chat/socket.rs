//! What is known of one socket.

use std::{future::Future, net::IpAddr, sync::Arc};

use actix::Recipient;
use amoiq_actors::presence::{ConnectedVisitor, ConnectionId, PresenceHandle};
use amoiq_events::{
    SessionId, ShortText, TenantId, UserId,
    session::{SessionCaller, VisitedPage},
};

use amoiq_socketio::{
    engine::ConnectionNotice,
    socket::{RoomIdentity, RoomMember, SocketId, SocketNotice, WorkerRooms},
};

use super::{Room, recovery::Recovery};
use crate::access::auth::{Credential, Principal};

/// One socket of the chat.
pub struct ChatSocket {
    /// With what it connected.
    pub(super) credential: Credential,
    /// Who it is.
    pub(super) principal: Principal,
    /// Its address, for the limit of misses.
    pub(super) client: IpAddr,
    /// The session that it is bound to; visitors only.
    pub(super) bound: Option<SessionId>,
    /// The user that it named when it connected: who its messages are from that name none.
    pub(super) claimed: Option<UserId>,
    /// Whether there are messages in that session.
    pub(super) has_written: bool,
    /// Whether it has sent a message.
    pub(super) has_spoken: bool,
    /// Where its page is, as it said when it connected.
    pub(super) page: Option<Box<VisitedPage>>,
    pub(super) place: Place,
}

/// A socket's places: in rooms, among those online, and among those who may come back. They are given
/// up when it is dropped, however that comes about.
pub(super) struct Place {
    pub(super) id: SocketId,
    /// In its provisional session's name: a number would be guessed, and claimed by others.
    pub(super) stranger: u64,
    pub(super) recipient: Recipient<ConnectionNotice<SocketNotice>>,
    pub(super) rooms: WorkerRooms<Room>,
    pub(super) tenant: TenantId,
    /// Visitors only: staff are not listed.
    pub(super) presence: Option<PresenceHandle>,
    /// Its number among those who may come back; only for one that asked for it.
    pub(super) recovers: Option<(Arc<Recovery>, u64)>,
}

impl Place {
    async fn join(&self, room: Room, pass: RoomIdentity) {
        let member = RoomMember { socket: self.id, recipient: self.recipient.clone() };
        self.rooms.join(room, member, pass).await;
    }

    pub(super) async fn leave(&self, room: Room) {
        self.rooms.leave(room, self.id).await;
    }

    /// Has what was said of it said at once.
    pub(super) fn hurry(&self) {
        if let Some(presence) = &self.presence {
            presence.flush(&self.tenant);
        }
    }

    /// Is online as this visitor from now on.
    pub(super) async fn appear(&self, visitor: ConnectedVisitor) {
        if let Some(presence) = &self.presence {
            // Gone only when the service stops.
            let _stopping = presence.identify(&self.tenant, ConnectionId(self.id.0), visitor).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (id, tenant) = (self.id, self.tenant.clone());
        let rooms = self.rooms.clone();
        in_background(async move { rooms.leave_all(id).await });
        if let Some(presence) = self.presence.take() {
            in_background(async move {
                let _stopping = presence.close(&tenant, ConnectionId(id.0)).await;
            });
        }
        if let Some((recovery, number)) = self.recovers.take() {
            recovery.left(number, id);
        }
    }
}

/// Runs to its end although the socket is gone. When the worker itself ends there is nobody left to
/// tell.
fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(worker) = tokio::runtime::Handle::try_current() {
        worker.spawn(work);
    }
}

/// How a visitor is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Naming {
    /// A secret key vouched for them.
    Proven(UserId),
    /// By their own word.
    Claimed(UserId),
    /// By their own word, with somebody else's name.
    Taken(UserId),
    /// They did not say.
    Nobody,
}

impl ChatSocket {
    /// As whom agents see it. A visitor who has not named a session yet is a stranger with a name of
    /// their own.
    pub(super) fn visitor(&self, naming: Naming, page: Option<&VisitedPage>) -> Option<ConnectedVisitor> {
        let stranger = || SessionId::parse(&format!("provisional-{:016x}", self.place.stranger));
        let session_id = self.bound.clone().or_else(|| stranger().ok())?;
        let anonymous = || UserId::of_anonymous(&session_id);
        let (user_id, verified, claimed_user_id) = match naming {
            Naming::Proven(user) => (user, true, None),
            // As it is shown to itself.
            Naming::Claimed(user) if user == anonymous() => (user, false, None),
            Naming::Claimed(user) if !user.is_anonymous() => (user, false, None),
            Naming::Claimed(user) | Naming::Taken(user) => (anonymous(), false, Some(user)),
            Naming::Nobody => (anonymous(), false, None),
        };
        let told = |field: fn(&VisitedPage) -> &Option<ShortText>| {
            let pages = [page, self.page.as_deref()];
            pages.into_iter().flatten().find_map(|page| field(page).clone())
        };
        Some(ConnectedVisitor {
            user_id,
            verified,
            claimed_user_id,
            has_written: self.bound.is_some() && self.has_written,
            domain: told(|page| &page.domain),
            origin: told(|page| &page.origin),
            url: told(|page| &page.url),
            session_id,
        })
    }

    /// Puts it into a room, as who it is.
    pub(super) async fn join(&self, room: Room) {
        let pass = match self.principal.caller() {
            SessionCaller::Staff => RoomIdentity::Unrestricted,
            SessionCaller::Verified(user) => RoomIdentity::User(user.as_str().into()),
            SessionCaller::Anonymous => RoomIdentity::Anonymous,
        };
        self.place.join(room, pass).await;
    }

    /// Binds it to a session: it hears what is said there, and is online there. When this is done, a
    /// command of the socket is heard by the socket.
    pub(super) async fn bind(&mut self, session: SessionId, naming: Naming, page: Option<&VisitedPage>) {
        self.join(Room::Session(self.principal.tenant_id.clone(), session.clone())).await;
        if let Some((recovery, number)) = &self.place.recovers {
            recovery.bound(*number, self.place.id, &session);
        }
        self.bound = Some(session);
        if let Some(visitor) = self.visitor(naming, page) {
            self.place.appear(visitor).await;
        }
    }
}
