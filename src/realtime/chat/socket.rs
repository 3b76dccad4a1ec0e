//! What is known of one socket.

use std::{future::Future, net::IpAddr, sync::Arc};

use actix::Recipient;
use amoiq_actors::{
    Presence,
    presence::{ConnectionId, Visitor},
};
use amoiq_events::{
    SessionId, ShortText, TenantId, UserId,
    session::{Caller, Page},
};

use super::{Room, recovery::Recovery};
use crate::{
    auth::{Credential, Principal, Role},
    realtime::{
        engine::link::Told,
        socket::{LocalRooms, Note, Pass, SocketId},
    },
};

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
    /// Where its page is, as it said when it connected.
    pub(super) page: Option<Box<Page>>,
    pub(super) place: Place,
}

/// A socket's places: in rooms, among those online, and among those who may come back. They are given
/// up when it is dropped, however that comes about.
pub(super) struct Place {
    pub(super) id: SocketId,
    pub(super) recipient: Recipient<Told<Note>>,
    pub(super) rooms: LocalRooms<Room>,
    pub(super) tenant: TenantId,
    /// Visitors only: staff are not listed.
    pub(super) presence: Option<Presence>,
    /// Its number among those who may come back; only for one that asked for it.
    pub(super) recovers: Option<(Arc<Recovery>, u64)>,
}

impl Place {
    async fn join(&self, room: Room, pass: Pass) {
        self.rooms.join(room, self.id, pass, self.recipient.clone()).await;
    }

    pub(super) async fn leave(&self, room: Room) {
        self.rooms.leave(room, self.id).await;
    }

    /// Is online as this visitor from now on.
    pub(super) async fn appear(&self, visitor: Visitor) {
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

impl ChatSocket {
    /// As whom agents see it. A visitor who has not named a session yet is a stranger with a name of
    /// their own.
    pub(super) fn visitor(&self, claimed: Option<&UserId>, page: Option<&Page>) -> Option<Visitor> {
        let stranger = || SessionId::parse(&format!("provisional-{}", self.place.id.0));
        let session_id = self.bound.clone().or_else(|| stranger().ok())?;
        let verified = match &self.principal.role {
            Role::Visitor { verified, .. } => verified.as_ref(),
            Role::WidgetKey | Role::Bot | Role::Staff { .. } => None,
        };
        let anonymous = || {
            let name = UserId::anonymous(&session_id);
            let end = name.floor_char_boundary(amoiq_events::id::MAX_ID_BYTES);
            UserId::parse(name.get(..end).unwrap_or_default()).ok()
        };
        let user_id = verified.or(claimed).or(self.claimed.as_ref()).cloned().or_else(anonymous)?;
        let told = |field: fn(&Page) -> &Option<ShortText>| {
            let pages = [page, self.page.as_deref()];
            pages.into_iter().flatten().find_map(|page| field(page).clone())
        };
        Some(Visitor {
            user_id,
            domain: told(|page| &page.domain),
            origin: told(|page| &page.origin),
            url: told(|page| &page.url),
            session_id,
        })
    }

    /// Puts it into a room, as who it is.
    pub(super) async fn join(&self, room: Room) {
        let pass = match self.principal.caller() {
            Caller::Staff => Pass::All,
            Caller::Verified(user) => Pass::Of(user.as_str().into()),
            Caller::Anonymous => Pass::Nobody,
        };
        self.place.join(room, pass).await;
    }

    /// Binds it to a session: it hears what is said there, and is online there. When this is done, a
    /// command of the socket is heard by the socket.
    pub(super) async fn bind(&mut self, session: SessionId, claimed: Option<&UserId>, page: Option<&Page>) {
        self.join(Room::Session(self.principal.tenant_id.clone(), session.clone())).await;
        if let Some((recovery, number)) = &self.place.recovers {
            recovery.bound(*number, self.place.id, &session);
        }
        self.bound = Some(session);
        if let Some(visitor) = self.visitor(claimed, page) {
            self.place.appear(visitor).await;
        }
    }
}
