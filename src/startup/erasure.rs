//! What goes: sessions that an operator erases, and what is older than `[retention]` keeps.

use std::{path::Path, sync::Arc, time::Duration};

use amoiq_actors::{
    erasure::{EraserHandle, ErasureTargets},
    retention::{RetentionSettings, RetentionTask},
    webhooks::WebhooksHandle,
};
use amoiq_events::{Ambient, EventStore};

use super::parts::Parts;
use crate::config;

/// Starts both.
pub(super) fn start(
    retention: &config::Retention,
    data: &Path,
    parts: &Parts,
    webhooks: WebhooksHandle,
    store: &Arc<dyn EventStore>,
    ambient: &Ambient,
) -> EraserHandle {
    let inbox = (**parts.inbox).clone();
    let eraser = EraserHandle::start(ErasureTargets {
        directory: (**parts.directory).clone(),
        inbox: inbox.clone(),
        proven: parts.proven.clone(),
        presence: parts.online.presence.clone(),
        webhooks,
        store: Arc::clone(store),
        data: Some(data.to_owned()),
    });
    let settings = RetentionSettings {
        presence: days(retention.presence_days),
        sessions: days(retention.sessions_days),
    };
    RetentionTask::start(eraser.clone(), inbox, Arc::clone(store), ambient.clone(), settings);
    eraser
}

/// So many days; nothing for ever.
fn days(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
}
