//! What a client that comes back has missed.
//!
//! A client that asks for it (`auth.recovery = true`) is given a `pid`, and with every event its offset:
//! the event's place in the log. When it comes back with both, it gets what was appended since, from
//! the log, in order: all of it, or it is told that it did not recover. So it does not matter whether
//! the connection or the service went away.
//!
//! Both texts are sealed: an offset that this service did not give proves nothing, and one that it
//! gave says which session the client was hearing. The rights are looked at again in any case.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use amoiq_actors::sessions::{PageLimit, PageWindow, SessionAccess};
use amoiq_events::{Position, SessionId, TenantId, store::Epoch, stream::StreamKind};
use amoiq_socketio::socket::{OffsetWriter, OutgoingEvent, SocketId};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    Chat,
    feed::{self, Hearing, cast},
    socket::ChatSocket,
};
use crate::{
    access::auth::{Authenticator, CallerRole, TokenKeys},
    api::messages::Audience,
    api::problem::Problem,
};

/// The most events that are sent again.
const MAX_MISSED: usize = 1_000;

/// How far back the log is read for staff, in events of all tenants.
const MAX_READ_BACK: usize = 50_000;

/// How many messages of a session are read at once.
const PAGE: u32 = 500;

/// How many clients that left are remembered; the one that left first is forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// Who may come back.
pub struct Recovery {
    window: Duration,
    most_bytes: usize,
    started: Instant,
    clients: Mutex<Clients>,
    recovered: AtomicU64,
    not_recovered: AtomicU64,
}

#[derive(Default)]
struct Clients {
    /// By number.
    known: HashMap<u64, Client>,
    /// Those that left, in the order in which they did.
    left: VecDeque<(Instant, u64)>,
}

/// A client that is here, or was.
#[derive(Debug, Clone)]
struct Client {
    /// The one that speaks for it. A socket that it came back from may be found dead only later.
    socket: SocketId,
    session: Option<SessionId>,
    left: Option<Instant>,
}

/// What is known of a number.
enum Known {
    /// It is here, or left not long ago, and was bound to this session.
    Here(Option<SessionId>),
    /// It may have been given out before this process started.
    Before,
    /// It is too late.
    Gone,
}

/// A `pid`, opened.
#[derive(Serialize, Deserialize)]
struct Pid {
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "p")]
    start: u64,
    #[serde(rename = "e")]
    epoch: String,
    #[serde(rename = "t")]
    tenant: TenantId,
    #[serde(rename = "s")]
    session: Option<SessionId>,
}

/// A client that came back, as far as it could be believed.
pub(super) struct Comeback {
    number: u64,
    pid: String,
    /// The last event that it has seen.
    after: Position,
    /// The session that it was bound to.
    pub(super) session: Option<SessionId>,
}

impl Recovery {
    /// Nobody left yet. A window of zero is no recovery. `most_bytes` are sent again, no more than may wait for a
    /// client.
    #[must_use]
    pub fn new(window: Duration, most_bytes: usize) -> Self {
        let (recovered, not_recovered) = Default::default();
        let started = Instant::now();
        Self { window, most_bytes, started, clients: Mutex::default(), recovered, not_recovered }
    }

    /// How many clients got all that they missed, and how many could not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.recovered.load(Ordering::Relaxed), self.not_recovered.load(Ordering::Relaxed))
    }

    /// Whether this is more than is sent again.
    fn is_too_much(&self, missed: &[Arc<OutgoingEvent>]) -> bool {
        missed.len() > MAX_MISSED
            || missed.iter().map(|emission| emission.size_bytes()).sum::<usize>() > self.most_bytes
    }

    fn with<T>(&self, work: impl FnOnce(&mut Clients) -> T) -> T {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, number)) = clients.left.front().copied() {
            if since.elapsed() <= self.window && clients.left.len() <= MAX_REMEMBERED {
                break;
            }
            clients.left.pop_front();
            // It may have come back meanwhile, or left again.
            if clients.known.get(&number).is_some_and(|client| client.left == Some(since)) {
                clients.known.remove(&number);
            }
        }
        work(&mut clients)
    }

    fn arrived(&self, number: u64, socket: SocketId, session: Option<&SessionId>) {
        let client = Client { socket, session: session.cloned(), left: None };
        self.with(|clients| clients.known.insert(number, client));
    }

    /// A client named its session.
    pub(super) fn bound(&self, number: u64, socket: SocketId, session: &SessionId) {
        self.with(|clients| {
            if let Some(client) = clients.of(number, socket) {
                client.session = Some(session.clone());
            }
        });
    }

    /// A client's socket is gone.
    pub(super) fn left(&self, number: u64, socket: SocketId) {
        self.with(|clients| {
            let now = Instant::now();
            if let Some(client) = clients.of(number, socket) {
                client.left = Some(now);
                clients.left.push_back((now, number));
            }
        });
    }

    fn look_up(&self, number: u64) -> Known {
        self.with(|clients| match clients.known.get(&number) {
            Some(client) if client.left.is_none_or(|since| since.elapsed() <= self.window) => {
                Known::Here(client.session.clone())
            }
            None if self.started.elapsed() <= self.window => Known::Before,
            Some(_) | None => Known::Gone,
        })
    }
}

