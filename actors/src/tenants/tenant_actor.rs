//! The actor of one tenant: it decides about settings, keys and webhooks, and publishes the result in the
//! [`TenantRegistry`].
//!
//! Commands are rare, so the actor keeps no state between them, and each caller with a command starts one. It takes the
//! published state and reads what its stream has after that: erased sessions are recorded there too, so the stream can be
//! long. Two actors at once are harmless: an append that expects another version is a conflict, and the actor then reads
//! on and decides again.

use std::sync::Arc;

use actix::prelude::*;
use amoiq_events::{
    Ambient, EventLog, StreamName, TenantId,
    envelope::RecordedAt,
    event::{Event, EventCause},
    store::{AppendError, ExpectedVersion},
    tenant::{Tenant, TenantCommand, TenantEvent, TenantRefusal},
};

use crate::tenants::tenant_registry::{TenantLoadError, TenantRegistry, catch_up};

/// How many commands wait for one tenant.
const MAILBOX: usize = 64;

/// How often a command is decided when others append in between.
const ATTEMPTS: u32 = 16;

/// Why a tenant did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The tenant's rules forbid it.
    #[error(transparent)]
    Refused(#[from] TenantRefusal),
    /// The stream could not be read.
    #[error(transparent)]
    Load(#[from] TenantLoadError),
    /// The store did not confirm the append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The actor ended while it worked: a defect.
    #[error("the tenant's actor ended")]
    Gone,
}

/// Sends commands to one tenant.
#[derive(Clone)]
pub struct TenantHandle(Addr<TenantActor>);

impl TenantHandle {
    /// Starts the tenant's actor on the caller's arbiter.
    #[must_use]
    pub fn start(
        id: TenantId,
        store: Arc<dyn EventLog>,
        ambient: Ambient,
        registry: Arc<TenantRegistry>,
    ) -> Self {
        let worker = TenantWorker { stream: StreamName::tenant(&id), id, store, ambient, registry };
        Self(TenantActor::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            TenantActor(Arc::new(worker))
        }))
    }

    /// Executes a command. Returns the number of events that it appended.
    ///
    /// # Errors
    /// A [`TenantError`].
    pub async fn execute(&self, command: TenantCommand, cause: EventCause) -> Result<usize, TenantError> {
        self.0.send(ExecuteCommand { command, cause }).await.unwrap_or(Err(TenantError::Gone))
    }
}

#[derive(Message)]
#[rtype(result = "Result<usize, TenantError>")]
struct ExecuteCommand {
    command: TenantCommand,
    cause: EventCause,
}

/// The actor of one tenant.
struct TenantActor(Arc<TenantWorker>);

/// What the actor works with.
struct TenantWorker {
    id: TenantId,
    stream: StreamName,
    store: Arc<dyn EventLog>,
    ambient: Ambient,
    registry: Arc<TenantRegistry>,
}

impl Actor for TenantActor {
    type Context = Context<Self>;
}

impl Handler<ExecuteCommand> for TenantActor {
    type Result = AtomicResponse<Self, Result<usize, TenantError>>;

    fn handle(&mut self, execute: ExecuteCommand, _: &mut Self::Context) -> Self::Result {
        let worker = Arc::clone(&self.0);
        let work = async move { worker.execute(&execute.command, &execute.cause).await };
        AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}

impl TenantWorker {
    async fn execute(&self, command: &TenantCommand, cause: &EventCause) -> Result<usize, TenantError> {
        let mut attempt = 1;
        let mut tenant = self.registry.published(&self.id);
        loop {
            catch_up(&*self.store, &self.stream, &mut tenant).await?;
            let events = tenant.decide(command)?;
            match self.append(&mut tenant, &events, cause).await {
                Err(AppendError::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
                appended => {
                    appended?;
                    // Also without events: an earlier append may have succeeded without its caller's knowledge.
                    self.registry.publish(&self.id, &tenant);
                    return Ok(events.len());
                }
            }
        }
    }

    async fn append(
        &self,
        tenant: &mut Tenant,
        events: &[TenantEvent],
        cause: &EventCause,
    ) -> Result<(), AppendError> {
        if events.is_empty() {
            return self.store.confirm().await;
        }
        let envelopes: Vec<_> =
            events.iter().map(|event| Event::Tenant(event.clone()).envelope(&self.ambient, cause)).collect();
        let time = envelopes.last().map(|envelope| envelope.time).unwrap_or_default();
        let expected = ExpectedVersion::Exact(tenant.version());
        let appended = self.store.append(self.stream.clone(), expected, envelopes).await?;
        let at = RecordedAt { time, position: appended.position };
        events.iter().for_each(|event| tenant.apply(event, at));
        Ok(())
    }
}
