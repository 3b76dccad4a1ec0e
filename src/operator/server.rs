//! The HTTP server of the operator interface: one thread, few connections, small bodies.

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
mod scrape;

pub use routes::openapi;

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 65_536;

/// How long requests in flight may take after the stop signal, in seconds.
const DRAIN_SECONDS: u64 = 1;

/// The operator interface of a running service.
pub struct OperatorServer {
    server: Server,
    connection_file: PublishedConnectionFile,
}

/// The settings of the operator interface.
pub struct OperatorServerSettings<'a> {
    /// `operator.bind`
    pub bind: SocketAddr,
    /// The address of the service itself.
    pub service: SocketAddr,
    /// `operator.metrics_networks`
    pub metrics_networks: Vec<IpNet>,
    /// The data directory.
    pub directory: &'a Path,
    /// Counts and limits its connections.
    pub listener: Arc<ListenerConnections>,
}

impl OperatorServer {
    /// Listens, and writes the address to the data directory.
    ///
    /// # Errors
    /// When the address is in use, or the file cannot be written.
    pub fn start(
        settings: &OperatorServerSettings<'_>,
        services: OperatorServices,
        eraser: EraserHandle,
        metrics: ServiceMetrics,
    ) -> anyhow::Result<Self> {
        let bind = settings.bind;
        let listener = TcpListener::bind(bind).with_context(|| {
            format!("operator.bind {bind} (a second service on this machine needs another port, or port 0)")
        })?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "the operator interface can be reached from other machines; only its token protects it"
            );
        }
        let token = web::Data::new(OperatorToken::generate(&services.tenants.ambient));
        let connection_file =
            PublishedConnectionFile::write(settings.directory, address, settings.service, &token)
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
        Ok(Self { server, connection_file })
    }

    /// Serves until the handle stops it.
    pub fn run(self) -> (ServerHandle, PublishedConnectionFile) {
        let handle = self.server.handle();
        actix::spawn(async move {
            if let Err(error) = self.server.await {
                tracing::error!(%error, "the operator interface ended");
            }
        });
        (handle, self.connection_file)
    }
}
