//! The events that clients send: `message`, `get_online_users`, `join:session`, `join:conversation`, `leave:session`.
//!
//! Each is answered by an acknowledgement if the client asks for one. Otherwise a problem comes as an `error` event. An
//! unknown event changes nothing, because clients send what later versions know.

use std::sync::Arc;

use amoiq_actors::sessions::SessionAccess;
use amoiq_events::{ConversationId, SessionId, TenantId, event::EventCause, session::SendMessage};
use amoiq_socketio::socket::{ClientEvent, EventOutcome, OutgoingEvent};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, value::RawValue};

use super::{ChatApplication, ChatRoom, chat_socket::ChatSocket};
use crate::{
    access::{
        auth::CallerRole,
        message_intake::{MessageDraft, response},
    },
    api::{
        field::{self, Field, Validation, json},
        messages::SendMessageRequest,
        problem::Problem,
        sessions::{
            JoinSessionRequest, SessionResponse, TenantRequest,
            conversations::{ConversationEvent, JoinConversationRequest},
        },
    },
};

/// The argument of an event.
trait SocketRequest: DeserializeOwned {
    /// The tenant that it names; left absent.
    fn take_tenant_id(&mut self) -> Field<TenantId>;
}

macro_rules! socket_requests {
    ($($request:ty),+) => {
        $(
            impl SocketRequest for $request {
                fn take_tenant_id(&mut self) -> Field<TenantId> {
                    self.tenant_id.take()
                }
            }
        )+
    };
}

socket_requests!(SendMessageRequest, JoinSessionRequest, JoinConversationRequest, TenantRequest);

