//! Gives lanes up that are rather for another node, so that nodes that come later get their part.
//!
//! A lane first ends the attempts that are running, and records them. Then its lease is given back, and the other node takes
//! it: a lane that moves pauses for that long.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use super::{
    WebhookRouter,
    reconcile::{ReconcileCause, ReconcileLanes},
};
use crate::webhooks::{
    lane::{DrainLane, WebhookLane},
    services::LaneServices,
};

/// How many lanes move at once.
const AT_ONCE: usize = 64;

/// How often to look whether attempts have ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How much longer than an attempt their end is waited for. What has not ended then is attempted again by the other node.
const RECORDING: Duration = Duration::from_secs(1);

impl WebhookRouter {
    /// Gives some of them up, and comes back for the rest.
    pub(super) fn hand_over(&mut self, ctx: &mut Context<Self>) {
        if self.is_handing_over {
            return;
        }
        let view = self.services.leases.view();
        let mut leaving = Vec::new();
        let mut leases = Vec::new();
        {
            let view = view.borrow();
            let others = self.links().filter(|link| !view.is_preferred(link.lease.name()));
            for link in others.take(AT_ONCE) {
                leaving.push(link.lane.clone());
                leases.push(link.lease.clone());
            }
        }
        if leaving.is_empty() {
            return;
        }
        self.is_handing_over = true;
        let services = Arc::clone(&self.services);
        let handing_over = async move {
            drain(&services, &leaving).await;
            if let Err(error) = services.leases.release(leases).await {
                tracing::warn!(%error, "lanes could not be handed over to another node");
            }
        };
        ctx.spawn(handing_over.into_actor(self).map(|(), router, ctx| {
            router.is_handing_over = false;
            // The lanes whose leases were given back end.
            ctx.notify(ReconcileLanes(ReconcileCause::Change));
        }));
    }
}

/// Waits until nothing of these lanes is attempted any more, but not for ever.
async fn drain(services: &LaneServices, lanes: &[Addr<WebhookLane>]) {
    let draining = async {
        loop {
            let mut in_flight = 0;
            for lane in lanes {
                in_flight += lane.send(DrainLane).await.unwrap_or_default();
            }
            if in_flight == 0 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _late = tokio::time::timeout(services.settings.attempt_timeout + RECORDING, draining).await;
}
