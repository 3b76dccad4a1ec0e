//! The chat on Socket.IO: who may connect, what they may say, and what they hear.
//!
//! A visitor's socket is bound to one session, at the latest by its first message, and hears it; staff
//! hear every session of their tenant. What is heard comes from the log alone ([`feed`]), after it is
//! durable and in the log's order, so that everybody sees the same.
//!
//! | module | holds |
//! |---|---|
//! | [`admission`] | who a client is, and whether it may connect |
//! | [`socket`] | what is known of a socket; its place among those online |
//! | [`commands`] | the events that clients send |
//! | [`feed`] | from the log to the rooms |
//! | [`recovery`] | what a client that comes back has missed |

use std::{rc::Rc, sync::Arc};

use actix_web::web;
use amoiq_actors::sessions::{ProvenUsers, SessionAccess, SessionDirectory};
use amoiq_events::{Ambient, EventStore, SessionId, TenantId, UserId, session::VisitedPage};
use amoiq_socketio::socket::{
    AcceptedSocket, Application, ClientEvent, ConnectError, ConnectRefusal, ConnectRequest, EventOutcome,
    LocalFuture, OffsetWriter, SocketProtocol, WorkerRooms,
};
use serde_json::Value;

use crate::{
    access::auth::CallerRole,
    access::auth::{Authenticator, origin::WidgetOrigins},
    access::message_intake::MessageIntake,
    access::rate_limit::SocketLimiter,
    access::session_guard::SessionGuard,
    api::online::OnlineDirectory,
    api::problem::Problem,
};

pub mod admission;
pub mod commands;
pub mod feed;
pub mod recovery;
pub mod socket;

use recovery::Recovery;
use socket::{ChatSocket, Naming};

/// What every connection of the chat speaks.
pub type ChatProtocol = SocketProtocol<Chat>;

/// Who hears something together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Room {
    /// Everybody in a session: the visitor's tabs, and staff who joined it.
    Session(TenantId, SessionId),
    /// The staff of a tenant.
    Staff(TenantId),
}

/// What the chat is made of; the same for every worker.
#[derive(Clone)]
pub struct ChatParts {
    /// Recognises credentials.
    pub authenticator: web::Data<Authenticator>,
    /// Decides who may open which session.
    pub guard: web::Data<SessionGuard>,
    /// The origins of pages that host the widget for every tenant.
    pub widget_origins: WidgetOrigins,
    /// Counts what the sockets of a client do together.
    pub limiter: web::Data<SocketLimiter>,
    /// The sessions.
    pub directory: SessionDirectory,
    /// Who is online.
    pub online: OnlineDirectory,
    /// Whose names cannot be claimed.
    pub proven: ProvenUsers,
    /// Takes messages in.
    pub intake: MessageIntake,
    /// How large an event may be, in bytes.
    pub event_bytes: usize,
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Time and randomness.
    pub ambient: Ambient,
    /// Who may come back.
    pub recovery: Arc<Recovery>,
    /// How the places of events are written for them.
    pub offsets: OffsetWriter,
}

/// The chat on one worker.
pub struct Chat {
    parts: ChatParts,
    rooms: WorkerRooms<Room>,
}

impl Chat {
    /// The chat for the sockets of the worker whose rooms these are.
    #[must_use]
    pub fn new(parts: ChatParts, rooms: WorkerRooms<Room>) -> Self {
        Self { parts, rooms }
    }

    /// Binds a visitor's socket to a session that was opened to it.
    async fn bind(
        &self,
        socket: &mut ChatSocket,
        session: SessionId,
        claimed: Option<&UserId>,
        page: Option<&VisitedPage>,
    ) -> Result<(), Problem> {
        let naming = self.naming(socket, claimed).await;
        socket.bind(session.clone(), naming, page).await;
        match self.parts.guard.check_again(&socket.principal, &session).await {
            Ok(access) => {
                if access == SessionAccess::Granted && !socket.has_written {
                    // Just now: what follows the first message was told before this socket was there.
                    socket.has_written = true;
                    self.parts.online.wrote(&socket.principal.tenant_id, &session);
                }
                Ok(())
            }
            Err(closed) => {
                socket.bound = None;
                socket.place.leave(Room::Session(socket.principal.tenant_id.clone(), session)).await;
                let naming = self.naming(socket, None).await;
                if let Some(stranger) = socket.visitor(naming, page) {
                    socket.place.appear(stranger).await;
                }
                Err(closed)
            }
        }
    }

    /// How a socket's visitor is named, who says to be a user.
    async fn naming(&self, socket: &ChatSocket, claimed: Option<&UserId>) -> Naming {
        let (tenant, proven) = (&socket.principal.tenant_id, &self.parts.proven);
        match (&socket.principal.role, claimed.or(socket.claimed.as_ref())) {
            (CallerRole::Visitor { verified: Some(user), .. }, _) => {
                proven.add(tenant, user);
                Naming::Proven(user.clone())
            }
            (_, Some(user)) if proven.contains(tenant, user).await => Naming::Taken(user.clone()),
            (_, Some(user)) => Naming::Claimed(user.clone()),
            (_, None) => Naming::Nobody,
        }
    }
}

impl Application for Chat {
    type Socket = ChatSocket;

    const NAMESPACES: &'static [&'static str] = &["/"];

    fn connect(
        self: &Rc<Self>,
        connecting: ConnectRequest,
    ) -> LocalFuture<Result<AcceptedSocket<ChatSocket>, ConnectError>> {
        let chat = Rc::clone(self);
        Box::pin(async move { chat.admit(connecting).await.map_err(refusal) })
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
        told(&Problem::PayloadTooLarge { limit_bytes })
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        self.parts.limiter.note_refused_by_socket();
        Problem::RateLimited { retry_after_ms }.to_json()
    }

    /// The limit is one of messages; what else a client asks for is counted beside them.
    fn is_metered_apart(&self, event: &ClientEvent) -> bool {
        &*event.name != "message"
    }

    fn review(&self, socket: &ChatSocket) -> Result<(), Value> {
        self.parts
            .authenticator
            .review(&socket.credential, &socket.principal)
            .map_err(|problem| problem.to_json())
    }
}

/// A client takes a refusal for final. So it is for what will not be better next time; otherwise it is held, and
/// comes back.
fn refusal(problem: Problem) -> ConnectError {
    match problem {
        Problem::StoreUnavailable | Problem::Overloaded | Problem::Internal | Problem::RateLimited { .. } => {
            ConnectError::NotNow
        }
        problem => ConnectError::Refused(told(&problem)),
    }
}

fn told(problem: &Problem) -> ConnectRefusal {
    ConnectRefusal { message: problem.code().to_owned(), data: problem.to_json() }
}
