//! The HTTP side of an engine: one path, by method, `transport` and `sid`.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::Addr;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web,
};

use super::{
    ClientHandshake, CloseReason, EngineConnection, EngineMetrics, EngineSettings, Protocol,
    connection::{ConnectionNotice, NewConnection, SharedState},
    engine_state::{EngineState, HoldPolicy},
};
use crate::random::RandomSource;

mod engine_error;
mod engine_query;
mod polling_requests;
mod websocket_requests;

use engine_error::EngineError;
use engine_query::EngineQuery;

/// Connections close in so many batches when the server stops, so that clients do not all return at once.
const DRAIN_BATCHES: usize = 20;

/// The connections of all workers.
pub struct Engine<P: Protocol>(Arc<SharedState<P>>);

impl<P: Protocol> Clone for Engine<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Makes the protocol of a new connection.
pub type ProtocolFactory<P> = Rc<dyn Fn(ClientHandshake) -> P>;

/// Determines the client's address of a request, which may have come through proxies.
pub type ClientAddress = Rc<dyn Fn(&HttpRequest) -> IpAddr>;

impl<P: Protocol> Engine<P> {
    /// An engine without connections.
    #[must_use]
    pub fn new(settings: EngineSettings, random: RandomSource) -> Self {
        Self::with_hold_policy(settings, random, Box::new(|| true))
    }

    /// The same, but it holds clients only while the policy allows it.
    #[must_use]
    pub fn with_hold_policy(settings: EngineSettings, random: RandomSource, may_hold: HoldPolicy) -> Self {
        Self(Arc::new(EngineState::new(settings, random, may_hold)))
    }

    /// Serves the engine at a path (`/socket.io/`) on the worker that these routes belong to.
    pub fn configure(
        &self,
        path: &str,
        routes: &mut web::ServiceConfig,
        client: ClientAddress,
        protocol: ProtocolFactory<P>,
    ) {
        let worker = EngineWorker { engine: Arc::clone(&self.0), client, protocol };
        let handler = move |request: HttpRequest, payload: web::Payload| {
            let worker = worker.clone();
            async move { worker.serve(request, payload).await }
        };
        routes.service(web::resource([path, path.trim_end_matches('/')]).to(handler));
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<EngineMetrics> {
        &self.0.metrics
    }

    /// Sends a notice to every connection.
    pub async fn notify_all(&self, notice: impl Fn() -> P::Notice) {
        for connection in self.0.connections.all() {
            // A connection that is gone needs no notice.
            let _gone = connection.send(ConnectionNotice(notice())).await;
        }
    }

    /// Accepts no more connections, and closes the open ones in batches over this time.
    pub async fn drain(&self, over: Duration) {
        self.0.start_drain();
        let connections = self.0.connections.all();
        let batch = connections.len().div_ceil(DRAIN_BATCHES).max(1);
        let pause = over / u32::try_from(connections.len().div_ceil(batch)).unwrap_or(1).max(1);
        for batch in connections.chunks(batch) {
            for connection in batch {
                let _gone =
                    connection.try_send(super::connection::CloseConnection(CloseReason::ShuttingDown));
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// The engine on one worker.
struct EngineWorker<P: Protocol> {
    engine: Arc<SharedState<P>>,
    client: ClientAddress,
    protocol: ProtocolFactory<P>,
}

impl<P: Protocol> Clone for EngineWorker<P> {
    fn clone(&self) -> Self {
        let Self { engine, client, protocol } = self;
        Self { engine: Arc::clone(engine), client: Rc::clone(client), protocol: Rc::clone(protocol) }
    }
}

impl<P: Protocol> EngineWorker<P> {
    async fn serve(&self, request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, EngineError> {
        let query = EngineQuery::parse(request.query_string());
        let is_websocket = match query.transport.as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(EngineError::UnknownTransport),
        };
        if query.version.as_deref() != Some("4") {
            self.log_version(&request, query.version.as_deref().unwrap_or_default());
            return Err(EngineError::UnsupportedVersion);
        }
        let connection = match &query.sid {
            Some(sid) => Some(self.engine.connections.find(sid).ok_or(EngineError::UnknownSid)?),
            None => None,
        };
        let method = request.method();
        match (is_websocket, connection) {
            (_, None) if *method != Method::GET => Err(EngineError::BadMethod),
            (_, None) if self.engine.is_draining() => Err(EngineError::Stopping),
            (true, connection) => self.websocket(&request, connection),
            (false, None) => self.open_polling(&request),
            (false, Some(connection)) => self.polling_request(&request, payload, connection).await,
        }
    }

    /// Everything that a connection needs to start.
    fn new_connection(
        &self,
        request: &HttpRequest,
        client: IpAddr,
        upgrades: &'static [&'static str],
    ) -> NewConnection<P> {
        let handshake = ClientHandshake::new(request, client, self.engine.settings.kept_headers);
        NewConnection { sid: self.engine.new_sid(), protocol: (self.protocol)(handshake), upgrades }
    }

    async fn polling_request(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        connection: Addr<EngineConnection<P>>,
    ) -> Result<HttpResponse, EngineError> {
        match *request.method() {
            Method::GET => polling_requests::poll(connection).await,
            Method::POST => self.post(request, payload, connection).await,
            _ => Err(EngineError::BadMethod),
        }
    }

    /// Logs that the client's version is not supported: its owner sees only that it does not connect.
    fn log_version(&self, request: &HttpRequest, version: &str) {
        // Real clients send one digit.
        let is_version = version.len() == 1 && version.bytes().all(|byte| byte.is_ascii_digit());
        if !is_version || !self.engine.version_log.is_due() {
            return;
        }
        let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        tracing::info!(
            eio = version, client.address = %(self.client)(request), origin,
            "a client is refused: it does not speak Engine.IO 4 (socket.io-client 2 speaks 3)"
        );
    }
}
