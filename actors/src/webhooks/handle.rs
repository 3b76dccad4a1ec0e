//! The handle to webhook delivery: starts it, and gives it the requests of endpoints' owners and operators, also those about
//! lanes of other nodes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{MessageId, Position, SessionId, TenantId, WebhookId};
use tokio::time::Instant;

use super::{
    delivery::{Delivery, DeliveryAttempt},
    delivery_counters::DeliveryCounters,
    delivery_store::{DeliveriesQuery, LaneId, RecordedLane},
    lane::{
        CancelReplay, DrainLane, LaneError, LaneStatus, RedeliverMessage, SkipDelivery, SkipMatching,
        SkipQuery, StartReplay, WebhookLane,
    },
    router::{FindLane, ForgetTenantSessions, LaneLink, ListLanes, WebhookRouter},
    sender::{DeliveryOutcome, WebhookEndpoint, WebhookPayload},
    services::{LaneServices, LaneSettings, WebhookServices},
};

mod remote_lanes;

use remote_lanes::LaneCommand;

/// How often it checks what it gets no signal for: whether attempts have ended, whether a lane has started or has
/// read on.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// How long a request waits for the lane of an endpoint that was just registered.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// The handle to webhook delivery.
#[derive(Clone)]
pub struct WebhooksHandle {
    router: Addr<WebhookRouter>,
    services: Arc<LaneServices>,
}

impl WebhooksHandle {
    /// Starts a lane for every endpoint, all of them on one thread.
    #[must_use]
    pub fn start(settings: LaneSettings, services: WebhookServices, arbiter: &ArbiterHandle) -> Self {
        let services = Arc::new(LaneServices::new(settings, services));
        let handle = Self { router: WebhookRouter::launch(Arc::clone(&services), arbiter), services };
        if handle.services.deliveries.is_shared() {
            let serving = handle.clone();
            arbiter.spawn_fn(|| drop(actix::spawn(remote_lanes::serve(serving))));
        }
        handle
    }

    /// The same on the caller's own thread: a simulation has to run in one order.
    #[must_use]
    pub fn start_here(settings: LaneSettings, services: WebhookServices) -> Self {
        let services = Arc::new(LaneServices::new(settings, services));
        let handle = Self { router: WebhookRouter::launch_here(Arc::clone(&services)), services };
        if handle.services.deliveries.is_shared() {
            actix::spawn(remote_lanes::serve(handle.clone()));
        }
        handle
    }

