//! What may be tried next, and how far a cursor may go.

use amoiq_events::{
    EventId, MessageId, MessageText, TenantId,
    session::{MessageCreated, Sender},
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);

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
        next_at: Some(NOW),
        holds: true,
        changed_at: NOW,
    }
}

fn announcement(delivery: &Delivery) -> Arc<Announcement> {
    Arc::new(Announcement {
        event_id: delivery.event_id,
        position: delivery.position,
        time: NOW,
        tenant: TenantId::parse("acme").unwrap(),
        session: delivery.session.clone(),
        message: MessageCreated {
            message_id: delivery.message_id,
            seq: 1,
            text: MessageText::parse("hello", 10).unwrap(),
            sender: Sender::User,
            user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            page: None,
        },
    })
}

fn fresh(backlog: &mut Backlog, position: u64, name: &str) {
    let delivery = delivery(position, name);
    let announcement = announcement(&delivery);
    backlog.add(delivery, Origin::Live, Some(announcement));
}

fn started(backlog: &mut Backlog) -> Vec<u64> {
    std::iter::from_fn(|| backlog.start(NOW)).map(|next| next.delivery.position.as_u64()).collect()
}

fn delivered(position: u64, name: &str) -> Delivery {
    Delivery { status: DeliveryStatus::Delivered, next_at: None, ..delivery(position, name) }
}

fn failed(position: u64, name: &str) -> Delivery {
    Delivery { tries: 1, next_at: Some(NOW.plus_millis(5_000)), ..delivery(position, name) }
}

fn cursor(backlog: &Backlog, read: u64) -> u64 {
    backlog.cursor(Origin::Live, Position::from_u64(read), &BTreeSet::new()).as_u64()
}

#[test]
fn of_a_session_only_the_first_is_tried() {
    let mut backlog = Backlog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "b")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(started(&mut backlog), [1, 3]);
    backlog.finish(delivered(1, "a"));
    assert_eq!(started(&mut backlog), [2]);
}

#[test]
fn the_cursor_waits_for_what_is_not_written() {
    let mut backlog = Backlog::default();
    for (position, name) in [(4, "a"), (6, "b")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(cursor(&backlog, 9), 3);
    backlog.finish(delivered(4, "a"));
    assert_eq!(cursor(&backlog, 9), 3, "it is delivered, but nothing says so yet");
    let writing = BTreeSet::from([Position::from_u64(4)]);
    assert_eq!(backlog.cursor(Origin::Live, Position::from_u64(9), &writing).as_u64(), 5);
    backlog.written(Position::from_u64(4));
    backlog.finish(delivered(6, "b"));
    backlog.written(Position::from_u64(6));
    assert_eq!(cursor(&backlog, 9), 9);
}

#[test]
fn a_failure_is_stored_with_its_followers_and_blocks_only_its_session() {
    let mut backlog = Backlog::default();
    for (position, name) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
        fresh(&mut backlog, position, name);
    }
    assert_eq!(started(&mut backlog), [1, 3]);
    let written = backlog.finish(failed(1, "a"));
    assert_eq!(written.iter().map(|delivery| delivery.position.as_u64()).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(backlog.is_blocked(&session("a")) && !backlog.is_blocked(&session("b")));
    assert_eq!(started(&mut backlog), [0; 0]);
    assert_eq!(backlog.next_due(), Some(NOW.plus_millis(5_000)));
    assert_eq!(backlog.fresh_bytes(), 5, "only that of the other session is kept");
}

#[test]
fn a_delivery_that_was_asked_for_again_holds_nobody() {
    let mut backlog = Backlog::default();
    backlog.add(Delivery { holds: false, ..delivery(1, "a") }, Origin::Stored, None);
    fresh(&mut backlog, 5, "a");
    assert_eq!(started(&mut backlog), [1, 5]);
    assert_eq!(cursor(&backlog, 9), 4);
    backlog.finish(Delivery { holds: false, ..failed(1, "a") });
    assert!(!backlog.is_blocked(&session("a")));
}

#[test]
fn what_a_replay_brings_goes_before_what_is_newer() {
    let mut backlog = Backlog::default();
    fresh(&mut backlog, 7, "a");
    let older = delivery(3, "a");
    let text = announcement(&older);
    backlog.add(older, Origin::Replay, Some(text));
    assert_eq!(started(&mut backlog), [3]);
    assert_eq!(cursor(&backlog, 9), 6, "a replay does not hold the lane's own cursor");
    backlog.finish(delivered(3, "a"));
    assert_eq!(started(&mut backlog), [7]);
}

#[test]
fn what_is_hurried_is_due_from_the_beginning_of_its_schedule() {
    let mut backlog = Backlog::default();
    fresh(&mut backlog, 1, "a");
    started(&mut backlog);
    backlog.finish(failed(1, "a"));
    let hurried = backlog.hurry(Position::from_u64(1), NOW).unwrap();
    assert_eq!((hurried.tries, hurried.next_at), (0, Some(NOW)));
    assert_eq!(started(&mut backlog), [1]);
    assert_eq!(backlog.len(), 1);
}

#[test]
fn what_a_replay_brought_holds_the_lanes_own_cursor_once_that_came_by() {
    let mut backlog = Backlog::default();
    let older = delivery(3, "a");
    let text = announcement(&older);
    backlog.add(older, Origin::Replay, Some(text));
    assert_eq!(cursor(&backlog, 9), 9);
    backlog.meet(Position::from_u64(3));
    assert_eq!(cursor(&backlog, 9), 2);
}

#[test]
fn what_is_asked_for_again_before_its_end_is_noted_is_tried_again() {
    let mut backlog = Backlog::default();
    fresh(&mut backlog, 4, "a");
    started(&mut backlog);
    backlog.finish(delivered(4, "a"));
    backlog.add_again(Delivery { holds: false, ..delivery(4, "a") });
    assert_eq!(cursor(&backlog, 9), 3, "that it was delivered is not written yet");
    assert_eq!(started(&mut backlog), [4]);
    backlog.written(Position::from_u64(4));
    assert_eq!((cursor(&backlog, 9), backlog.len()), (9, 1));
}