impl ChatApplication {
    /// Handles an event. Each command returns its acknowledgement as JSON.
    pub(super) async fn handle(&self, socket: &mut ChatSocket, event: ClientEvent) -> EventOutcome {
        let mut emit = Vec::new();
        let result = match &*event.name {
            "message" => self.message(socket, &event).await,
            "get_online_users" => self.online_users(socket, &event, &mut emit).await,
            "join:session" => self.join(socket, &event, &mut emit).await,
            "join:conversation" => self.join_conversation(socket, &event, &mut emit).await,
            "leave:session" => self.leave(socket, &event),
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

    /// The request in an event's argument, and what is wrong with the tenant in it. If it names a tenant, that has to be
    /// the socket's.
    fn request<R: SocketRequest>(
        &self,
        socket: &ChatSocket,
        event: &ClientEvent,
    ) -> Result<(R, Validation), Problem> {
        let limit_bytes = self.services.event_bytes;
        if event.size_bytes() > limit_bytes {
            return Err(Problem::PayloadTooLarge { limit_bytes });
        }
        let argument: Option<Box<RawValue>> =
            event.first().map_err(|error| Problem::MalformedJson(error.to_string()))?;
        let mut request: R = match argument {
            Some(argument) => json::request(argument.get().as_bytes())?,
            None => field::request(Map::new())?,
        };
        let mut validation = Validation::new();
        match validation.optional("tenantId", request.take_tenant_id()) {
            Some(named) if named != socket.principal.tenant_id => {
                Err(Problem::Forbidden("the connection is for another tenant"))
            }
            _ => Ok((request, validation)),
        }
    }

    async fn message(&self, socket: &mut ChatSocket, event: &ClientEvent) -> Result<String, Problem> {
        self.services.limiter.count_message(&socket.credential, socket.client)?;
        let (request, validation) = self.request(socket, event)?;
        let principal = &socket.principal;
        let draft = self.services.intake.read(request, principal, validation)?;
        let MessageDraft { session: named, mut message } = draft;
        principal.check_user(message.user_id.as_ref())?;
        message.user_id = message.user_id.or_else(|| socket.claimed_user.clone());
        let session = match (&principal.role, &socket.bound_session, named) {
            (CallerRole::Staff { .. } | CallerRole::Bot, _, Some(named)) => named,
            (CallerRole::Staff { .. } | CallerRole::Bot, _, None) => {
                return Err(Problem::field("sessionId", "is required"));
            }
            // Later messages go to the bound session, whichever they name.
            (_, Some(bound), _) => bound.clone(),
            (_, None, named) => {
                let session = match named {
                    Some(named) => {
                        let access = self.services.guard.open(principal, socket.client, &named).await?;
                        socket.has_messages = access == SessionAccess::Granted;
                        named
                    }
                    None => self.services.ambient.session_id(),
                };
                let (claimed, page) = (message.user_id.as_ref(), Some(&message.page));
                self.bind(socket, session.clone(), claimed, page).await?;
                session
            }
        };
        if !std::mem::replace(&mut socket.has_sent, true) {
            // Staff hear of the visitor with its first message, not in the next batch.
            socket.registrations.publish_presence();
        }
        self.send(socket, &session, message).await
    }

    async fn send(
        &self,
        socket: &ChatSocket,
        session: &SessionId,
        message: SendMessage,
    ) -> Result<String, Problem> {
        let causation = format!("socket-{}", self.services.ambient.uuid()).into();
        let cause = EventCause { causation, actor: socket.principal.actor.clone() };
        let sent = self.services.intake.send(&socket.principal, session, message, cause).await?;
        to_json(&response(&sent, session.clone()))
    }

    async fn online_users(
        &self,
        socket: &ChatSocket,
        event: &ClientEvent,
        emit: &mut Vec<Arc<OutgoingEvent>>,
    ) -> Result<String, Problem> {
        socket.principal.require_staff()?;
        let (TenantRequest { .. }, validation) = self.request(socket, event)?;
        validation.finish()?;
        let list = self.services.online.list(&socket.principal.tenant_id).await?;
        emit.push(Arc::new(OutgoingEvent::new("online_users_list", &list)));
        Ok(list.get().to_owned())
    }

    /// The session that an event names.
    fn session_of(&self, socket: &ChatSocket, event: &ClientEvent) -> Result<SessionId, Problem> {
        let (request, mut validation): (JoinSessionRequest, _) = self.request(socket, event)?;
        let session = validation.required("sessionId", request.session_id);
        validation.finish()?;
        session.ok_or(Problem::Internal)
    }

    async fn join(
        &self,
        socket: &mut ChatSocket,
        event: &ClientEvent,
        emit: &mut Vec<Arc<OutgoingEvent>>,
    ) -> Result<String, Problem> {
        let session = self.session_of(socket, event)?;
        self.join_session(socket, &session).await?;
        let (tenant, caller) = (&socket.principal.tenant_id, socket.principal.caller());
        // A widget joins its conversation only when it is told of it.
        if let (_, Some(conversation)) = self.services.directory.open(tenant, &session, caller).await? {
            emit.push(self.about("conversation:update", conversation.id, &session));
        }
        to_json(&SessionResponse { success: true, session_id: session })
    }

    async fn join_conversation(
        &self,
        socket: &mut ChatSocket,
        event: &ClientEvent,
        emit: &mut Vec<Arc<OutgoingEvent>>,
    ) -> Result<String, Problem> {
        let (request, mut validation): (JoinConversationRequest, _) = self.request(socket, event)?;
        let conversation = validation.required("conversationId", request.conversation_id);
        validation.finish()?;
        let conversation = conversation.ok_or(Problem::Internal)?;
        let session = match &socket.bound_session {
            Some(bound) => self.bound_to(socket, bound, conversation).await?,
            None => self.services.guard.session_of(&socket.principal, socket.client, conversation).await?,
        };
        self.join_session(socket, &session).await?;
        emit.push(self.about("joined", conversation, &session));
        to_json(&SessionResponse { success: true, session_id: session })
    }

    /// The session of a visitor's socket, if the conversation is its own: of others it is not even told whether they exist.
    async fn bound_to(
        &self,
        socket: &ChatSocket,
        bound: &SessionId,
        conversation: ConversationId,
    ) -> Result<SessionId, Problem> {
        let (tenant, caller) = (&socket.principal.tenant_id, socket.principal.caller());
        let (_, own) = self.services.directory.open(tenant, bound, caller).await?;
        match own {
            Some(own) if own.id == conversation => Ok(bound.clone()),
            _ => Err(Problem::Forbidden("the socket is bound to another session")),
        }
    }

    /// An event about a conversation for one socket.
    fn about(&self, name: &str, conversation: ConversationId, session: &SessionId) -> Arc<OutgoingEvent> {
        let now = self.services.ambient.now();
        Arc::new(OutgoingEvent::new(name, &ConversationEvent::new(conversation, session, now)))
    }

    async fn join_session(&self, socket: &mut ChatSocket, session: &SessionId) -> Result<(), Problem> {
        let is_visitor = socket.principal.is_visitor();
        if is_visitor && socket.bound_session.as_ref().is_some_and(|bound| bound != session) {
            return Err(Problem::Forbidden("the socket is bound to another session"));
        }
        let access = self.services.guard.open(&socket.principal, socket.client, session).await?;
        if is_visitor && socket.bound_session.is_none() {
            socket.has_messages = access == SessionAccess::Granted;
            self.bind(socket, session.clone(), None, None).await?;
        } else {
            let room = ChatRoom::Session(socket.principal.tenant_id.clone(), session.clone());
            socket.join(room.clone());
            if let Err(closed) = self.services.guard.check_again(&socket.principal, session).await {
                socket.registrations.leave(&room);
                return Err(closed);
            }
        }
        Ok(())
    }

    fn leave(&self, socket: &ChatSocket, event: &ClientEvent) -> Result<String, Problem> {
        let session = self.session_of(socket, event)?;
        // A visitor's socket stays in the session that it is bound to, where the answers to it go.
        if socket.bound_session.as_ref() != Some(&session) {
            let room = ChatRoom::Session(socket.principal.tenant_id.clone(), session.clone());
            socket.registrations.leave(&room);
        }
        to_json(&SessionResponse { success: true, session_id: session })
    }
}

/// Serializes an acknowledgement.
fn to_json(response: &impl Serialize) -> Result<String, Problem> {
    // As a value, so that the members are in the order of their names, as in every refusal.
    serde_json::to_value(response).map(|value| value.to_string()).map_err(|error| {
        tracing::error!(%error, "an acknowledgement cannot be serialized");
        Problem::Internal
    })
}
