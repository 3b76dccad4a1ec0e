//! How many connections the service and its operators have.

use std::sync::Arc;

use crate::{
    config::Config,
    connections::{
        descriptors::Descriptors,
        ledger::{Ledger, Listener},
    },
};

/// Connections that may ask after the service's health when there are as many as it serves.
const HEALTH_RESERVE: usize = 32;

/// Connections of operators at the same time.
const OPERATORS: usize = 64;

/// The connections of the service and of operators.
#[derive(Clone)]
pub struct Listeners {
    /// Over both.
    pub ledger: Arc<Ledger>,
    /// `server.bind`
    pub service: Arc<Listener>,
    /// `operator.bind`
    pub operator: Arc<Listener>,
    /// What there is for them.
    pub descriptors: Descriptors,
}

impl Listeners {
    /// Raises the limit of open files as far as it goes, and shares them out.
    pub(super) fn of(config: &Config) -> Self {
        let descriptors = Descriptors::raise(config.webhooks.in_flight);
        let of_address = config.server.connections_per_ip.unwrap_or_else(|| descriptors.of_address());
        let ledger = Ledger::new(of_address, config.server.trusted_proxies.clone());
        let reserve = HEALTH_RESERVE.min(descriptors.connections / 8);
        let service = Listener::new(&ledger, descriptors.connections - reserve, reserve);
        let operator = Listener::new(&ledger, OPERATORS, 0);
        Self { ledger, service, operator, descriptors }
    }
}
