//! What must hold of everything that the receivers saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use amoiq_events::{EventId, EventStore, Position, RecordedEvent, SessionId, TenantId, stream::StreamKind};

use super::{EndpointName, World, endpoints, receivers::Arrival};

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
            assert_few_repeats(&arrivals, world.settings.throttle.in_flight, &endpoint);
        }
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
        arrivals.iter().filter(|arrival| arrival.is_heard).map(|arrival| arrival.event).collect();
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

/// What was taken and heard came again only as often as crashes could interrupt its being noted.
fn assert_few_repeats(arrivals: &[Arrival], in_flight: usize, endpoint: &EndpointName) {
    let mut heard: HashMap<EventId, u32> = HashMap::new();
    let mut repeats: BTreeMap<u32, usize> = BTreeMap::new();
    for arrival in arrivals {
        if let Some(life) = heard.get(&arrival.event) {
            assert!(*life < arrival.life, "{endpoint:?}: {arrival:?} came again without a crash");
            *repeats.entry(*life).or_default() += 1;
        }
        if arrival.is_heard {
            heard.insert(arrival.event, arrival.life);
        }
    }
    for (life, repeated) in repeats {
        assert!(repeated <= in_flight, "{endpoint:?}: {repeated} repeats of what life {life} had delivered");
    }
}
