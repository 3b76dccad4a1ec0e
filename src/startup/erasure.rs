//! Deletion: sessions that an operator erases, and whatever is older than `[retention]` allows.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{
    erasure::{EraserHandle, ErasureTargets},
    retention::{RetentionSettings, RetentionTask},
    timing::NodeDuty,
    webhooks::WebhooksHandle,
};

use super::{app_services::AppServices, core_services::CoreServices};

/// Starts both.
pub(super) fn start(core: &CoreServices, services: &AppServices, webhooks: WebhooksHandle) -> EraserHandle {
    let inbox = (**services.inbox).clone();
    let eraser = EraserHandle::start(ErasureTargets {
        directory: (**services.directory).clone(),
        inbox: inbox.clone(),
        proven: services.proven.clone(),
        presence: services.online.presence.clone(),
        webhooks,
        store: Arc::clone(&core.store),
        data: Some(core.data_directory().to_owned()),
    });
    let settings = RetentionSettings {
        presence: days(core.config.retention.presence_days),
        sessions: days(core.config.retention.sessions_days),
    };
    let duty = NodeDuty::new(Arc::clone(&core.node.leases), "retention");
    RetentionTask::start(eraser.clone(), inbox, duty, core.ambient.clone(), settings);
    eraser
}

/// A number of days; 0 stands for no limit.
fn days(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
}
