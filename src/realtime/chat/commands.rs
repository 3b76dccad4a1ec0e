//! The events that clients send: `message`, `get_online_users`, `join:session`, `leave:session`.
//!
//! Each is answered by an acknowledgement where the client asks for one. Without one, what went wrong
//! comes as an `error` event. Other events are passed over: clients send what later versions know.

use std::sync::Arc;

use amoiq_actors::sessions::SessionAccess;
use amoiq_events::{SessionId, TenantId, event::EventCause};
use amoiq_socketio::socket::{ClientEvent, EventOutcome, OutgoingEvent};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, value::RawValue};

use super::{Chat, Room, socket::ChatSocket};
use crate::{
    access::auth::CallerRole,
    access::message_intake::{MessageDraft, response},
    api::{
        field::{self, Field, Validation, json},
        messages::SendMessageRequest,
        problem::Problem,
        sessions::{SessionRequest, SessionResponse, TenantRequest},
    },
};

/// The argument of an event.
trait SocketRequest: DeserializeOwned {
    /// The tenant that it names.
    fn tenant_id(&mut self) -> Field<TenantId>;
}

macro_rules! socket_requests {
    ($($request:ty),+) => {
        $(
            impl SocketRequest for $request {
                fn tenant_id(&mut self) -> Field<TenantId> {
                    self.tenant_id.take()
                }
            }
        )+
    };
}

socket_requests!(SendMessageRequest, SessionRequest, TenantRequest);

impl Chat {
    /// Does what an event asks for. What a command gives back is the acknowledgement, as JSON.
    pub(super) async fn handle(&self, socket: &mut ChatSocket, event: ClientEvent) -> EventOutcome {
        let mut emit = Vec::new();
        let result = match &*event.name {
            "message" => self.message(socket, &event).await,
            "get_online_users" => self.online_users(socket, &event, &mut emit).await,
            "join:session" => self.join(socket, &event).await,
            "leave:session" => self.leave(socket, &event).await,
            _ => {
                let unknown = Problem::field("event", "is not an event of this service");
                let ack = Some(format!("[{}]", unknown.to_json()));
                return EventOutcome { ack, ..EventOutcome::default() };
            }
        };
        let answer = result.unwrap_or_else(|problem| {
            let refusal = problem.to_json();
            if event.id.is_none() {
                emit.push(Arc::new(OutgoingEvent::new("error", &refusal)));
            }
            refusal.to_string()
        });
        EventOutcome { emit, ack: Some(format!("[{answer}]")), attachments: Vec::new() }
    }

    /// The request in an event's argument; the tenant that it names, if any, has to be the socket's.
    fn request<R: SocketRequest>(&self, socket: &ChatSocket, event: &ClientEvent) -> Result<R, Problem> {
        let limit_bytes = self.parts.event_bytes;
        if event.size_bytes() > limit_bytes {
            return Err(Problem::PayloadTooLarge { limit_bytes });
        }
        let argument: Option<Box<RawValue>> =
            event.first().map_err(|error| Problem::MalformedJson(error.to_string()))?;
        let members = match argument {
            Some(argument) => json::object(argument.get().as_bytes())?,
            None => Map::new(),
        };
        let mut request: R = field::request(members)?;
        match request.tenant_id().value("tenantId")? {
            Some(named) if named != socket.principal.tenant_id => {
                Err(Problem::Forbidden("the connection is for another tenant"))
            }
            _ => Ok(request),
        }
    }

