//! The feed goes on whoever follows it, and takes together what is there.

use amoiq_events::{
    Ambient, StreamName,
    event::EventCause,
    node::{NodeEvent, NodeStarted},
    store::{ExpectedVersion, memory::MemoryStore},
};

use actix::Arbiter;
use amoiq_actors::presence::{PresenceHandle, PresenceSettings, PresenceSignals};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

async fn append(store: &MemoryStore, ambient: &Ambient) -> Position {
    let cause = EventCause { causation: "test".into(), actor: "test".into() };
    let event = Event::Node(NodeEvent::Started(NodeStarted { release: "1".to_owned() }));
    let events = vec![event.envelope(ambient, &cause)];
    store.append(StreamName::node("node"), ExpectedVersion::Any, events).await.unwrap().position
}

#[actix_web::test]
async fn when_the_thread_that_follows_the_log_ends_another_goes_on() {
    let (store, ambient) = (MemoryStore::new(), Ambient::system());
    let log: Arc<dyn EventLog> = Arc::new(store.clone());
    let (tells, signals) = PresenceSignals::new();
    let settings = PresenceSettings { offline_grace: Duration::ZERO, batch: Duration::ZERO };
    let presence = PresenceHandle::start(settings, &log, &ambient, &tells);
    let users = OnlineUsers::start(&log, Position::START, PATIENCE, &tells, presence);
    let offsets: OffsetWriter = Arc::new(|offset| offset.to_string());
    let presence = PresenceFeed { signals, users };
    let feed = EventFeed::new(log, Position::START, Arc::default(), offsets, presence);
    let mut reached = feed.reached.subscribe();
    for _ in 0..3 {
        let thread = Arbiter::new();
        let follows = Arc::clone(&feed);
        thread.spawn_fn(move || follows.follow_here());
        let position = append(&store, &ambient).await;
        let all = reached.wait_for(|reached| *reached == position);
        tokio::time::timeout(PATIENCE, all).await.expect("it is followed").expect("it is there");
        thread.stop();
    }
}

#[actix_web::test]
async fn what_was_appended_meanwhile_goes_out_together_up_to_a_bound() {
    let (store, ambient) = (MemoryStore::new(), Ambient::system());
    for _ in 0..=MOST_EVENTS {
        append(&store, &ambient).await;
    }
    let mut subscription = store.subscribe(Position::START);
    let mut together = Vec::new();
    while let Some(first) = subscription.next_if_ready().await {
        together.push(1 + ready_after(first.events.len(), &mut subscription).await.len());
    }
    assert_eq!(together, [MOST_EVENTS, 1], "each was a commit of its own");
}
