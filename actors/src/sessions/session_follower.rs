//! What other nodes append about sessions and this node remembers: which sessions were erased, and which users a secret
//! key vouched for. With one node there is nothing to follow.
//!
//! It is late by the time that following the log takes, and everything holds meanwhile that the log itself decides: an
//! append on an outdated state is refused, and a page is read from the log.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Event, EventLog, Position, RecordedEvent, StreamName, codec, session::SessionEvent, tenant::TenantEvent,
};

use super::{proven_users::ProvenUsers, session_directory::SessionDirectory};
use crate::inbox::InboxView;

/// The events that matter here, by their types: others are not decoded.
const FOLLOWED: [&str; 2] = ["visitor.identified", "session.erased"];

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long it waits for the inbox to fold an erasure.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// Follows what other nodes append.
pub struct SessionFollower {
    directory: SessionDirectory,
    proven: ProvenUsers,
    inbox: InboxView,
}

impl SessionFollower {
    /// Starts it on the caller's arbiter, if other nodes may append to the log. `from` is a position up to which this node
    /// remembers nothing.
    pub fn start(
        log: &Arc<dyn EventLog>,
        from: Position,
        directory: SessionDirectory,
        proven: ProvenUsers,
        inbox: InboxView,
    ) {
        if log.is_shared() {
            let follower = Self { directory, proven, inbox };
            let mut subscription = log.subscribe(from);
            actix::spawn(async move {
                loop {
                    match subscription.next().await {
                        Ok(Some(batch)) => follower.fold(&batch.events, batch.upto).await,
                        Ok(None) => return,
                        Err(error) => {
                            tracing::error!(%error, "sessions wait for the log and try again");
                            tokio::time::sleep(RETRY_AFTER).await;
                        }
                    }
                }
            });
        }
    }

    async fn fold(&self, events: &[RecordedEvent], upto: Position) {
        let mut erased = false;
        for recorded in events.iter().filter(|event| FOLLOWED.contains(&&*event.event.kind)) {
            // The inbox reports one that does not read.
            let (Some(tenant), Ok(event)) = (recorded.stream.tenant_id(), codec::decode(recorded)) else {
                continue;
            };
            match event {
                Event::Session(SessionEvent::VisitorIdentified(identified)) if identified.verified => {
                    identified.user_id.iter().for_each(|user| self.proven.add(&tenant, user));
                }
                Event::Tenant(TenantEvent::SessionErased(gone)) => {
                    self.directory.forget(StreamName::session(&tenant, &gone.session_id));
                    erased = true;
                }
                _ => {}
            }
        }
        if erased {
            // Without the inbox, a proof counts that is gone: that hides a name for a while.
            let _late = self.inbox.progress().reach(upto, INBOX_PATIENCE).await;
            self.proven.forget();
        }
    }
}
