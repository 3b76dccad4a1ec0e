//! What a reconnecting client has missed.
//!
//! A client that asks for recovery (`auth.recovery = true`) gets a `pid`, and with every event its offset: the position
//! of the event in the log. When it comes back with both, it gets what was appended since then, from the log and in
//! order: either everything, or the news that it did not recover. So it does not matter whether the connection or the
//! service was interrupted. The offset also proves which session the client was in; its rights are checked again in any
//! case.

use std::sync::Arc;

use amoiq_actors::{
    presence::LoggedNews,
    sessions::{PageLimit, PageQuery, PageWindow, SessionAccess},
};
use amoiq_events::{Position, SessionId, TenantId, store::LogReader, stream::StreamKind};
use amoiq_socketio::socket::OutgoingEvent;

use super::{
    ChatApplication,
    chat_socket::ChatSocket,
    event_feed::{BroadcastTiming, FOLD_PATIENCE, broadcast_of, message_created},
    recovery_table::RecoveryLookup,
    recovery_tokens::{RecoveryToken, position_of},
};
use crate::{
    access::auth::CallerRole,
    api::{
        connect_auth::ConnectAuth,
        field::Field,
        messages::{Audience, MessagePlace},
        problem::Problem,
    },
};

/// The most events that are sent again.
const MAX_EVENTS: usize = 1_000;

/// How many events of all tenants are read back for staff.
const MAX_READ_BACK: usize = 50_000;

/// How many messages of a session are read at once.
const PAGE: u32 = 500;

/// A client that wants to recover, once its texts are verified.
pub(super) struct RecoveryRequest {
    number: u64,
    pid: String,
    /// The position of the last event that it has seen.
    after: Position,
    /// The session that it was bound to.
    pub(super) session: Option<SessionId>,
}

/// What a client gets that asked for recovery.
#[derive(Default)]
pub(super) struct RecoveredEvents {
    /// The id under which it may come back.
    pub(super) pid: Option<String>,
    /// What it has missed.
    pub(super) events: Vec<Arc<OutgoingEvent>>,
    /// The position up to which it has everything after that.
    pub(super) seen_offset: u64,
}

impl ChatApplication {
    fn may_recover(&self, auth: &ConnectAuth, socket: &ChatSocket) -> bool {
        let is_bot = socket.principal.role == CallerRole::Bot;
        auth.wants_recovery() && !is_bot && !self.services.recovery.is_off()
    }

    /// Reads what a client shows to recover; nothing when it cannot be verified.
    pub(super) async fn recovery_request(
        &self,
        auth: &ConnectAuth,
        socket: &ChatSocket,
    ) -> Option<RecoveryRequest> {
        let pid = sent_text(&auth.pid).filter(|_| self.may_recover(auth, socket))?;
        let request = self.verify(pid, sent_text(&auth.offset), socket).await;
        if request.is_none() {
            self.services.recovery.count(false);
        }
        request
    }

    async fn verify(&self, pid: &str, offset: Option<&str>, socket: &ChatSocket) -> Option<RecoveryRequest> {
        let (keys, epoch) = (self.services.authenticator.tokens(), self.services.store.epoch());
        let token = RecoveryToken::open(keys, pid)?;
        if token.tenant != socket.principal.tenant_id || token.epoch != epoch.to_string() {
            return None;
        }
        let seen = match offset {
            Some(offset) => Some(position_of(keys, epoch, offset)?),
            None => None,
        };
        // A client that did not recover last time may show an older offset, which does not belong to this token.
        let seen = seen.filter(|seen| *seen > Position::from_u64(token.start));
        let is_staff = matches!(socket.principal.role, CallerRole::Staff { .. });
        let session = match self.services.recovery.look_up(token.number) {
            RecoveryLookup::Expired => return None,
            _ if is_staff => None,
            RecoveryLookup::Known(session) => session.or(token.session),
            // If it was bound after it had connected, its last event says to which session.
            RecoveryLookup::Elsewhere => match (token.session, seen) {
                (Some(session), _) => Some(session),
                (None, Some(seen)) => Some(self.session_at(seen, &token.tenant).await?),
                (None, None) => return None,
            },
        };
        let after = seen.unwrap_or(Position::from_u64(token.start));
        Some(RecoveryRequest { number: token.number, pid: pid.to_owned(), after, session })
    }

    /// The session of the event at a position.
    async fn session_at(&self, position: Position, tenant: &TenantId) -> Option<SessionId> {
        let event = self.services.store.event_at(position).await.ok()??;
        match event.stream.kind()? {
            StreamKind::Session(of, session) if of == *tenant => Some(session),
            _ => None,
        }
    }

