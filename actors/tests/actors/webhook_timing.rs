//! When an endpoint is tried: whatever happens in whatever order, waits only grow longer than they were
//! told to be, and no longer than they may.

use std::time::Duration;

use amoiq_actors::webhooks::{
    Schedule, ThrottleSettings,
    throttle::{LONGEST_RETRY_AFTER, Throttle},
};
use amoiq_events::Timestamp;
use proptest::prelude::*;

/// The waits of config.toml, in seconds.
const WAITS: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

const NOW: Timestamp = Timestamp::from_millis(1_705_314_600_000);

fn schedule(jitter_percent: u32) -> Schedule {
    Schedule { waits: WAITS.map(Duration::from_secs).to_vec(), jitter_percent }
}

/// How long until then, in milliseconds.
fn wait_ms(now: Timestamp, at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() - now.as_millis()).expect("not before now")
}

/// What happens to an endpoint.
#[derive(Debug, Clone)]
enum Step {
    Passes(u32),
    Begins(Option<u32>),
    Succeeds,
    Fails { since_ms: u32, is_overload: bool, asked: Option<Duration> },
}

fn step() -> impl Strategy<Value = Step> {
    // Beyond what anybody may ask for.
    let asked = prop::option::of((0_u64..200_000).prop_map(Duration::from_secs));
    prop_oneof![
        (0_u32..100_000).prop_map(Step::Passes),
        prop::option::of(1_u32..=1_000).prop_map(Step::Begins),
        Just(Step::Succeeds),
        (0_u32..20_000, any::<bool>(), asked).prop_map(|(since_ms, is_overload, asked)| Step::Fails {
            since_ms,
            is_overload,
            asked
        }),
    ]
}

fn settings() -> impl Strategy<Value = ThrottleSettings> {
    (1_usize..64, 1_u32..10, 1_u64..5_000, 0_u64..100_000).prop_map(|(in_flight, failures, min, more)| {
        ThrottleSettings {
            in_flight,
            breaker_failures: failures,
            breaker_min: Duration::from_millis(min),
            breaker_max: Duration::from_millis(min + more),
        }
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("short")
}

/// Does one step, and says what was wrong with it.
fn take(
    throttle: &mut Throttle,
    now: Timestamp,
    step: &Step,
    longest: Duration,
    asked_until: &mut Option<Timestamp>,
) -> Result<(), TestCaseError> {
    let before = throttle.clone();
    match *step {
        Step::Passes(_) => {}
        Step::Begins(rate) => {
            throttle.begin(now, rate);
            prop_assert_eq!(throttle.not_before(), before.not_before());
            if let Some(rate) = rate {
                let wait_ms = wait_ms(now, throttle.ready_at().expect("a rate spaces").max(now));
                prop_assert!(wait_ms * u64::from(rate) >= 1_000, "{} ms at {} a second", wait_ms, rate);
            }
        }
        Step::Succeeds => {
            throttle.succeed();
            prop_assert_eq!((throttle.not_before(), throttle.is_open()), (*asked_until, false));
            prop_assert!(throttle.window() >= before.window(), "it may take more, not less");
        }
        Step::Fails { since_ms, is_overload, asked } => {
            throttle.fail(now, now.plus_millis(-i64::from(since_ms)), is_overload, asked);
            prop_assert!(throttle.not_before() >= before.not_before(), "it delays, and nothing else");
            prop_assert!(throttle.ready_at() >= before.ready_at());
            prop_assert!(throttle.window() <= before.window());
            let at_most = now.plus_millis(millis(longest.max(LONGEST_RETRY_AFTER)));
            prop_assert!(throttle.not_before() <= before.not_before().max(Some(at_most)));
            if let Some(asked) = asked {
                let at_least = now.plus_millis(millis(asked.min(LONGEST_RETRY_AFTER)));
                prop_assert!(throttle.not_before() >= Some(at_least), "it is left alone as it asked");
                *asked_until = (*asked_until).max(Some(at_least));
            } else if !is_overload && !throttle.is_open() {
                prop_assert_eq!(throttle.not_before(), before.not_before());
            }
        }
    }
    Ok(())
}

#[test]
fn the_waits_are_those_that_the_program_ships_with() {
    let waits: Vec<_> = WAITS.iter().map(|wait| (wait * 1_000).to_string()).collect();
    let shipped = include_str!("../../../config.toml");
    assert!(shipped.contains(&format!("\nschedule_ms = [{}]\n", waits.join(", "))));
    assert!(shipped.contains("\njitter_percent = 10\n"));
}

proptest! {
    #[test]
    fn jitter_delays_and_never_by_more_than_its_share(
        tries in 0_u32..12, jitter_percent in 0_u32..=200, random in any::<u64>()
    ) {
        let next = schedule(jitter_percent).next(tries, NOW, random);
        let Some(&wait) = WAITS.get(usize::try_from(tries).expect("few")) else {
            prop_assert_eq!(next, None);
            return Ok(());
        };
        let waited_ms = wait_ms(NOW, next.expect("one more"));
        let most_ms = wait * 10 * u64::from(100 + jitter_percent);
        prop_assert!((wait * 1_000..=most_ms).contains(&waited_ms), "{} ms", waited_ms);
    }

    #[test]
    fn no_schedule_is_too_much(
        waits in prop::collection::vec(any::<u64>(), 0..4), jitter_percent in any::<u32>(),
        tries in any::<u32>(), random in any::<u64>()
    ) {
        let waits = waits.into_iter().map(Duration::from_millis).collect();
        if let Some(at) = (Schedule { waits, jitter_percent }).next(tries % 5, NOW, random) {
            prop_assert!(at >= NOW);
        }
    }

    #[test]
    fn a_delivery_is_tried_for_75_hours_and_at_the_most_a_tenth_longer(
        randoms in prop::array::uniform10(any::<u64>())
    ) {
        let (schedule, mut now) = (schedule(10), NOW);
        for (tries, random) in (0..).zip(randoms) {
            now = schedule.next(tries, now, random).expect("ten attempts");
        }
        prop_assert_eq!(schedule.next(10, now, 0), None);
        let seconds = 75 * 3_600 + 35 * 60 + 5;
        prop_assert!((seconds * 1_000..=seconds * 1_100).contains(&wait_ms(NOW, now)));
    }

    #[test]
    fn whatever_an_endpoint_answers_it_is_pressed_no_harder_than_it_may_be(
        settings in settings(), steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut throttle = Throttle::new(settings.clone(), None);
        let (mut now, mut asked_until) = (NOW, None);
        for step in steps {
            if let Step::Passes(millis) = step {
                now = now.plus_millis(i64::from(millis));
            }
            take(&mut throttle, now, &step, settings.breaker_max, &mut asked_until)?;
            prop_assert!((1..=settings.in_flight).contains(&throttle.window()));
            prop_assert!(throttle.ready_at() >= throttle.not_before());
        }
        throttle.reset();
        prop_assert_eq!(throttle, Throttle::new(settings, None));
    }
}