    async fn message(&self, socket: &mut ChatSocket, event: &ClientEvent) -> Result<String, Problem> {
        self.parts.limiter.count_message(&socket.credential, socket.client)?;
        let request = self.request(socket, event)?;
        let principal = &socket.principal;
        let MessageDraft { session: named, mut message } = self.parts.intake.read(request, principal)?;
        principal.check_user(message.user_id.as_ref())?;
        message.user_id = message.user_id.or_else(|| socket.claimed.clone());
        let session = match (&principal.role, &socket.bound, named) {
            (CallerRole::Staff { .. } | CallerRole::Bot, _, Some(named)) => named,
            (CallerRole::Staff { .. } | CallerRole::Bot, _, None) => {
                return Err(Problem::field("sessionId", "is required"));
            }
            // Whatever a later message names.
            (_, Some(bound), _) => bound.clone(),
            (_, None, named) => {
                let session = match named {
                    Some(named) => {
                        let access = self.parts.guard.open(principal, socket.client, &named).await?;
                        socket.has_written = access == SessionAccess::Granted;
                        named
                    }
                    None => self.parts.ambient.session_id(),
                };
                let (claimed, page) = (message.user_id.as_ref(), Some(&message.page));
                self.bind(socket, session.clone(), claimed, page).await?;
                session
            }
        };
        if !std::mem::replace(&mut socket.has_spoken, true) {
            // Whoever is told of the message is told of the visitor too, and not in the next batch.
            socket.place.hurry();
        }
        self.send(socket, &session, message).await
    }

    async fn send(
        &self,
        socket: &ChatSocket,
        session: &SessionId,
        message: amoiq_events::session::SendMessage,
    ) -> Result<String, Problem> {
        let causation = format!("socket-{}", self.parts.ambient.uuid()).into();
        let cause = EventCause { causation, actor: socket.principal.actor.clone() };
        let sent = self.parts.intake.send(&socket.principal, session, message, cause).await?;
        to_json(&response(&sent, session.clone()))
    }

    async fn online_users(
        &self,
        socket: &ChatSocket,
        event: &ClientEvent,
        emit: &mut Vec<Arc<OutgoingEvent>>,
    ) -> Result<String, Problem> {
        socket.principal.require_staff()?;
        let _: TenantRequest = self.request(socket, event)?;
        let list = self.parts.online.list(&socket.principal.tenant_id).await?;
        emit.push(Arc::new(OutgoingEvent::new("online_users_list", &list)));
        Ok(list.get().to_owned())
    }

    /// The session that an event names.
    fn session_of(&self, socket: &ChatSocket, event: &ClientEvent) -> Result<SessionId, Problem> {
        let request: SessionRequest = self.request(socket, event)?;
        let mut validation = Validation::new();
        let session = validation.required("sessionId", request.session_id);
        validation.finish()?;
        session.ok_or(Problem::Internal)
    }

    async fn join(&self, socket: &mut ChatSocket, event: &ClientEvent) -> Result<String, Problem> {
        let session = self.session_of(socket, event)?;
        let is_visitor = socket.principal.is_visitor();
        if is_visitor && socket.bound.as_ref().is_some_and(|bound| *bound != session) {
            return Err(Problem::Forbidden("the socket is bound to another session"));
        }
        let access = self.parts.guard.open(&socket.principal, socket.client, &session).await?;
        if is_visitor && socket.bound.is_none() {
            socket.has_written = access == SessionAccess::Granted;
            self.bind(socket, session.clone(), None, None).await?;
        } else {
            let room = Room::Session(socket.principal.tenant_id.clone(), session.clone());
            socket.join(room.clone()).await;
            if let Err(closed) = self.parts.guard.check_again(&socket.principal, &session).await {
                socket.place.leave(room).await;
                return Err(closed);
            }
        }
        to_json(&SessionResponse { success: true, session_id: session })
    }

    async fn leave(&self, socket: &ChatSocket, event: &ClientEvent) -> Result<String, Problem> {
        let session = self.session_of(socket, event)?;
        // A visitor's socket stays in the session that it is bound to: its own answers go there.
        if socket.bound.as_ref() != Some(&session) {
            socket.place.leave(Room::Session(socket.principal.tenant_id.clone(), session.clone())).await;
        }
        to_json(&SessionResponse { success: true, session_id: session })
    }
}

/// An acknowledgement.
fn to_json(response: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(response).map_err(|error| {
        tracing::error!(%error, "an acknowledgement could not be written");
        Problem::Internal
    })
}