impl Clients {
    /// The client of a number, as long as this socket speaks for it.
    fn of(&mut self, number: u64, socket: SocketId) -> Option<&mut Client> {
        self.known.get_mut(&number).filter(|client| client.socket == socket)
    }
}

impl Pid {
    fn seal(&self, tokens: &TokenKeys) -> String {
        // Texts and numbers can always be written.
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        format!("{text}.{}", tokens.seal("pid", &text))
    }

    fn open(tokens: &TokenKeys, sealed: &str) -> Option<Self> {
        let (text, seal) = sealed.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| tokens.is_sealed("pid", text, seal))?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Writes offsets that only this service can have written.
pub fn offsets(authenticator: actix_web::web::Data<Authenticator>, epoch: Epoch) -> OffsetWriter {
    Arc::new(move |position| {
        let seal = authenticator.tokens().seal("offset", &format!("{epoch}.{position}"));
        format!("{position}.{seal}")
    })
}

fn position_of(tokens: &TokenKeys, epoch: Epoch, offset: &str) -> Option<Position> {
    let (position, seal) = offset.split_once('.')?;
    let position: u64 = position.parse().ok()?;
    tokens.is_sealed("offset", &format!("{epoch}.{position}"), seal).then(|| Position::from_u64(position))
}

impl Chat {
    fn asks_for_recovery(&self, auth: &Map<String, Value>, socket: &ChatSocket) -> bool {
        let is_bot = socket.principal.role == CallerRole::Bot;
        auth.get("recovery") == Some(&Value::Bool(true)) && !is_bot && !self.parts.recovery.window.is_zero()
    }

    /// Reads what a client shows that wants to come back; nothing when it cannot be believed.
    pub(super) async fn comeback(&self, auth: &Map<String, Value>, socket: &ChatSocket) -> Option<Comeback> {
        let shown =
            auth.get("pid").and_then(Value::as_str).filter(|_| self.asks_for_recovery(auth, socket))?;
        let comeback = self.believe(shown, auth.get("offset").and_then(Value::as_str), socket).await;
        if comeback.is_none() {
            self.parts.recovery.not_recovered.fetch_add(1, Ordering::Relaxed);
        }
        comeback
    }

    async fn believe(&self, shown: &str, offset: Option<&str>, socket: &ChatSocket) -> Option<Comeback> {
        let (tokens, epoch) = (self.parts.authenticator.tokens(), self.parts.store.epoch());
        let pid = Pid::open(tokens, shown)?;
        if pid.tenant != socket.principal.tenant_id || pid.epoch != epoch.to_string() {
            return None;
        }
        let seen = match offset {
            Some(offset) => Some(position_of(tokens, epoch, offset)?),
            None => None,
        };
        // A client that did not recover still shows the offset of the time before, which is not of this pid.
        let seen = seen.filter(|seen| *seen > Position::from_u64(pid.start));
        let is_staff = matches!(socket.principal.role, CallerRole::Staff { .. });
        let session = match self.parts.recovery.look_up(pid.number) {
            Known::Gone => return None,
            _ if is_staff => None,
            Known::Here(session) => session.or(pid.session),
            // Bound after it connected: what it was sent last says to which session.
            Known::Before => match (pid.session, seen) {
                (Some(session), _) => Some(session),
                (None, Some(seen)) => Some(self.session_at(seen, &pid.tenant).await?),
                (None, None) => return None,
            },
        };
        let after = seen.unwrap_or(Position::from_u64(pid.start));
        Some(Comeback { number: pid.number, pid: shown.to_owned(), after, session })
    }

