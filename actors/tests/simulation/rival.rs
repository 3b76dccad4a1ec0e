//! Another node that writes to the same streams without the directory: correctly, but at the worst times,
//! so that an actor's state is outdated.

use std::rc::Rc;

use amoiq_events::{
    Event, EventLog, Version, codec,
    event::EventCause,
    session::{Session, SessionCaller, SessionCommand},
    store::{ExpectedVersion, MAX_READ_EVENTS, ReadDirection},
};
use tokio::time::sleep;

use crate::{client::Intent, world::World};

/// How often it writes, at most.
const WRITES: u64 = 12;

/// It waits less than this between two writes, so that it often meets an append underway.
const PAUSE_MILLIS: u64 = 10;

/// Writes for a while.
pub(crate) async fn write(world: Rc<World>) {
    for _ in 0..world.dice.below(WRITES) {
        sleep(world.dice.millis_below(PAUSE_MILLIS)).await;
        say(&world, &Intent::new(&world, "rival")).await;
    }
}

async fn say(world: &World, intent: &Intent) {
    let stream = intent.stream();
    let from = Version::from_u64(1);
    let events =
        world.memory.read_stream(stream.clone(), from, ReadDirection::Forward, MAX_READ_EVENTS).await;
    let mut session = Session::default();
    for recorded in events.expect("memory can be read") {
        if let Ok(Event::Session(event)) = codec::decode(&recorded) {
            session.apply(&event);
        }
    }
    // Verified users use the directory alone: which node knows them first is not tested here.
    if matches!(intent.caller, SessionCaller::Verified(_)) {
        return;
    }
    let command = SessionCommand::SendMessage(Box::new(intent.message(world)));
    let Ok(events) = session.decide(&command, world.settings.session.max_events) else { return };
    let cause = EventCause { causation: "request".into(), actor: "rival".into() };
    let envelopes = events.into_iter().map(|event| Event::Session(event).envelope(&world.ambient, &cause));
    let expected = ExpectedVersion::Exact(session.version());
    world.memory.append(stream, expected, envelopes.collect()).await.expect("nobody wrote in between");
}
