//! The chat over Socket.IO: who may connect, what clients may send, and what they receive.
//!
//! A visitor's socket is bound to one session, at the latest by its first message, and receives the events of that
//! session; staff receive those of every session of their tenant. All events come from the log ([`event_feed`]), after
//! they are durable and in the order of the log, so that everybody sees the same.
//!
//! | module | holds |
//! |---|---|
//! | [`admission`] | who a client is, and whether it may connect |
//! | [`chat_socket`] | the state of a socket; its registrations in rooms and in the presence |
//! | [`commands`] | the events that clients send |
//! | [`event_feed`] | from the log to the rooms |
//! | [`recovery`] | what a reconnecting client has missed |
//! | [`recovery_table`] | which clients may still recover |
//! | [`recovery_tokens`] | the sealed texts that a client shows to recover |

use std::{rc::Rc, sync::Arc};

use actix_web::web;
use amoiq_actors::sessions::{ProvenUsers, SessionAccess, SessionDirectory};
use amoiq_events::{Ambient, EventLog, SessionId, TenantId, UserId, session::VisitedPage};
use amoiq_socketio::socket::{
    AcceptedSocket, Application, ClientEvent, ConnectError, ConnectRefusal, ConnectRequest, EventOutcome,
    LocalFuture, OffsetWriter, SocketProtocol, WorkerRooms,
};
use serde_json::Value;

use crate::{
    access::{
        auth::{Authenticator, CallerRole, origin::WidgetOrigins},
        message_intake::MessageIntake,
        rate_limit::SocketLimiter,
        session_guard::SessionGuard,
    },
    api::{online::OnlineDirectory, problem::Problem},
};

pub mod admission;
pub mod chat_socket;
pub mod commands;
pub mod event_feed;
pub mod recovery;
pub mod recovery_table;
pub mod recovery_tokens;

use chat_socket::{ChatSocket, VisitorIdentity};
use recovery_table::RecoveryTable;

/// The protocol of every connection of the chat.
pub type ChatProtocol = SocketProtocol<ChatApplication>;

/// The sockets that receive the same events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChatRoom {
    /// Everybody in a session: the visitor's tabs, and staff who joined it.
    Session(TenantId, SessionId),
    /// The staff of a tenant.
    Staff(TenantId),
}

/// What the chat needs; the same for every worker.
#[derive(Clone)]
pub struct ChatServices {
    /// Recognises credentials.
    pub authenticator: web::Data<Authenticator>,
    /// Decides who may open which session.
    pub guard: web::Data<SessionGuard>,
    /// The origins of pages that host the widget for every tenant.
    pub widget_origins: WidgetOrigins,
    /// Limits what the sockets of a client do together.
    pub limiter: web::Data<SocketLimiter>,
    /// The sessions.
    pub directory: SessionDirectory,
    /// Who is online.
    pub online: OnlineDirectory,
    /// The users whose names nobody else can claim.
    pub proven: ProvenUsers,
    /// Checks and sends messages.
    pub intake: MessageIntake,
    /// The largest event, in bytes.
    pub event_bytes: usize,
    /// The log.
    pub store: Arc<dyn EventLog>,
    /// Time and randomness.
    pub ambient: Ambient,
    /// Which clients may recover.
    pub recovery: Arc<RecoveryTable>,
    /// Writes the offsets of events for clients.
    pub offsets: OffsetWriter,
}

/// The chat on one worker.
pub struct ChatApplication {
    services: ChatServices,
    rooms: WorkerRooms<ChatRoom>,
}

impl ChatApplication {
    /// The chat for the sockets of one worker and its rooms.
    #[must_use]
    pub fn new(services: ChatServices, rooms: WorkerRooms<ChatRoom>) -> Self {
        Self { services, rooms }
    }

