//! The state of one socket.

use std::{future::Future, net::IpAddr, rc::Rc, sync::Arc};

use amoiq_actors::presence::{ConnectedVisitor, ConnectionId, PresenceHandle};
use amoiq_events::{
    SessionId, ShortText, TenantId, UserId,
    session::{SessionCaller, VisitedPage},
};
use amoiq_socketio::socket::{RoomIdentity, SocketId, SocketOutlet, WorkerRooms};

use super::{ChatRoom, recovery_table::RecoveryTable};
use crate::access::auth::{Credential, Principal};

/// One socket of the chat.
pub struct ChatSocket {
    /// The credential that it connected with.
    pub(super) credential: Credential,
    /// Who it is.
    pub(super) principal: Principal,
    /// Its address, which the limits count.
    pub(super) client: IpAddr,
    /// The session that it is bound to; visitors only.
    pub(super) bound_session: Option<SessionId>,
    /// The user that it named when it connected: the author of messages that name none.
    pub(super) claimed_user: Option<UserId>,
    /// Whether that session has messages.
    pub(super) has_messages: bool,
    /// Whether this socket has sent a message.
    pub(super) has_sent: bool,
    /// The visitor's page when it connected.
    pub(super) page: Option<Box<VisitedPage>>,
    pub(super) registrations: SocketRegistrations,
}

/// Where a socket is registered: in rooms, among the visitors online, and among the clients that may recover. Dropping
/// it ends all of that, however the socket ends.
pub(super) struct SocketRegistrations {
    /// Random, in the name of its provisional session: others could guess a serial number, and claim that session.
    pub(super) provisional_number: u64,
    pub(super) outlet: Rc<SocketOutlet>,
    pub(super) rooms: WorkerRooms<ChatRoom>,
    pub(super) tenant: TenantId,
    /// Visitors only: staff are not listed.
    pub(super) presence: Option<PresenceHandle>,
    /// Its number among the clients that may recover, if it asked for recovery.
    pub(super) recovery: Option<(Arc<RecoveryTable>, u64)>,
}

impl SocketRegistrations {
    pub(super) fn id(&self) -> SocketId {
        self.outlet.id()
    }

    pub(super) fn leave(&self, room: &ChatRoom) {
        self.rooms.leave(room, self.id());
    }

    /// Publishes pending presence changes at once.
    pub(super) fn publish_presence(&self) {
        if let Some(presence) = &self.presence {
            presence.flush(&self.tenant);
        }
    }

    /// Is online as this visitor from now on.
    pub(super) async fn set_online(&self, visitor: ConnectedVisitor) {
        if let Some(presence) = &self.presence {
            // Fails only when the service stops.
            let _stopping = presence.identify(&self.tenant, ConnectionId(self.id().0), visitor).await;
        }
    }
}

impl Drop for SocketRegistrations {
    fn drop(&mut self) {
        let (id, tenant) = (self.id(), self.tenant.clone());
        self.rooms.leave_all(id);
        if let Some(presence) = self.presence.take() {
            spawn(async move {
                let _stopping = presence.close(&tenant, ConnectionId(id.0)).await;
            });
        }
        if let Some((table, number)) = self.recovery.take() {
            table.left(number, id);
        }
    }
}

/// Runs to its end although the socket is gone. When the worker itself stops, there is nobody left to tell.
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(worker) = tokio::runtime::Handle::try_current() {
        worker.spawn(work);
    }
}

/// Which user a visitor is or claims to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VisitorIdentity {
    /// A secret key vouched for the user.
    Verified(UserId),
    /// The visitor says so.
    Claimed(UserId),
    /// The visitor says so, but the user is known to be verified.
    ClaimsVerified(UserId),
    /// The visitor names no user.
    Anonymous,
}

impl ChatSocket {
    /// What agents see of the visitor. A visitor that has not named a session yet gets a provisional one of its own.
    pub(super) fn visitor(
        &self,
        identity: VisitorIdentity,
        page: Option<&VisitedPage>,
    ) -> Option<ConnectedVisitor> {
        let provisional = || {
            let number = self.registrations.provisional_number;
            SessionId::parse(&format!("provisional-{number:016x}"))
        };
        let session_id = self.bound_session.clone().or_else(|| provisional().ok())?;
        let anonymous = || UserId::of_anonymous(&session_id);
        let (user_id, verified, claimed_user_id) = match identity {
            VisitorIdentity::Verified(user) => (user, true, None),
            // The anonymous name of its own session, as the service shows it to the visitor.
            VisitorIdentity::Claimed(user) if user == anonymous() => (user, false, None),
            VisitorIdentity::Claimed(user) if !user.is_anonymous() => (user, false, None),
            VisitorIdentity::Claimed(user) | VisitorIdentity::ClaimsVerified(user) => {
                (anonymous(), false, Some(user))
            }
            VisitorIdentity::Anonymous => (anonymous(), false, None),
        };
        let text = |field: fn(&VisitedPage) -> &Option<ShortText>| {
            let pages = [page, self.page.as_deref()];
            pages.into_iter().flatten().find_map(|page| field(page).clone())
        };
        Some(ConnectedVisitor {
            user_id,
            verified,
            claimed_user_id,
            has_written: self.bound_session.is_some() && self.has_messages,
            domain: text(|page| &page.domain),
            origin: text(|page| &page.origin),
            url: text(|page| &page.url),
            session_id,
        })
    }

    /// Joins a room with the identity of its principal.
    pub(super) fn join(&self, room: ChatRoom) {
        let identity = match self.principal.caller() {
            SessionCaller::Staff => RoomIdentity::Unrestricted,
            SessionCaller::Verified(user) => RoomIdentity::User(user.as_str().into()),
            SessionCaller::Anonymous => RoomIdentity::Anonymous,
        };
        self.registrations.rooms.join(room, &self.registrations.outlet, identity);
    }

    /// Binds the socket to a session: it receives the events of the session, and is online there. When this returns, the
    /// socket receives the echo of its own messages.
    pub(super) async fn bind(
        &mut self,
        session: SessionId,
        identity: VisitorIdentity,
        page: Option<&VisitedPage>,
    ) {
        self.join(ChatRoom::Session(self.principal.tenant_id.clone(), session.clone()));
        if let Some((table, number)) = &self.registrations.recovery {
            table.bound(*number, self.registrations.id(), &session);
        }
        self.bound_session = Some(session);
        if let Some(visitor) = self.visitor(identity, page) {
            self.registrations.set_online(visitor).await;
        }
    }
}