    /// One page of an endpoint's deliveries, newest first, with their attempts.
    ///
    /// # Errors
    /// [`LaneError::NoEndpoint`], or when `outbox.db` does not answer.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<DeliveryAttempt>)>, LaneError> {
        let lane = self.find(tenant, webhook).await?.id();
        Ok(self.services.deliveries.deliveries(lane, query).await?)
    }

    /// Delivers a message again, whatever became of it before.
    ///
    /// # Errors
    /// A [`LaneError`].
    pub async fn redeliver(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        message: MessageId,
    ) -> Result<(), LaneError> {
        self.command(tenant, webhook, LaneCommand::Redeliver(message)).await.map(drop)
    }

    /// Skips the waiting delivery of a message. The next messages of its session no longer wait for it.
    ///
    /// # Errors
    /// A [`LaneError`].
    pub async fn skip(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        message: MessageId,
    ) -> Result<(), LaneError> {
        self.command(tenant, webhook, LaneCommand::Skip(message)).await.map(drop)
    }

    /// Skips every waiting delivery that matches a query and is not being attempted, and returns how many those are.
    /// Skipping makes room for the lane to read on; matching deliveries that it reads meanwhile are skipped too.
    ///
    /// # Errors
    /// A [`LaneError`]; some deliveries may have been skipped by then.
    pub async fn skip_all(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        query: SkipQuery,
    ) -> Result<usize, LaneError> {
        // Messages that are sent from now on are not meant.
        let query = SkipQuery { upto: query.upto.min(self.services.log.head()), ..query };
        self.command(tenant, webhook, LaneCommand::SkipAll(query)).await
    }

    /// Delivers a part of the log again: after one position, up to another or to where the endpoint is. New messages
    /// wait until the replay has been read, so that each session stays in order.
    ///
    /// # Errors
    /// A [`LaneError`].
    pub async fn replay(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        after: Position,
        until: Option<Position>,
    ) -> Result<(), LaneError> {
        self.command(tenant, webhook, LaneCommand::Replay { after, until }).await.map(drop)
    }

    /// Ends the running replay, if there is one.
    ///
    /// # Errors
    /// A [`LaneError`].
    pub async fn cancel_replay(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<(), LaneError> {
        self.command(tenant, webhook, LaneCommand::CancelReplay).await.map(drop)
    }

    /// Removes everything about some sessions, each up to a position, from the memory of a tenant's lanes and from
    /// `outbox.db`, which is done even if a lane fails. An attempt that is running may end, and is not recorded.
    ///
    /// # Errors
    /// The first [`LaneError`]; calling it again continues.
    pub async fn erase(
        &self,
        tenant: &TenantId,
        sessions: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<(), LaneError> {
        let forget = ForgetTenantSessions { tenant: tenant.clone(), sessions: Arc::clone(sessions) };
        let forgotten = ask(&self.router, forget).await;
        let erased = self.services.deliveries.erase_all(tenant, sessions).await;
        forgotten??;
        erased?;
        Ok(())
    }

    /// Overwrites what was removed from `outbox.db` and its write-ahead log, so that the files hold no copy.
    ///
    /// # Errors
    /// When the database refuses, or somebody reads it for too long.
    pub async fn scrub(&self) -> Result<(), LaneError> {
        Ok(self.services.deliveries.scrub().await?)
    }

    /// Moves everything from the write-ahead log into `outbox.db`, before the service stops.
    ///
    /// # Errors
    /// When the database refuses, or somebody reads it for too long.
    pub async fn truncate_log(&self) -> Result<(), LaneError> {
        Ok(self.services.deliveries.truncate_log().await?)
    }

    /// How an endpoint is doing.
    ///
    /// # Errors
    /// [`LaneError::NoEndpoint`].
    pub async fn status(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<LaneStatus, LaneError> {
        match self.find(tenant, webhook).await? {
            LanePlace::Here(link) => link.status().await.map_err(|_stopped| LaneError::Gone),
            LanePlace::Elsewhere(recorded) => Ok(remote_lanes::status(&recorded)),
        }
    }

    /// How the endpoints are doing whose lanes this node has.
    pub async fn statuses(&self) -> Vec<(Arc<WebhookEndpoint>, LaneStatus)> {
        let links = self.router.send(ListLanes).await.unwrap_or_default();
        let mut statuses = Vec::with_capacity(links.len());
        for link in links {
            if let Ok(status) = link.status().await {
                statuses.push((link.endpoint, status));
            }
        }
        statuses
    }

    /// Calls an endpoint once, without its lane: the owner checks whether it works. `held` is dropped when the attempt
    /// has ended, even if the caller no longer waits.
    ///
    /// # Errors
    /// [`LaneError::Gone`].
    pub async fn test<H: Send + 'static>(
        &self,
        endpoint: WebhookEndpoint,
        held: H,
    ) -> Result<(DeliveryOutcome, Duration), LaneError> {
        ask(&self.router, TestEndpoint { endpoint, held }).await
    }

    /// The counters of all deliveries since the start.
    #[must_use]
    pub fn counters(&self) -> &DeliveryCounters {
        self.services.counters()
    }

    /// Starts no more attempts, and waits until the running ones have ended and are recorded, up to a time limit.
    pub async fn drain(&self, patience: Duration) {
        // What has not ended by then is attempted again after the next start. A router that waits for a disk may
        // use up the time, too.
        let _late = tokio::time::timeout(patience, self.drained()).await;
    }

    async fn drained(&self) {
        let links = self.router.send(ListLanes).await.unwrap_or_default();
        loop {
            let mut in_flight = 0;
            for link in &links {
                in_flight += link.lane.send(DrainLane).await.unwrap_or_default();
            }
            if in_flight == 0 {
                return;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Asks a lane, wherever it is. Returns how many deliveries were concerned, where that is told.
    async fn command(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        command: LaneCommand,
    ) -> Result<usize, LaneError> {
        match self.find(tenant, webhook).await? {
            LanePlace::Here(link) => self.command_here(&link.lane, command).await,
            LanePlace::Elsewhere(RecordedLane { id, .. }) => {
                remote_lanes::ask(&self.services, id, command).await
            }
        }
    }

    /// Asks a lane of this node.
    async fn command_here(&self, lane: &Addr<WebhookLane>, command: LaneCommand) -> Result<usize, LaneError> {
        match command {
            LaneCommand::Redeliver(message) => ask(lane, RedeliverMessage(message)).await??,
            LaneCommand::Skip(message) => ask(lane, SkipDelivery(message)).await??,
            LaneCommand::SkipAll(query) => return skip_all(lane, query).await,
            LaneCommand::Replay { after, until } => ask(lane, StartReplay { after, until }).await??,
            LaneCommand::CancelReplay => ask(lane, CancelReplay).await??,
        }
        Ok(1)
    }

    /// The lane of an endpoint. The owner may ask before any router has started it.
    async fn find(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<LanePlace, LaneError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(link) = ask(&self.router, FindLane(tenant.clone(), webhook.clone())).await? {
                return Ok(LanePlace::Here(link));
            }
            if self.services.registry.current().is_deleted(tenant, webhook) {
                return Err(LaneError::NoEndpoint);
            }
            if let Some(recorded) = self.services.deliveries.recorded_lane(tenant, webhook).await? {
                return Ok(LanePlace::Elsewhere(recorded));
            }
            if Instant::now() >= deadline {
                return Err(LaneError::NotStarted);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// Where the lane of an endpoint is.
enum LanePlace {
    Here(LaneLink),
    /// Another node has it, or nobody at the moment.
    Elsewhere(RecordedLane),
}

impl LanePlace {
    fn id(&self) -> LaneId {
        match self {
            Self::Here(link) => link.id,
            Self::Elsewhere(recorded) => recorded.id,
        }
    }
}

/// Skips what matches, as often as the lane has read on and has more.
async fn skip_all(lane: &Addr<WebhookLane>, query: SkipQuery) -> Result<usize, LaneError> {
    let mut total = 0;
    loop {
        let progress = ask(lane, SkipMatching(query.clone())).await??;
        total += progress.count;
        if !progress.has_more {
            return Ok(total);
        }
        if progress.count == 0 {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// Calls an endpoint once. It runs on the lanes' thread, where the connections that it leaves behind live on.
#[derive(Message)]
#[rtype(result = "(DeliveryOutcome, Duration)")]
struct TestEndpoint<H> {
    endpoint: WebhookEndpoint,
    held: H,
}

impl<H: Send + 'static> Handler<TestEndpoint<H>> for WebhookRouter {
    type Result = ResponseFuture<(DeliveryOutcome, Duration)>;

    fn handle(
        &mut self,
        TestEndpoint { endpoint, held }: TestEndpoint<H>,
        _: &mut Self::Context,
    ) -> Self::Result {
        let services = self.services();
        Box::pin(async move {
            let permit = services.attempts.acquire(&endpoint.tenant).await;
            let (event_id, time) = (services.ambient.event_id(), services.ambient.now());
            let payload = WebhookPayload::Test { event_id, time };
            let finished = services.attempts.run(Arc::new(endpoint), payload, permit).await;
            drop(held);
            (finished.outcome, finished.duration)
        })
    }
}

async fn ask<A, M>(actor: &Addr<A>, message: M) -> Result<M::Result, LaneError>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    actor.send(message).await.map_err(|_stopped| LaneError::Gone)
}
