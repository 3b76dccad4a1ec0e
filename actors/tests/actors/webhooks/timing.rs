//! When an endpoint is called: whatever happens in whatever order, no wait is shorter than it has to be or longer
//! than it may be.

use std::time::Duration;

use amoiq_actors::webhooks::{
    RetrySchedule, ThrottleSettings,
    pacing::endpoint_throttle::{
        EndpointFailure, EndpointThrottle, LONGEST_RETRY_AFTER, LONGEST_WAIT_WHILE_IT_ANSWERS,
    },
};
use proptest::prelude::*;
use tokio::time::Instant;

/// The waits of config.toml, in seconds.
const WAITS: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

fn schedule(jitter_percent: u32) -> RetrySchedule {
    RetrySchedule { waits: WAITS.map(Duration::from_secs).to_vec(), jitter_percent }
}

/// What happens to an endpoint.
#[derive(Debug, Clone)]
enum Step {
    Passes(u32),
    Begins(Option<u32>),
    Succeeds,
    Fails { since_ms: u32, failure: EndpointFailure, asked: Option<Duration> },
}

fn step() -> impl Strategy<Value = Step> {
    // Longer than any endpoint can ask for.
    let asked = prop::option::of((0_u64..200_000).prop_map(Duration::from_secs));
    let failure = prop::sample::select(vec![
        EndpointFailure::Refusal,
        EndpointFailure::Answer,
        EndpointFailure::Overload,
        EndpointFailure::Silence,
    ]);
    prop_oneof![
        (0_u32..100_000).prop_map(Step::Passes),
        prop::option::of(1_u32..=1_000).prop_map(Step::Begins),
        Just(Step::Succeeds),
        (0_u32..20_000, failure, asked).prop_map(|(since_ms, failure, asked)| Step::Fails {
            since_ms,
            failure,
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

/// Does one step. The error says what was wrong.
fn take(
    throttle: &mut EndpointThrottle,
    now: Instant,
    step: &Step,
    longest: Duration,
    asked_until: &mut Option<Instant>,
) -> Result<(), TestCaseError> {
    let before = throttle.clone();
    match *step {
        Step::Passes(_) => {}
        Step::Begins(rate) => {
            throttle.begin(now, rate);
            prop_assert_eq!(throttle.not_before(), before.not_before());
            if rate.is_some_and(|rate| rate <= 10) {
                let wait = throttle.ready_at().expect("a rate spaces").max(now) - now;
                prop_assert!(wait * rate.expect("one") >= Duration::from_millis(999), "{wait:?} at {rate:?}");
            }
        }
        Step::Succeeds => {
            throttle.succeed();
            prop_assert_eq!((throttle.not_before(), throttle.is_open()), (*asked_until, false));
            prop_assert!(throttle.window() >= before.window(), "it may take more, not less");
        }
        Step::Fails { since_ms, failure, asked } => {
            throttle.fail(now, now - Duration::from_millis(since_ms.into()), failure, asked);
            prop_assert!(throttle.not_before() >= before.not_before(), "it delays, and nothing else");
            prop_assert!(throttle.ready_at() >= before.ready_at());
            prop_assert!(throttle.window() <= before.window());
            let answers = matches!(failure, EndpointFailure::Refusal | EndpointFailure::Answer);
            let longest = if answers { longest.min(LONGEST_WAIT_WHILE_IT_ANSWERS) } else { longest };
            let at_most = now + if asked.is_some() { longest.max(LONGEST_RETRY_AFTER) } else { longest };
            prop_assert!(throttle.not_before() <= before.not_before().max(Some(at_most)));
            if let Some(asked) = asked {
                let at_least = now + asked.min(LONGEST_RETRY_AFTER);
                prop_assert!(throttle.not_before() >= Some(at_least), "it is left alone as it asked");
                *asked_until = (*asked_until).max(Some(at_least));
            } else if failure != EndpointFailure::Overload && !throttle.is_open() {
                prop_assert_eq!(throttle.not_before(), before.not_before());
            }
        }
    }
    Ok(())
}

#[test]
fn the_waits_are_those_that_the_program_ships_with() {
    let waits: Vec<_> = WAITS.iter().map(|wait| (wait * 1_000).to_string()).collect();
    let shipped = include_str!("../../../../config.toml");
    assert!(shipped.contains(&format!("\nschedule_ms = [{}]\n", waits.join(", "))));
    assert!(shipped.contains("\njitter_percent = 10\n"));
}

proptest! {
    #[test]
    fn jitter_delays_and_never_by_more_than_its_share(
        tries in 0_u32..12, jitter_percent in 0_u32..=200, random in any::<u64>()
    ) {
        let schedule = schedule(jitter_percent);
        let next = schedule.wait(tries, random);
        let Some(&wait) = WAITS.get(usize::try_from(tries).expect("few")) else {
            prop_assert_eq!(next, None);
            return Ok(());
        };
        let waited = next.expect("one more");
        let most = Duration::from_millis(wait * 10 * u64::from(100 + jitter_percent));
        prop_assert!((Duration::from_secs(wait)..=most).contains(&waited), "{:?}", waited);
        prop_assert!(waited <= schedule.longest_wait(tries));
    }

    #[test]
    fn every_schedule_can_be_computed(
        waits in prop::collection::vec(any::<u64>(), 0..4), jitter_percent in any::<u32>(),
        tries in any::<u32>(), random in any::<u64>()
    ) {
        let waits = waits.into_iter().map(Duration::from_millis).collect();
        let schedule = RetrySchedule { waits, jitter_percent };
        if let Some(wait) = schedule.wait(tries % 5, random) {
            prop_assert!(wait <= schedule.longest_wait(tries % 5));
        }
    }

    #[test]
    fn a_delivery_is_tried_for_75_hours_and_at_most_a_tenth_longer(
        randoms in prop::array::uniform10(any::<u64>())
    ) {
        let schedule = schedule(10);
        let waits = (0..).zip(randoms).map(|(tries, random)| schedule.wait(tries, random).expect("ten attempts"));
        let all: Duration = waits.sum();
        prop_assert_eq!(schedule.wait(10, 0), None);
        let seconds = Duration::from_secs(75 * 3_600 + 35 * 60 + 5);
        prop_assert!((seconds..=seconds * 11 / 10).contains(&all));
    }

    #[test]
    fn whatever_an_endpoint_answers_it_is_called_no_more_often_than_allowed(
        settings in settings(), steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut throttle = EndpointThrottle::new(settings.clone(), None);
        let (mut now, mut asked_until) = (Instant::now() + Duration::from_hours(1), None);
        for step in steps {
            if let Step::Passes(millis) = step {
                now += Duration::from_millis(millis.into());
            }
            take(&mut throttle, now, &step, settings.breaker_max, &mut asked_until)?;
            prop_assert!((1..=settings.in_flight).contains(&throttle.window()));
            prop_assert!(throttle.ready_at() >= throttle.not_before());
        }
        throttle.reset();
        prop_assert_eq!(throttle, EndpointThrottle::new(settings, None));
    }
}
