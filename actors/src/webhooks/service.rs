//! The handle to webhook delivery: starts it, and asks it on behalf of endpoints' owners and operators.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::prelude::*;
use amoiq_events::{Ambient, EventStore, MessageId, Position, SessionId, TenantId, WebhookId};
use tokio::time::Instant;

use super::{
    Counts,
    courier::{Answer, Content, Courier, Endpoint},
    delivery::{Attempt, Delivery},
    desk::{Desk, LaneSettings},
    lane::{CancelReplay, Drain, LaneRefusal, Redeliver, Skip, SkipQuery, SkipSome, Standing, StartReplay},
    outbox::{DeliveriesQuery, Outbox},
    router::{All, Find, ForgetAll, Link, WebhookRouter},
};
use crate::{erasure::EraseError, tenants::TenantRegistry};

/// How often it looks for what nobody tells: whether attempts are still underway, whether a lane is there, whether it
/// has read on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long is waited for the lane of an endpoint that was just made.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// The handle to webhook delivery.
#[derive(Clone)]
pub struct Webhooks {
    router: Addr<WebhookRouter>,
    desk: Arc<Desk>,
}

impl Webhooks {
    /// Starts a lane for every endpoint, all on one thread of their own. The outbox has to have
    /// [adopted](Outbox::adopt) the log.
    #[must_use]
    pub fn start(
        settings: LaneSettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        registry: Arc<TenantRegistry>,
        outbox: Outbox,
        courier: Arc<dyn Courier>,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let desk = Desk::new(settings, Arc::clone(store), ambient.clone(), registry, outbox, courier);
        let desk = Arc::new(desk);
        Self { router: WebhookRouter::launch(Arc::clone(&desk), arbiter), desk }
    }

    /// The same on the caller's own thread: for simulations, which must run in one order.
    #[must_use]
    pub fn start_here(
        settings: LaneSettings,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        registry: Arc<TenantRegistry>,
        outbox: Outbox,
        courier: Arc<dyn Courier>,
    ) -> Self {
        let desk = Desk::new(settings, Arc::clone(store), ambient.clone(), registry, outbox, courier);
        let desk = Arc::new(desk);
        Self { router: WebhookRouter::launch_here(Arc::clone(&desk)), desk }
    }

