//! What must hold of everything that the receivers saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use amoiq_events::{EventId, EventStore, Position, RecordedEvent, SessionId, TenantId, stream::StreamKind};

use tokio::time::Instant;

use super::{
    Asked, EndpointName, World, endpoints,
    receivers::{Arrival, INSTANT},
};

/// Compares what came with the log.
pub(super) async fn judge(world: &World) {
    let log = read(world).await;
    for endpoint in endpoints() {
        let arrivals = world.receivers.arrivals(&endpoint);
        let expected = messages(&log, &endpoint.0);
        assert_from_the_log(&arrivals, &expected, &endpoint);
        assert_complete(&arrivals, &expected, &endpoint);
        assert_in_order(&arrivals, &endpoint);
        if !world.receivers.was_asked_again(&endpoint) {
            assert_few_repeats(&arrivals, world, &endpoint);
        }
    }
    for asked in world.replays.borrow().iter() {
        assert_replayed(
            &world.receivers.arrivals(&asked.endpoint),
            &messages(&log, &asked.endpoint.0),
            asked,
        );
    }
}

async fn read(world: &World) -> Vec<RecordedEvent> {
    let mut log: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = log.last().map(|event| event.position).unwrap_or_default();
        let events = world.memory.read_all(after, 1_000).await.expect("memory can be read");
        if events.is_empty() {
            return log;
        }
        log.extend(events);
    }
}

/// A tenant's messages in the log.
fn messages(log: &[RecordedEvent], tenant: &TenantId) -> BTreeMap<EventId, (Position, SessionId)> {
    let of_tenant = |event: &RecordedEvent| match event.stream.kind() {
        Some(StreamKind::Session(of, session)) if of == *tenant && event.event.kind == "message.created" => {
            Some((event.event.id, (event.position, session)))
        }
        _ => None,
    };
    log.iter().filter_map(of_tenant).collect()
}

/// Nothing of another tenant, nothing that is not in the log, nothing under another id.
fn assert_from_the_log(
    arrivals: &[Arrival],
    expected: &BTreeMap<EventId, (Position, SessionId)>,
    endpoint: &EndpointName,
) {
    for arrival in arrivals {
        assert_eq!(arrival.tenant, endpoint.0, "{endpoint:?} saw another tenant's message");
        let known = expected.get(&arrival.event);
        assert_eq!(known, Some(&(arrival.position, arrival.session.clone())), "{endpoint:?}: {arrival:?}");
    }
}

/// Every message was taken, and the service heard so.
fn assert_complete(
    arrivals: &[Arrival],
    expected: &BTreeMap<EventId, (Position, SessionId)>,
    endpoint: &EndpointName,
) {
    let taken: BTreeSet<_> =
        arrivals.iter().filter(|arrival| arrival.heard_at.is_some()).map(|arrival| arrival.event).collect();
    let missing: Vec<_> = expected.iter().filter(|(event, _)| !taken.contains(event)).collect();
    assert!(missing.is_empty(), "{endpoint:?} never took {missing:?}");
}

/// After dropping repeats, and what was only tried, a session's messages came in the log's order.
fn assert_in_order(arrivals: &[Arrival], endpoint: &EndpointName) {
    let mut seen = BTreeSet::new();
    let mut last: HashMap<&SessionId, Position> = HashMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.is_taken) {
        if !seen.insert(arrival.event) {
            continue;
        }
        let before = last.insert(&arrival.session, arrival.position).unwrap_or_default();
        assert!(before < arrival.position, "{endpoint:?}: {arrival:?} came after {before}");
    }
}

/// What was taken and heard came again only when the crash was too close for it to be noted.
fn assert_few_repeats(arrivals: &[Arrival], world: &World, endpoint: &EndpointName) {
    let mut heard: HashMap<EventId, (Instant, usize)> = HashMap::new();
    for arrival in arrivals {
        if let Some((at, life)) = heard.get(&arrival.event) {
            assert!(world.receivers.could_not_note(*at, *life), "{endpoint:?}: {arrival:?} came again");
        }
        if let Some(at) = arrival.heard_at {
            heard.insert(arrival.event, (at, arrival.life));
        }
    }
}

/// Everything in a replay's range was taken after it was asked for.
fn assert_replayed(arrivals: &[Arrival], expected: &BTreeMap<EventId, (Position, SessionId)>, asked: &Asked) {
    let since = asked.at - INSTANT;
    let taken: BTreeSet<_> = arrivals
        .iter()
        .filter(|arrival| arrival.heard_at.is_some_and(|at| at >= since))
        .map(|arrival| arrival.event)
        .collect();
    let wanted =
        expected.iter().filter(|(_, (position, _))| asked.after < *position && *position <= asked.until);
    let missing: Vec<_> = wanted.filter(|(event, _)| !taken.contains(event)).collect();
    assert!(missing.is_empty(), "{asked:?}: never again {missing:?}");
}
