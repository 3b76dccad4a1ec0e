//! What may be tried next, and how far a cursor may go.

use std::time::Duration;

use amoiq_events::{
    EventId, MessageId, MessageText, TenantId, Timestamp,
    session::{MessageCreated, MessageSender},
};

use super::*;

const DATE: Timestamp = Timestamp::from_millis(1_000);

/// Every test begins at the same moment by its own clock.
fn now() -> ClockReading {
    thread_local!(static START: Instant = Instant::now());
    ClockReading { instant: START.with(|start| *start), date: DATE }
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name).unwrap()
}

fn delivery(position: u64, name: &str) -> Delivery {
    let uuid = uuid::Uuid::from_u128(u128::from(position));
    Delivery {
        position: Position::from_u64(position),
        event_id: EventId::from_uuid(uuid),
        message_id: MessageId::from_uuid(uuid),
        session: session(name),
        status: DeliveryStatus::Pending,
        tries: 0,
        next_at: Some(DATE),
        holds: true,
        refused_at: None,
        changed_at: DATE,
    }
}

fn message(delivery: &Delivery) -> Arc<LoggedMessage> {
    Arc::new(LoggedMessage {
        event_id: delivery.event_id,
        position: delivery.position,
        time: DATE,
        tenant: TenantId::parse("acme").unwrap(),
        session: delivery.session.clone(),
        message: MessageCreated {
            message_id: delivery.message_id,
            seq: 1,
            text: MessageText::parse("hello", 10).unwrap(),
            sender: MessageSender::User,
            author: None,
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            page: None,
            conversation_id: None,
        },
    })
}

fn fresh(backlog: &mut DeliveryBacklog, position: u64, name: &str) {
    let delivery = delivery(position, name);
    let message = message(&delivery);
    backlog.add(delivery, live(position), Some(message), now().instant);
}

fn live(position: u64) -> Option<CursorHold> {
    Some(CursorHold { cursor: LaneCursor::Live, after: Position::from_u64(position - 1) })
}

fn replay(position: u64) -> Option<CursorHold> {
    Some(CursorHold { cursor: LaneCursor::Replay, after: Position::from_u64(position - 1) })
}

fn started(backlog: &mut DeliveryBacklog) -> Vec<u64> {
    std::iter::from_fn(|| backlog.start(now().instant, false))
        .map(|next| next.delivery.position.as_u64())
        .collect()
}

fn delivered(position: u64, name: &str) -> Delivery {
    Delivery { status: DeliveryStatus::Delivered, next_at: None, ..delivery(position, name) }
}

fn failed(position: u64, name: &str) -> Delivery {
    Delivery { tries: 1, next_at: Some(DATE.plus_millis(5_000)), ..delivery(position, name) }
}

/// An attempt ended, and the next is due in five seconds if there is one.
fn finish(backlog: &mut DeliveryBacklog, delivery: Delivery) -> Vec<Delivery> {
    backlog.finish(delivery, later_by(5))
}

fn later_by(seconds: u64) -> Instant {
    now().instant + Duration::from_secs(seconds)
}

fn cursor(backlog: &DeliveryBacklog, read: u64) -> u64 {
    backlog.cursor(LaneCursor::Live, Position::from_u64(read), &BTreeSet::new()).as_u64()
}

#[test]
fn of_a_session_only_the_first_is_tried() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "b")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(started(&mut backlog), [1, 3]);
    finish(&mut backlog, delivered(1, "a"));
    assert_eq!(started(&mut backlog), [2]);
}

#[test]
fn the_cursor_waits_for_what_is_not_written() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(4, "a"), (6, "b")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(cursor(&backlog, 9), 3);
    finish(&mut backlog, delivered(4, "a"));
    assert_eq!(cursor(&backlog, 9), 3, "it is delivered, but nothing says so yet");
    let writing = BTreeSet::from([Position::from_u64(4)]);
    assert_eq!(backlog.cursor(LaneCursor::Live, Position::from_u64(9), &writing).as_u64(), 5);
    backlog.mark_written(Position::from_u64(4));
    finish(&mut backlog, delivered(6, "b"));
    backlog.mark_written(Position::from_u64(6));
    assert_eq!(cursor(&backlog, 9), 9);
}

#[test]
fn a_failure_is_stored_with_its_followers_and_blocks_only_its_session() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(started(&mut backlog), [1, 3]);
    let written = finish(&mut backlog, failed(1, "a"));
    assert_eq!(written.iter().map(|delivery| delivery.position.as_u64()).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(backlog.is_blocked(&session("a")) && !backlog.is_blocked(&session("b")));
    assert_eq!(started(&mut backlog), [0; 0]);
    assert_eq!(backlog.next_due(), Some(later_by(5)));
    assert_eq!(backlog.text_bytes, 5, "only that of the other session is kept");
}

#[test]
fn a_delivery_that_was_asked_for_again_holds_nobody() {
    let mut backlog = DeliveryBacklog::default();
    backlog.add(Delivery { holds: false, ..delivery(1, "a") }, None, None, now().instant);
    fresh(&mut backlog, 5, "a");
    assert_eq!(started(&mut backlog), [1, 5]);
    assert_eq!(cursor(&backlog, 9), 4);
    finish(&mut backlog, Delivery { holds: false, ..failed(1, "a") });
    assert!(!backlog.is_blocked(&session("a")));
}