    /// One page of an endpoint's deliveries, the newest first, with their attempts.
    ///
    /// # Errors
    /// [`LaneRefusal::NoEndpoint`], or when `outbox.db` does not answer.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<Attempt>)>, LaneRefusal> {
        let link = self.find(tenant, webhook).await?;
        Ok(self.desk.outbox.deliveries(link.id, query).await?)
    }

    /// Delivers a message again, whatever became of it before.
    ///
    /// # Errors
    /// A [`LaneRefusal`].
    pub async fn redeliver(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        message: MessageId,
    ) -> Result<(), LaneRefusal> {
        ask(&self.find(tenant, webhook).await?.lane, Redeliver(message)).await?
    }

    /// Does not deliver a message that waits: what is behind it in its session goes on.
    ///
    /// # Errors
    /// A [`LaneRefusal`].
    pub async fn skip(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        message: MessageId,
    ) -> Result<(), LaneRefusal> {
        ask(&self.find(tenant, webhook).await?.lane, Skip(message)).await?
    }

    /// Does not deliver any of those that wait and meet a query, and are not being tried. Returns how many. What the lane
    /// reads from the log meanwhile, because skipping makes room, is skipped too.
    ///
    /// # Errors
    /// A [`LaneRefusal`]; a part may be skipped then.
    pub async fn skip_all(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        query: SkipQuery,
    ) -> Result<usize, LaneRefusal> {
        let lane = self.find(tenant, webhook).await?.lane;
        // What is said from now on is not meant.
        let query = SkipQuery { upto: query.upto.min(self.desk.store.head()), ..query };
        let mut all = 0;
        loop {
            let skipped = ask(&lane, SkipSome(query.clone())).await??;
            all += skipped.count;
            if !skipped.has_more {
                return Ok(all);
            }
            if skipped.count == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Delivers again what stands after one position, up to another or to where the endpoint is. What is
    /// new waits until then, so that the order of a session holds.
    ///
    /// # Errors
    /// A [`LaneRefusal`].
    pub async fn replay(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        after: Position,
        until: Option<Position>,
    ) -> Result<(), LaneRefusal> {
        ask(&self.find(tenant, webhook).await?.lane, StartReplay { after, until }).await?
    }

    /// Ends the replay that runs, if one does.
    ///
    /// # Errors
    /// A [`LaneRefusal`].
    pub async fn cancel_replay(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<(), LaneRefusal> {
        ask(&self.find(tenant, webhook).await?.lane, CancelReplay).await?
    }

    /// Has the lanes of a tenant forget what they know of some sessions, each before a position, and removes it
    /// from `outbox.db`, also when a lane does not forget. An attempt that is underway ends as it may, and is not
    /// noted.
    ///
    /// # Errors
    /// The first [`EraseError`]; doing it again goes on with it.
    pub async fn erase(
        &self,
        tenant: &TenantId,
        sessions: &Arc<HashMap<SessionId, Position>>,
    ) -> Result<(), EraseError> {
        let forget = ForgetAll { tenant: tenant.clone(), sessions: Arc::clone(sessions) };
        let forgotten = ask(&self.router, forget).await;
        let erased = self.desk.outbox.erase_all(tenant, sessions).await.map_err(LaneRefusal::from);
        forgotten??;
        erased?;
        Ok(())
    }

    /// Sees to it that `outbox.db` and what is beside it hold nothing that was removed before.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub async fn scrub(&self) -> Result<(), LaneRefusal> {
        Ok(self.desk.outbox.scrub().await?)
    }

    /// Brings everything into the one file of `outbox.db`: the service stops.
    ///
    /// # Errors
    /// When the database refuses, or is being read for long.
    pub async fn truncate_log(&self) -> Result<(), LaneRefusal> {
        Ok(self.desk.outbox.truncate_log().await?)
    }

    /// How an endpoint is doing.
    ///
    /// # Errors
    /// [`LaneRefusal::NoEndpoint`].
    pub async fn standing(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<Standing, LaneRefusal> {
        let link = self.find(tenant, webhook).await?;
        link.standing().await.map_err(|_stopped| LaneRefusal::Gone)
    }

    /// How all endpoints are doing.
    pub async fn standings(&self) -> Vec<(Arc<Endpoint>, Standing)> {
        let links = self.router.send(All).await.unwrap_or_default();
        let mut standings = Vec::with_capacity(links.len());
        for link in links {
            if let Ok(standing) = link.standing().await {
                standings.push((link.endpoint, standing));
            }
        }
        standings
    }

    /// Calls an endpoint once, beside its lane: its owner wants to see whether it works. `held` is dropped when
    /// that has ended, also when nobody waits for it any more.
    ///
    /// # Errors
    /// [`LaneRefusal::Gone`].
    pub async fn test<H: Send + 'static>(
        &self,
        endpoint: Endpoint,
        held: H,
    ) -> Result<(Answer, Duration), LaneRefusal> {
        ask(&self.router, Test { endpoint, held }).await
    }

    /// What was delivered since the start.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.desk.counts
    }

    /// Begins nothing new, and waits until what is underway is done and noted, but not for long.
    pub async fn drain(&self, patience: Duration) {
        // Late: what is underway is made again after the next start. A router that waits for a disk is late, too.
        let _late = tokio::time::timeout(patience, self.drained()).await;
    }

    async fn drained(&self) {
        let links = self.router.send(All).await.unwrap_or_default();
        loop {
            let mut underway = 0;
            for link in &links {
                underway += link.lane.send(Drain).await.unwrap_or_default();
            }
            if underway == 0 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The lane of an endpoint. The router hears of a new one after its owner does: it is waited for.
    async fn find(&self, tenant: &TenantId, webhook: &WebhookId) -> Result<Link, LaneRefusal> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(link) = ask(&self.router, Find(tenant.clone(), webhook.clone())).await? {
                return Ok(link);
            }
            if self.desk.registry.current().is_deleted(tenant, webhook) {
                return Err(LaneRefusal::NoEndpoint);
            }
            if Instant::now() >= deadline {
                return Err(LaneRefusal::NotStarted);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Calls an endpoint once. On the lanes' thread, because connections that an attempt leaves behind live there.
#[derive(Message)]
#[rtype(result = "(Answer, Duration)")]
struct Test<H> {
    endpoint: Endpoint,
    held: H,
}

impl<H: Send + 'static> Handler<Test<H>> for WebhookRouter {
    type Result = ResponseFuture<(Answer, Duration)>;

    fn handle(&mut self, Test { endpoint, held }: Test<H>, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk();
        Box::pin(async move {
            let place = desk.place(&endpoint.tenant).await;
            let (event_id, time) = (desk.ambient.event_id(), desk.ambient.now());
            let tried = desk.attempt(Arc::new(endpoint), Content::Test { event_id, time }, place).await;
            drop(held);
            (tried.answer, tried.duration)
        })
    }
}

async fn ask<A, M>(actor: &Addr<A>, message: M) -> Result<M::Result, LaneRefusal>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    actor.send(message).await.map_err(|_stopped| LaneRefusal::Gone)
}
