//! A tenant: its settings, keys and webhooks, and who was online.

use std::collections::BTreeMap;

use amoiq_events::{
    Event, EventStore, Position, StreamName, TenantId, Timestamp, UserId, Version, codec,
    presence::{PresenceEvent, UserOnline},
    store::{LogReader, MAX_READ_EVENTS},
    tenant::Tenant,
};
use serde_json::{Value, json};

/// The tenant as it was at a position.
pub(super) async fn at(log: &dyn EventStore, tenant: &TenantId, at: Position) -> anyhow::Result<Value> {
    let mut state = Tenant::default();
    super::stream(log, StreamName::tenant(tenant), at, |recorded| {
        if let Event::Tenant(event) = codec::decode(recorded)? {
            state.apply(&event, recorded.moment());
        }
        Ok(())
    })
    .await?;
    anyhow::ensure!(state.version() > Version::NONE, "there was no such tenant at position {at}");
    let keys = state.keys().map(|key| {
        let issued = &key.issued;
        json!({
            "id": issued.key_id, "kind": issued.kind, "source": issued.source, "name": issued.name,
            "created": key.created,
        })
    });
    let webhooks = state.webhooks().map(|(id, webhook)| {
        let settings = &webhook.settings;
        // The values of headers may be the customer's secrets: only their names are shown.
        json!({
            "id": id, "url": settings.url, "events": settings.events, "description": settings.description,
            "headers": settings.headers.keys().collect::<Vec<_>>(), "ratePerSecond": settings.rate_per_second,
            "status": webhook.status.as_str(), "reason": webhook.status.reason(), "source": webhook.source,
            "registeredAt": webhook.registered.time,
        })
    });
    let settings = state
        .settings()
        .map(|known| json!({"name": known.name, "origins": known.origins, "source": known.source}));
    Ok(json!({
        "tenant": tenant, "position": at, "version": state.version(), "settings": settings,
        "keys": keys.collect::<Vec<_>>(), "webhooks": webhooks.collect::<Vec<_>>(),
        "online": online(log, tenant, at).await?,
    }))
}

/// Who was online, in the order in which they came. Nobody is online when a process starts.
async fn online(log: &dyn EventStore, tenant: &TenantId, at: Position) -> anyhow::Result<Vec<Value>> {
    let began = last_start(log, at).await?;
    // Read backwards, the first event of a user says whether they were online.
    let mut users: BTreeMap<UserId, Option<UserOnline>> = BTreeMap::new();
    let mut events = LogReader::stream_backward(log, StreamName::presence(tenant)).up_to(at);
    while let Some(recorded) = events.next_event().await?
        && recorded.position >= began
    {
        match codec::decode(&recorded)? {
            Event::Presence(PresenceEvent::Online(came)) => {
                users.entry(came.user_id.clone()).or_insert(Some(came));
            }
            Event::Presence(PresenceEvent::Offline(went)) => {
                users.entry(went.user_id).or_insert(None);
            }
            _ => {}
        }
    }
    let mut online: Vec<UserOnline> = users.into_values().flatten().collect();
    online.sort_by_key(|user| -> (Timestamp, UserId) { (user.connected_at, user.user_id.clone()) });
    Ok(online.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

/// The position at which the last process before `at` started.
async fn last_start(log: &dyn EventStore, at: Position) -> anyhow::Result<Position> {
    let mut latest = Position::START;
    for stream in log.streams("node:", None, MAX_READ_EVENTS).await? {
        let start = LogReader::stream_backward(log, stream).up_to(at).next_event().await?;
        latest = latest.max(start.map(|start| start.position).unwrap_or_default());
    }
    Ok(latest)
}