#[test]
fn what_a_replay_brings_goes_before_what_is_newer() {
    let mut backlog = DeliveryBacklog::default();
    fresh(&mut backlog, 7, "a");
    let older = delivery(3, "a");
    let text = message(&older);
    backlog.add(older, replay(3), Some(text), now().instant);
    assert_eq!(started(&mut backlog), [3]);
    assert_eq!(cursor(&backlog, 9), 6, "a replay does not hold the lane's own cursor");
    finish(&mut backlog, delivered(3, "a"));
    assert_eq!(started(&mut backlog), [7]);
}

#[test]
fn what_is_hurried_is_due_from_the_beginning_of_its_schedule() {
    let mut backlog = DeliveryBacklog::default();
    fresh(&mut backlog, 1, "a");
    started(&mut backlog);
    finish(&mut backlog, failed(1, "a"));
    let hurried = backlog.restart_schedule(Position::from_u64(1), now()).unwrap();
    assert_eq!((hurried.tries, hurried.next_at), (0, Some(DATE)));
    assert_eq!(started(&mut backlog), [1]);
    assert_eq!(backlog.len(), 1);
}

#[test]
fn what_a_replay_brought_holds_the_lanes_own_cursor_once_that_came_by() {
    let mut backlog = DeliveryBacklog::default();
    let older = delivery(3, "a");
    let text = message(&older);
    backlog.add(older, replay(3), Some(text), now().instant);
    assert_eq!(cursor(&backlog, 9), 9);
    backlog.claim_for_live(Position::from_u64(3), Position::from_u64(2));
    assert_eq!(cursor(&backlog, 9), 2);
}

#[test]
fn what_is_asked_for_again_before_its_end_is_noted_is_tried_again() {
    let mut backlog = DeliveryBacklog::default();
    fresh(&mut backlog, 4, "a");
    started(&mut backlog);
    finish(&mut backlog, delivered(4, "a"));
    backlog.add_again(Delivery { holds: false, ..delivery(4, "a") }, now().instant);
    assert_eq!(cursor(&backlog, 9), 3, "that it was delivered is not written yet");
    assert_eq!(started(&mut backlog), [4]);
    backlog.mark_written(Position::from_u64(4));
    assert_eq!((cursor(&backlog, 9), backlog.len()), (9, 1));
}

fn refused(position: u64, name: &str) -> Delivery {
    Delivery { refused_at: Some(DATE), ..failed(position, name) }
}

#[test]
fn a_session_goes_on_behind_what_was_set_aside() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "a")] {
        fresh(&mut backlog, position, name);
    }
    started(&mut backlog);
    finish(&mut backlog, refused(1, "a"));
    assert_eq!(started(&mut backlog), [0; 0]);
    let aside = Delivery { status: DeliveryStatus::Refused, holds: false, ..refused(1, "a") };
    backlog.make_due(Position::from_u64(1), now());
    assert_eq!(started(&mut backlog), [1]);
    finish(&mut backlog, aside);
    assert_eq!((started(&mut backlog), backlog.set_aside()), (vec![2], 1));
    finish(&mut backlog, delivered(2, "a"));
    assert_eq!(started(&mut backlog), [3]);
    backlog.make_due(Position::from_u64(1), now());
    assert_eq!(started(&mut backlog), [1], "it is tried on");
    finish(&mut backlog, delivered(1, "a"));
    assert_eq!((backlog.len(), backlog.set_aside()), (1, 0));
}

#[test]
fn a_probe_goes_to_the_oldest_session_without_a_refusal_else_to_the_oldest() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(started(&mut backlog), [1, 2, 3, 4]);
    for (position, name) in [(1, "a"), (2, "b")] {
        backlog.finish(refused(position, name), now().instant);
    }
    for (position, name) in [(4, "d"), (3, "c")] {
        backlog.finish(failed(position, name), now().instant);
    }
    let probes = std::iter::from_fn(|| backlog.start(now().instant, true));
    assert_eq!(probes.map(|next| next.delivery.position.as_u64()).collect::<Vec<_>>(), [3, 4, 1, 2]);
}

#[test]
fn what_is_taken_out_lets_its_session_go_on_and_what_is_in_flight_stays() {
    let mut backlog = DeliveryBacklog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "a")] {
        fresh(&mut backlog, position, name);
    }
    started(&mut backlog);
    assert_eq!(backlog.remove_idle(Position::from_u64(1)), None, "it is in flight");
    finish(&mut backlog, failed(1, "a"));
    assert_eq!(backlog.remove_idle(Position::from_u64(2)).unwrap().position.as_u64(), 2);
    assert_eq!(backlog.remove_idle(Position::from_u64(1)).unwrap().position.as_u64(), 1);
    assert_eq!(started(&mut backlog), [3]);
    assert_eq!(cursor(&backlog, 9), 0, "that they were taken out is not written yet");
}
