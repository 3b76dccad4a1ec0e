//! The HTTP server of the operator's interface: one thread, few connections, small bodies.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use actix_web::{
    App,
    dev::{Server, ServerHandle},
    middleware::from_fn,
    web,
};
use amoiq_actors::erasure::EraserHandle;
use amoiq_connections::{ListenerConnections, ServeSettings};
use anyhow::Context;
use ipnet::IpNet;

use super::{
    OperatorServices,
    connection_file::PublishedConnectionFile,
    token::{MetricsNetworks, OperatorToken, authorise},
};
use crate::{
    http::{body::BodyLimit, middleware::trace::trace},
    telemetry::metrics::ServiceMetrics,
};

mod routes;

pub use routes::openapi;

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 65_536;

/// How long requests in flight may take after the signal to stop, in seconds.
const DRAIN_SECONDS: u64 = 1;

/// The operator's interface of a running service.
pub struct OperatorServer {
    server: Server,
    door: PublishedConnectionFile,
}

/// Where it is to be.
pub struct OperatorServerSettings<'a> {
    /// `operator.bind`
    pub bind: SocketAddr,
    /// Where the service itself listens.
    pub service: SocketAddr,
    /// `operator.metrics_networks`
    pub metrics_networks: Vec<IpNet>,
    /// The data directory.
    pub directory: &'a Path,
    /// Its connections.
    pub listener: Arc<ListenerConnections>,
}

impl OperatorServer {
    /// Listens, and says in the data directory where.
    ///
    /// # Errors
    /// When the address is taken, or the directory does not take the file.
    pub fn start(
        settings: &OperatorServerSettings<'_>,
        services: OperatorServices,
        eraser: EraserHandle,
        metrics: ServiceMetrics,
    ) -> anyhow::Result<Self> {
        let bind = settings.bind;
        let listener = TcpListener::bind(bind).with_context(|| {
            format!("operator.bind {bind} (a second service on this machine needs another, or port 0)")
        })?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "the operator's interface can be reached from other machines; its token is all that protects it"
            );
        }
        let token = web::Data::new(OperatorToken::generate(&services.tenants.ambient));
        let door = PublishedConnectionFile::write(settings.directory, address, settings.service, &token)
            .with_context(|| format!("operator.json in {}", settings.directory.display()))?;
        let ambient = web::Data::new(services.tenants.ambient.clone());
        let networks = web::Data::new(MetricsNetworks(settings.metrics_networks.clone()));
        let (services, metrics) = (web::Data::new(services), web::Data::new(metrics));
        let eraser = web::Data::new(eraser);
        let app = move || {
            App::new()
                .app_data(services.clone())
                .app_data(eraser.clone())
                .app_data(metrics.clone())
                .app_data(token.clone())
                .app_data(networks.clone())
                .app_data(ambient.clone())
                .app_data(web::Data::new(BodyLimit(MAX_BODY_BYTES)))
                .configure(routes::configure)
                // The last one is the outermost.
                .wrap(from_fn(authorise))
                .wrap(from_fn(trace))
        };
        let serving = ServeSettings {
            workers: 1,
            drain_seconds: DRAIN_SECONDS,
            connections: Arc::clone(&settings.listener),
        };
        let server = amoiq_connections::serve(listener, serving, app)?;
        Ok(Self { server, door })
    }

    /// Serves beside the service; the handle ends it.
    pub fn run(self) -> (ServerHandle, PublishedConnectionFile) {
        let handle = self.server.handle();
        actix::spawn(async move {
            if let Err(error) = self.server.await {
                tracing::error!(%error, "the operator's interface ended");
            }
        });
        (handle, self.door)
    }
}