    /// Binds a visitor's socket to a session that was opened to it.
    async fn bind(
        &self,
        socket: &mut ChatSocket,
        session: SessionId,
        claimed: Option<&UserId>,
        page: Option<&VisitedPage>,
    ) -> Result<(), Problem> {
        let identity = self.identify(socket, claimed).await;
        socket.bind(session.clone(), identity, page).await;
        match self.services.guard.check_again(&socket.principal, &session).await {
            Ok(access) => {
                if access == SessionAccess::Granted && !socket.has_messages {
                    // The session got its first message just now, and the presence was told before this socket was
                    // in it.
                    socket.has_messages = true;
                    self.services.online.wrote(&socket.principal.tenant_id, &session);
                }
                Ok(())
            }
            Err(closed) => {
                socket.bound_session = None;
                let room = ChatRoom::Session(socket.principal.tenant_id.clone(), session);
                socket.registrations.leave(&room);
                let identity = self.identify(socket, None).await;
                if let Some(visitor) = socket.visitor(identity, page) {
                    socket.registrations.set_online(visitor).await;
                }
                Err(closed)
            }
        }
    }

    /// Which user the visitor of a socket is or claims to be.
    async fn identify(&self, socket: &ChatSocket, claimed: Option<&UserId>) -> VisitorIdentity {
        let (tenant, proven) = (&socket.principal.tenant_id, &self.services.proven);
        match (&socket.principal.role, claimed.or(socket.claimed_user.as_ref())) {
            (CallerRole::Visitor { verified: Some(user), .. }, _) => {
                proven.add(tenant, user);
                VisitorIdentity::Verified(user.clone())
            }
            (_, Some(user)) if proven.contains(tenant, user).await => {
                VisitorIdentity::ClaimsVerified(user.clone())
            }
            (_, Some(user)) => VisitorIdentity::Claimed(user.clone()),
            (_, None) => VisitorIdentity::Anonymous,
        }
    }
}

impl Application for ChatApplication {
    type Socket = ChatSocket;

    const NAMESPACES: &'static [&'static str] = &["/"];

    fn connect(
        self: &Rc<Self>,
        request: ConnectRequest,
    ) -> LocalFuture<Result<AcceptedSocket<ChatSocket>, ConnectError>> {
        let chat = Rc::clone(self);
        Box::pin(async move { chat.admit(request).await.map_err(connect_error) })
    }

    fn event(
        self: &Rc<Self>,
        mut socket: ChatSocket,
        event: ClientEvent,
    ) -> LocalFuture<(ChatSocket, EventOutcome)> {
        let chat = Rc::clone(self);
        Box::pin(async move {
            let outcome = chat.handle(&mut socket, event).await;
            (socket, outcome)
        })
    }

    fn too_large(&self, limit_bytes: usize) -> ConnectRefusal {
        refusal(&Problem::PayloadTooLarge { limit_bytes })
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        self.services.limiter.note_refused_by_socket();
        Problem::RateLimited { retry_after_ms }.to_json()
    }

    /// The documented rate is that of messages; other events have a rate of their own.
    fn is_metered_apart(&self, event: &ClientEvent) -> bool {
        &*event.name != "message"
    }

    fn review(&self, socket: &ChatSocket) -> Result<(), Value> {
        let reviewed = self.services.authenticator.review(&socket.credential, &socket.principal);
        reviewed.map_err(|problem| problem.to_json())
    }
}

/// A client takes a refusal as final, so only a problem that will not pass is one. Otherwise the client is held, and
/// reconnects.
fn connect_error(problem: Problem) -> ConnectError {
    match problem {
        Problem::StoreUnavailable | Problem::Overloaded | Problem::Internal | Problem::RateLimited { .. } => {
            ConnectError::NotNow
        }
        problem => ConnectError::Refused(refusal(&problem)),
    }
}

fn refusal(problem: &Problem) -> ConnectRefusal {
    ConnectRefusal { message: problem.code().as_str().to_owned(), data: problem.to_json() }
}
