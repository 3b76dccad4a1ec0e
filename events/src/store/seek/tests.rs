//! Times are found in logs whose positions skip and whose clocks jitter.

use crate::{
    EventId, NewEvent, StreamName,
    store::{ExpectedVersion, memory::MemoryStore},
};

use super::*;

/// A store with events of these times, and where each of them stands.
async fn given(times: &[i64]) -> (MemoryStore, Vec<Position>) {
    let store = MemoryStore::new();
    let mut places = Vec::new();
    for (number, time) in (0..).zip(times) {
        let event = NewEvent {
            id: EventId::from_uuid(uuid::Uuid::from_u128(number)),
            kind: "node.started".into(),
            schema: 1,
            time: Timestamp::from_millis(*time),
            causation: "c".into(),
            actor: "a".into(),
            data: b"{}".as_slice().into(),
        };
        let appended = store.append(StreamName::node("n"), ExpectedVersion::Any, vec![event]).await.unwrap();
        places.push(appended.position);
    }
    (store, places)
}

async fn at(store: &MemoryStore, time: i64) -> Position {
    position_at(store, Timestamp::from_millis(time)).await.unwrap()
}

#[tokio::test]
async fn reading_after_the_place_begins_with_the_first_event_of_the_time() {
    let times: Vec<i64> = (1..=300).map(|number| number * 60_000).collect();
    let (store, places) = given(&times).await;
    assert_eq!(at(&store, 0).await, Position::START);
    assert_eq!(at(&store, 60_000).await, Position::START);
    for number in 1..300 {
        let time = times[number];
        assert_eq!(at(&store, time).await, places[number - 1], "the very time of event {number}");
        assert_eq!(at(&store, time - 1).await, places[number - 1], "before event {number}");
        assert_eq!(at(&store, time + 1).await, places[number], "after event {number}");
    }
}

#[tokio::test]
async fn a_time_after_all_events_is_the_end_of_the_log() {
    let (store, places) = given(&[10, 20, 30]).await;
    assert_eq!(at(&store, 31).await, places[2]);
    assert_eq!(at(&store, i64::MAX).await, places[2]);
    assert_eq!(at(&MemoryStore::new(), 31).await, Position::START);
}

#[tokio::test]
async fn events_of_the_same_time_are_all_behind_the_place() {
    let (store, places) = given(&[10, 20, 20, 20, 30]).await;
    assert_eq!(at(&store, 20).await, places[0]);
    assert_eq!(at(&store, 21).await, places[3]);
}

#[tokio::test]
async fn every_event_after_the_place_has_the_time_although_clocks_jitter() {
    // Each is up to 9.9 s off its place in the order.
    let times: Vec<i64> = (0..4_000_i64).map(|number| number * 100 + (number * 7_919) % 9_900).collect();
    let (store, places) = given(&times).await;
    for time in (0..400_000).step_by(9_973) {
        let last_before = times.iter().rposition(|known| *known < time);
        let expected = last_before.map_or(Position::START, |index| places[index]);
        assert_eq!(at(&store, time).await, expected, "{time}");
    }
}

#[tokio::test]
async fn what_was_removed_is_no_obstacle() {
    let (store, _) = given(&[10, 20, 30]).await;
    store.delete(StreamName::node("n")).await.unwrap();
    assert_eq!(at(&store, 20).await, Position::START);
}