    /// What a client gets that asked for recovery. Its socket is in its rooms already, so no event is lost between the
    /// missed ones and the live ones.
    pub(super) async fn recover(
        &self,
        auth: &ConnectAuth,
        socket: &mut ChatSocket,
        request: Option<RecoveryRequest>,
    ) -> Result<RecoveredEvents, Problem> {
        if !self.may_recover(auth, socket) {
            return Ok(RecoveredEvents::default());
        }
        // The client may have seen what another node sent it and this one has not read yet.
        let (table, head) = (&self.services.recovery, self.services.store.current_head().await?);
        if let Some(RecoveryRequest { number, pid, after, .. }) = request {
            let missed = self.missed(socket, after, head).await?;
            table.count(missed.is_some());
            if let Some(events) = missed {
                self.remember(socket, number);
                return Ok(RecoveredEvents { pid: Some(pid), events, seen_offset: head.as_u64() });
            }
        }
        let number = u64::from_le_bytes(self.services.ambient.bytes());
        let token = RecoveryToken {
            number,
            start: head.as_u64(),
            epoch: self.services.store.epoch().to_string(),
            tenant: socket.principal.tenant_id.clone(),
            session: socket.bound_session.clone(),
        };
        self.remember(socket, number);
        let pid = token.seal(self.services.authenticator.tokens());
        // It gets exactly what comes after `start`, and misses nothing else when it comes back.
        Ok(RecoveredEvents { pid: Some(pid), events: Vec::new(), seen_offset: head.as_u64() })
    }

    fn remember(&self, socket: &mut ChatSocket, number: u64) {
        let table = &self.services.recovery;
        table.connected(number, socket.registrations.id(), socket.bound_session.as_ref());
        socket.registrations.recovery = Some((Arc::clone(table), number));
    }

    /// Everything that a socket would have received after one position and up to another; nothing when that is more than
    /// is sent again.
    async fn missed(
        &self,
        socket: &ChatSocket,
        after: Position,
        head: Position,
    ) -> Result<Option<Vec<Arc<OutgoingEvent>>>, Problem> {
        match (&socket.principal.role, &socket.bound_session) {
            (CallerRole::Staff { .. }, _) => {
                self.missed_by_staff(&socket.principal.tenant_id, after, head).await
            }
            (_, Some(session)) => self.missed_in_session(socket, session, after, head).await,
            (_, None) => Ok(Some(Vec::new())),
        }
    }

    async fn missed_in_session(
        &self,
        socket: &ChatSocket,
        session: &SessionId,
        after: Position,
        head: Position,
    ) -> Result<Option<Vec<Arc<OutgoingEvent>>>, Problem> {
        let tenant = &socket.principal.tenant_id;
        let audience = Audience::of(&socket.principal.caller());
        let limit = PageLimit { messages: PAGE, bytes: self.services.recovery.max_bytes() };
        let (mut missed, mut window) = (Vec::new(), PageWindow::Newest);
        loop {
            let caller = socket.principal.caller();
            let reading = self.services.directory.read(tenant, session, PageQuery { caller, window, limit });
            let (access, page) = reading.await?;
            if access == SessionAccess::Denied {
                return Ok(None);
            }
            let place = MessagePlace::of_page(session, &page);
            let is_missed = |position: Position| position > after && position <= head;
            for message in page.messages.iter().rev().filter(|message| is_missed(message.position)) {
                let event = message_created(tenant, &place, message, audience);
                missed.push(Arc::new(event.at(message.position.as_u64(), &self.services.offsets)));
            }
            if self.is_too_much(&missed) {
                return Ok(None);
            }
            match page.messages.first() {
                Some(first) if page.has_more && first.position > after => {
                    window = PageWindow::Before(first.seq);
                }
                _ => break,
            }
        }
        missed.reverse();
        Ok(Some(missed))
    }

    async fn missed_by_staff(
        &self,
        tenant: &TenantId,
        after: Position,
        head: Position,
    ) -> Result<Option<Vec<Arc<OutgoingEvent>>>, Problem> {
        let (mut missed, mut read) = (Vec::new(), 0);
        let (users, is_shared) = (&self.services.online.users, self.services.store.is_shared());
        if is_shared {
            // Who is online tells which departures are news. A late list has some who left, and the client asks for it anyway.
            let _late = users.progress().reach(head, FOLD_PATIENCE).await;
        }
        let pages = LogReader::all(&*self.services.store, after).up_to(head);
        let mut pages = pages.with_page_events(PAGE as usize);
        while let Some(events) = pages.next_page().await? {
            read += events.len();
            let of_tenant = events.iter().filter(|event| event.stream.tenant_id().as_ref() == Some(tenant));
            let of_tenant = of_tenant.filter(|event| !is_shared || users.news(event) != LoggedNews::Nothing);
            let offsets = &self.services.offsets;
            let broadcasts =
                of_tenant.filter_map(|event| broadcast_of(event, offsets, BroadcastTiming::Later));
            missed.extend(
                broadcasts
                    .filter(|broadcast| broadcast.owner.is_none())
                    .map(|broadcast| broadcast.unrestricted_event.unwrap_or(broadcast.event)),
            );
            if self.is_too_much(&missed) || read > MAX_READ_BACK {
                return Ok(None);
            }
        }
        Ok(Some(missed))
    }

    /// Whether this is more than is sent again.
    fn is_too_much(&self, missed: &[Arc<OutgoingEvent>]) -> bool {
        let bytes: usize = missed.iter().map(|event| event.size_bytes()).sum();
        missed.len() > MAX_EVENTS || bytes > self.services.recovery.max_bytes()
    }
}

/// The text of a field, even an empty one: that is no valid text, but the client did send it.
fn sent_text(field: &Field<String>) -> Option<&str> {
    match field {
        Field::Value(text) => Some(text),
        Field::Absent | Field::Null | Field::Invalid(_) => None,
    }
}