    /// The session whose event stands at a place in the log.
    async fn session_at(&self, position: Position, tenant: &TenantId) -> Option<SessionId> {
        let event = self.parts.store.event_at(position).await.ok()??;
        match event.stream.kind()? {
            StreamKind::Session(of, session) if of == *tenant => Some(session),
            _ => None,
        }
    }

    /// What a client gets that asked for recovery: its `pid`, what it has missed, and up to where it
    /// has heard everything then. It is in its rooms already, so that nothing falls between.
    pub(super) async fn resume(
        &self,
        auth: &Map<String, Value>,
        socket: &mut ChatSocket,
        comeback: Option<Comeback>,
    ) -> Result<(Option<String>, Vec<Arc<OutgoingEvent>>, u64), Problem> {
        if !self.asks_for_recovery(auth, socket) {
            return Ok((None, Vec::new(), 0));
        }
        let (recovery, head) = (&self.parts.recovery, self.parts.store.head());
        if let Some(Comeback { number, pid, after, .. }) = comeback {
            if let Some(missed) = self.missed(socket, after, head).await? {
                recovery.arrived(number, socket.place.id, socket.bound.as_ref());
                recovery.recovered.fetch_add(1, Ordering::Relaxed);
                socket.place.recovers = Some((Arc::clone(recovery), number));
                return Ok((Some(pid), missed, head.as_u64()));
            }
            recovery.not_recovered.fetch_add(1, Ordering::Relaxed);
        }
        let number = u64::from_le_bytes(self.parts.ambient.bytes());
        let pid = Pid {
            number,
            start: head.as_u64(),
            epoch: self.parts.store.epoch().to_string(),
            tenant: socket.principal.tenant_id.clone(),
            session: socket.bound.clone(),
        };
        recovery.arrived(number, socket.place.id, socket.bound.as_ref());
        socket.place.recovers = Some((Arc::clone(recovery), number));
        // It hears what comes after `start`, and nothing else: that is what it is owed when it comes back.
        Ok((Some(pid.seal(self.parts.authenticator.tokens())), Vec::new(), head.as_u64()))
    }

    /// Everything that a socket would have heard after one place and up to another; nothing when that
    /// is more than is sent again.
    async fn missed(
        &self,
        socket: &ChatSocket,
        after: Position,
        head: Position,
    ) -> Result<Option<Vec<Arc<OutgoingEvent>>>, Problem> {
        match (&socket.principal.role, &socket.bound) {
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
        let offsets = &self.parts.offsets;
        let audience = Audience::of(&socket.principal.caller());
        let (mut missed, mut window) = (Vec::new(), PageWindow::Newest);
        loop {
            let limit = PageLimit { messages: PAGE, bytes: self.parts.recovery.most_bytes };
            let reading =
                self.parts.directory.read(tenant, session, socket.principal.caller(), window, limit);
            let (access, page) = reading.await?;
            if access == SessionAccess::Denied {
                return Ok(None);
            }
            let is_news = |position: Position| position > after && position <= head;
            for message in page.messages.iter().rev().filter(|message| is_news(message.position)) {
                let emission = feed::message_created(tenant, session, message, audience);
                missed.push(Arc::new(emission.at(message.position.as_u64(), offsets)));
            }
            if self.parts.recovery.is_too_much(&missed) {
                return Ok(None);
            }
            match page.messages.first() {
                Some(first) if page.has_more && first.position > after => {
                    window = PageWindow::Before(first.seq)
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
        mut after: Position,
        head: Position,
    ) -> Result<Option<Vec<Arc<OutgoingEvent>>>, Problem> {
        let (mut missed, mut read) = (Vec::new(), 0);
        while after < head {
            let events = self.parts.store.read_all(after, PAGE as usize).await?;
            let Some(last) = events.last() else { break };
            after = last.position;
            read += events.len();
            let of_tenant = events
                .iter()
                .filter(|event| event.position <= head)
                .filter(|event| event.stream.tenant_id().as_ref() == Some(tenant));
            let casts = of_tenant.filter_map(|event| cast(event, &self.parts.offsets, Hearing::Later));
            missed.extend(
                casts
                    .filter(|cast| cast.owner.is_none())
                    .map(|cast| cast.unrestricted_event.unwrap_or(cast.event)),
            );
            if self.parts.recovery.is_too_much(&missed) || read > MAX_READ_BACK {
                return Ok(None);
            }
        }
        Ok(Some(missed))
    }
}
