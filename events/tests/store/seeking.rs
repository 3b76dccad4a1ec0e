//! Contract: a time is found in the log, although clocks jitter and events are removed.

use amoiq_events::{NewEvent, Position, StreamName, Timestamp, store::ExpectedVersion};

use crate::given::{Given, event, within};

/// Appends events of these times. Returns the position of each.
async fn has_times(given: &Given, times: &[i64]) -> Vec<Position> {
    let mut positions = Vec::new();
    for (number, time) in (1..).zip(times) {
        let event = NewEvent { time: Timestamp::from_millis(*time), ..event(number) };
        let append = given.store().append(StreamName::node("n"), ExpectedVersion::Any, vec![event]);
        positions.push(within(append).await.expect("appended").position);
    }
    positions
}

async fn at(given: &Given, time: i64) -> Position {
    within(given.store().position_at(Timestamp::from_millis(time))).await.expect("read")
}

pub(crate) async fn reading_after_the_position_starts_with_the_first_event_of_the_time(given: &mut Given) {
    let times: Vec<i64> = (1..=300).map(|number| number * 60_000).collect();
    let positions = has_times(given, &times).await;
    assert_eq!(at(given, 0).await, Position::START);
    assert_eq!(at(given, 60_000).await, Position::START);
    for number in 1..300 {
        let time = times[number];
        assert_eq!(at(given, time).await, positions[number - 1], "the very time of event {number}");
        assert_eq!(at(given, time - 1).await, positions[number - 1], "before event {number}");
        assert_eq!(at(given, time + 1).await, positions[number], "after event {number}");
    }
}

pub(crate) async fn a_time_after_all_events_is_the_end_of_the_log(given: &mut Given) {
    assert_eq!(at(given, 31).await, Position::START);
    let positions = has_times(given, &[10, 20, 30]).await;
    assert_eq!(at(given, 31).await, positions[2]);
    assert_eq!(at(given, i64::MAX).await, positions[2]);
}

pub(crate) async fn events_of_the_same_time_are_all_after_the_position(given: &mut Given) {
    let positions = has_times(given, &[10, 20, 20, 20, 30]).await;
    assert_eq!(at(given, 20).await, positions[0]);
    assert_eq!(at(given, 21).await, positions[3]);
}

pub(crate) async fn every_event_after_the_position_has_the_time_although_clocks_jitter(given: &mut Given) {
    // Each time is up to 9.9 s away from its place in the order.
    let times: Vec<i64> = (0..4_000_i64).map(|number| number * 100 + (number * 7_919) % 9_900).collect();
    let positions = has_times(given, &times).await;
    for time in (0..400_000).step_by(9_973) {
        let last_before = times.iter().rposition(|known| *known < time);
        let expected = last_before.map_or(Position::START, |index| positions[index]);
        assert_eq!(at(given, time).await, expected, "{time}");
    }
}

pub(crate) async fn removed_events_are_no_obstacle(given: &mut Given) {
    has_times(given, &[10, 20, 30]).await;
    given.delete(&StreamName::node("n")).await;
    assert_eq!(at(given, 20).await, Position::START);
}
