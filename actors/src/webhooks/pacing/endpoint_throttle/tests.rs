//! How hard an endpoint is pressed.

use super::*;

fn throttle() -> (EndpointThrottle, Instant) {
    let settings = ThrottleSettings {
        in_flight: 16,
        breaker_failures: 3,
        breaker_min: Duration::from_secs(1),
        breaker_max: Duration::from_secs(60),
    };
    (EndpointThrottle::new(settings, None), Instant::now())
}

/// How long from `start` on nothing may begin.
fn wait_ms(throttle: &EndpointThrottle, start: Instant) -> Option<u128> {
    throttle.ready_at().map(|at| at.duration_since(start).as_millis())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_window_grows_with_success_and_shrinks_with_failure() {
    let (mut throttle, now) = throttle();
    assert_eq!(throttle.window(), 4);
    (0..5).for_each(|_| throttle.succeed());
    assert_eq!(throttle.window(), 16);
    throttle.fail(now, now, EndpointFailure::Refusal, None);
    assert_eq!(throttle.window(), 16, "a refusal does not say that it is too much");
    throttle.fail(now, now, EndpointFailure::Answer, None);
    assert_eq!(throttle.window(), 8);
}

/// An attempt that begins and fails so long after the start.
fn fail_at(throttle: &mut EndpointThrottle, at: Instant, failure: EndpointFailure) {
    throttle.fail(at, at, failure, None);
}

#[test]
fn failures_in_a_row_open_the_breaker_and_a_success_closes_it() {
    let (mut throttle, now) = throttle();
    (0..2).for_each(|_| fail_at(&mut throttle, now, EndpointFailure::Silence));
    assert_eq!((throttle.is_open(), wait_ms(&throttle, now)), (false, None));
    fail_at(&mut throttle, now, EndpointFailure::Silence);
    assert_eq!((throttle.window(), wait_ms(&throttle, now)), (1, Some(1_000)));
    fail_at(&mut throttle, now + seconds(1), EndpointFailure::Silence);
    assert_eq!(wait_ms(&throttle, now), Some(1_000 + 2_000));
    (2..102).for_each(|second| fail_at(&mut throttle, now + seconds(second), EndpointFailure::Silence));
    assert_eq!(wait_ms(&throttle, now), Some(101_000 + 60_000));
    throttle.succeed();
    assert_eq!((throttle.is_open(), wait_ms(&throttle, now)), (false, None));
}

#[test]
fn the_breaker_waits_no_longer_than_five_seconds_while_the_endpoint_answers() {
    for failure in [EndpointFailure::Refusal, EndpointFailure::Answer] {
        let (mut throttle, now) = throttle();
        (0..100).for_each(|second| fail_at(&mut throttle, now + seconds(second), failure));
        assert_eq!(wait_ms(&throttle, now), Some(99_000 + 5_000), "{failure:?}");
    }
}

#[test]
fn the_first_waits_after_refusals_are_a_part_of_a_second() {
    let (mut throttle, now) = throttle();
    (0..2).for_each(|_| fail_at(&mut throttle, now, EndpointFailure::Refusal));
    let waits = [62, 125, 250, 500, 1_000, 2_000, 4_000, 5_000].map(Some);
    for (second, wait) in (0..).map(|number| 10 * number).zip(waits) {
        fail_at(&mut throttle, now + seconds(second), EndpointFailure::Refusal);
        assert_eq!(wait_ms(&throttle, now + seconds(second)), wait);
    }
}

#[test]
fn what_was_underway_when_the_breaker_opened_doubles_nothing() {
    let (mut throttle, now) = throttle();
    let half = Duration::from_millis(500);
    (0..16).for_each(|_| throttle.fail(now + half, now, EndpointFailure::Silence, None));
    assert_eq!((throttle.is_open(), wait_ms(&throttle, now)), (true, Some(1_500)));
    fail_at(&mut throttle, now + seconds(2), EndpointFailure::Silence);
    assert_eq!(wait_ms(&throttle, now), Some(2_000 + 2_000));
}

#[test]
fn a_success_beside_it_takes_nothing_back_that_the_endpoint_asked_for() {
    let (mut throttle, now) = throttle();
    throttle.fail(now, now, EndpointFailure::Overload, Some(seconds(30)));
    throttle.succeed();
    assert_eq!(wait_ms(&throttle, now), Some(30_000));
    throttle.reset();
    assert_eq!(wait_ms(&throttle, now), None, "its owner says so");
}

#[test]
fn an_endpoint_that_says_it_is_overloaded_is_left_alone_at_once() {
    let (mut throttle, now) = throttle();
    throttle.fail(now, now, EndpointFailure::Overload, None);
    assert_eq!(wait_ms(&throttle, now), Some(1_000));
}

#[test]
fn what_the_endpoint_asks_for_only_delays_and_is_bounded() {
    let (mut throttle, now) = throttle();
    throttle.fail(now, now, EndpointFailure::Overload, Some(seconds(30)));
    assert_eq!(wait_ms(&throttle, now), Some(30_000));
    throttle.fail(now, now, EndpointFailure::Overload, Some(Duration::ZERO));
    assert_eq!(wait_ms(&throttle, now), Some(30_000));
    throttle.fail(now, now, EndpointFailure::Overload, Some(Duration::from_hours(1_000)));
    assert_eq!(wait_ms(&throttle, now), Some(86_400_000));
}

#[test]
fn a_rate_spaces_attempts() {
    let (mut throttle, now) = throttle();
    throttle.begin(now, Some(4));
    assert_eq!(wait_ms(&throttle, now), Some(250));
    throttle.begin(now, None);
    assert_eq!(wait_ms(&throttle, now), None);
}

/// How many attempts begin in ten seconds, and the most that begin in one, when timers are late and the
/// machine stands still for a moment now and then.
fn begun(rate: u32) -> (usize, usize) {
    let (mut throttle, start) = throttle();
    let (mut begun, mut now, mut wakes) = (Vec::new(), start, 0_u64);
    while now < start + seconds(10) {
        while throttle.ready_at().is_none_or(|at| at <= now) {
            throttle.begin(now, Some(rate));
            begun.push(now);
        }
        wakes += 1;
        let late = if wakes.is_multiple_of(50) { 20_000 } else { 300 + wakes * 700 % 1_500 };
        now = throttle.ready_at().unwrap() + Duration::from_micros(late);
    }
    let within_a_second =
        |first: &Instant| begun.iter().filter(|at| (*first..*first + seconds(1)).contains(*at)).count();
    (begun.len(), begun.iter().map(within_a_second).max().unwrap())
}

#[test]
fn a_rate_is_kept_within_five_percent_up_to_a_thousand_a_second() {
    for rate in [1_u32, 5, 10, 11, 20, 50, 100, 200, 333, 500, 1_000] {
        let (ten_seconds, most) = begun(rate);
        let wanted = rate as usize;
        assert!(ten_seconds * 100 >= wanted * 10 * 95, "{rate}: {ten_seconds} in ten seconds");
        assert!(most * 100 <= (wanted + 1) * 105, "{rate}: {most} in a second");
    }
}

#[test]
fn what_an_idle_endpoint_did_not_use_is_not_made_up_for() {
    let (mut throttle, start) = throttle();
    throttle.begin(start, Some(100));
    let now = start + seconds(60);
    let mut burst = 0;
    while throttle.ready_at().is_none_or(|at| at <= now) {
        throttle.begin(now, Some(100));
        burst += 1;
    }
    assert_eq!(burst, 6, "that of the last 50 ms, and one");
}
