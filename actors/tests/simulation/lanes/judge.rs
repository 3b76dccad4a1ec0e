//! What must hold of everything that the receivers saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use amoiq_events::{
    EventId, Position, RecordedEvent, SessionId, TenantId, store::LogReader, stream::StreamKind,
};

use tokio::time::Instant;

use super::{
    Asked, EndpointName, World,
    given_endpoints::endpoints,
    receivers::{Arrival, INSTANT},
};

/// An endpoint with so many places has room for everything that is refused.
const ROOMY: usize = 1_000;

/// Compares the received messages with the log.
pub(super) async fn judge(world: &World) {
    let log = read(world).await;
    for endpoint in endpoints() {
        let arrivals = world.receivers.arrivals(&endpoint);
        let expected = messages(&log, &endpoint.0);
        assert_from_the_log(&arrivals, &expected, &endpoint);
        assert_complete(&arrivals, &expected, &endpoint, world);
        assert_in_order(&arrivals, &endpoint, world);
        // A node that takes a lane over makes attempts again that were not recorded.
        if !world.receivers.was_asked_again(&endpoint) && world.nodes == 1 {
            assert_few_repeats(&arrivals, world, &endpoint);
        }
    }
    for asked in world.replays.borrow().iter() {
        let arrivals = world.receivers.arrivals(&asked.endpoint);
        assert_replayed(&arrivals, &messages(&log, &asked.endpoint.0), asked, world);
    }
}

async fn read(world: &World) -> Vec<RecordedEvent> {
    let mut log: Vec<RecordedEvent> = Vec::new();
    let mut pages = LogReader::all(&world.memory, Position::START);
    while let Some(events) = pages.next_page().await.expect("memory can be read") {
        log.extend(events);
    }
    log
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

/// Every message was accepted, and the service knows it, unless it is excused.
fn assert_complete(
    arrivals: &[Arrival],
    expected: &BTreeMap<EventId, (Position, SessionId)>,
    endpoint: &EndpointName,
    world: &World,
) {
    let taken: BTreeSet<_> =
        arrivals.iter().filter(|arrival| arrival.heard_at.is_some()).map(|arrival| arrival.event).collect();
    let excused = excused(arrivals, endpoint, world);
    let missing: Vec<_> = expected
        .iter()
        .filter(|(event, (position, session))| !taken.contains(event) && !excused(event, *position, session))
        .collect();
    assert!(missing.is_empty(), "{endpoint:?} never took {missing:?}");
}

/// What does not have to be taken: its owner let go of it, or it was refused where there is not room for all that is.
fn excused<'a>(
    arrivals: &[Arrival],
    endpoint: &'a EndpointName,
    world: &'a World,
) -> impl Fn(&EventId, Position, &SessionId) -> bool + use<'a> {
    let refused = arrivals.iter().filter(|arrival| arrival.refused_at.is_some());
    let refused: BTreeSet<_> = refused.map(|arrival| arrival.event).collect();
    move |event, position, session| {
        let is_given_up = world.settings.pending < ROOMY && refused.contains(event);
        is_given_up || world.receivers.was_skipped(endpoint, session, position)
    }
}

/// Without repeats and failed attempts, a session's messages came in the log's order; only a message that was refused while
/// others were accepted, or that its owner skipped, may come after later ones.
fn assert_in_order(arrivals: &[Arrival], endpoint: &EndpointName, world: &World) {
    let mut seen = BTreeSet::new();
    let mut last: HashMap<&SessionId, &Arrival> = HashMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.is_taken) {
        if !seen.insert(arrival.event) {
            continue;
        }
        let before = last.get(&arrival.session).filter(|before| before.position > arrival.position);
        if let Some(before) = before {
            let may = world.receivers.was_skipped(endpoint, &arrival.session, arrival.position)
                || was_set_aside(arrivals, arrival, before);
            assert!(may, "{endpoint:?}: {arrival:?} came after {before:?}");
        } else {
            last.insert(&arrival.session, arrival);
        }
    }
}

/// Whether a message may have been set aside by the time another one came: it was refused, then one of another session
/// was taken, and then it was refused again.
fn was_set_aside(arrivals: &[Arrival], late: &Arrival, before: &Arrival) -> bool {
    let refusals = || {
        let of_it = arrivals.iter().filter(|arrival| arrival.event == late.event);
        of_it.filter_map(|arrival| arrival.refused_at).filter(|at| *at <= before.arrived_at)
    };
    let (Some(first), Some(last)) = (refusals().min(), refusals().max()) else { return false };
    arrivals.iter().any(|other| {
        other.session != late.session && other.heard_at.is_some_and(|at| first <= at && at <= last)
    })
}

/// A message whose acceptance the service knew came again only if a crash was too close for recording it.
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

/// Everything in a replay's range was taken after it was asked for, unless it is excused.
fn assert_replayed(
    arrivals: &[Arrival],
    expected: &BTreeMap<EventId, (Position, SessionId)>,
    asked: &Asked,
    world: &World,
) {
    let excused = excused(arrivals, &asked.endpoint, world);
    let since = asked.at - INSTANT;
    let taken: BTreeSet<_> = arrivals
        .iter()
        .filter(|arrival| arrival.heard_at.is_some_and(|at| at >= since))
        .map(|arrival| arrival.event)
        .collect();
    let wanted =
        expected.iter().filter(|(_, (position, _))| asked.after < *position && *position <= asked.until);
    let missing: Vec<_> = wanted
        .filter(|(event, (position, session))| !taken.contains(event) && !excused(event, *position, session))
        .collect();
    assert!(missing.is_empty(), "{asked:?}: never again {missing:?}");
}
