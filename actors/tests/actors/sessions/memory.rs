//! The memory that all sessions take together is bounded in bytes, and callers never notice.

use std::time::Duration;

use amoiq_actors::sessions::{MessagePage, PageLimit, PageWindow};
use tokio::time::sleep;

use crate::given::{Given, paused};

const HOUR: Duration = Duration::from_secs(3_600);
const MIB: usize = 1024 * 1024;

/// The most that one session of these tests takes: its kept messages, and what an actor costs.
const SESSION_BYTES: usize = 32 * 1024;

#[test]
fn sessions_that_are_filled_and_left_do_not_exceed_the_common_limit() {
    paused(async {
        let given = Given::with_memory(1_000_000, MIB, HOUR);
        let (sessions, texts) = (120, 8);
        for number in 0..sessions {
            for text in 0..texts {
                given.say(&format!("s{number}"), &format!("{text}{}", "x".repeat(9_900))).await;
                sleep(Duration::from_millis(1)).await;
                let held = given.directory.counters().bytes();
                assert!(held <= MIB + SESSION_BYTES, "{held} bytes with {number} sessions");
            }
        }
        let counters = given.directory.counters();
        assert!(counters.evicted() > 0 && counters.sessions() < sessions, "{counters:?}");
        assert!(counters.bytes() > MIB / 2, "no more left than had to: {counters:?}");
        for number in (0..sessions).step_by(7) {
            assert_eq!(given.texts(&format!("s{number}")).await.len(), texts);
        }
    });
}

#[test]
fn the_least_recently_used_session_is_evicted_when_all_take_too_much_together() {
    paused(async {
        let given = Given::with_memory(1_000_000, MIB, HOUR);
        let fill = |name: String| {
            let given = given.clone();
            async move {
                for _ in 0..2 {
                    given.say(&name, &"x".repeat(9_900)).await;
                    sleep(Duration::from_millis(1)).await;
                }
            }
        };
        // Each takes some 13 KiB: eighty reach the limit.
        for number in 0..70 {
            fill(format!("s{number}")).await;
        }
        assert_eq!(given.directory.counters().evicted(), 0);
        given.page("s0", PageWindow::Newest, 1).await;
        for number in 70..90 {
            fill(format!("s{number}")).await;
        }
        assert!(given.directory.counters().evicted() > 0);
        let reads = given.store.reads();
        for name in ["s0", "s69", "s89"] {
            given.page(name, PageWindow::Newest, 1).await;
        }
        assert_eq!(given.store.reads(), reads, "these were used later and stay");
        given.page("s1", PageWindow::Newest, 1).await;
        assert!(given.store.reads() > reads, "this one was used longest ago and left");
    });
}

#[test]
fn an_evicted_session_does_not_count() {
    paused(async {
        let given = Given::with_memory(1_000, MIB, HOUR);
        given.say("s", "hello").await;
        given.say("t", &"x".repeat(9_900)).await;
        let held = given.directory.counters().bytes();
        assert!((9_900..MIB).contains(&held), "{held}");
        sleep(3 * HOUR).await;
        assert_eq!((given.directory.counters().sessions(), given.directory.counters().bytes()), (0, 0));
    });
}

#[test]
fn client_ids_and_visitors_data_count_too() {
    paused(async {
        let given = Given::with_memory(1_000, 64 * MIB, HOUR);
        for number in 0..2_000 {
            given.send("s", &format!("id-{number}"), "x").await.expect("it is stored");
        }
        let held = given.directory.counters().bytes();
        assert!(held > 2_000 * 33 + 50 * 1024, "{held}");
    });
}

/// The `seq` of each message, and whether there are more.
fn seqs(page: &MessagePage) -> (Vec<u32>, bool) {
    (page.messages.iter().map(|message| message.seq).collect(), page.has_more)
}

#[test]
fn a_page_from_the_log_is_cut_at_its_byte_limit_at_the_far_end_and_has_at_least_one_message() {
    paused(async {
        let given = Given::new();
        for number in 0..250 {
            given.say("s", &format!("{number:03}{}", "x".repeat(997))).await;
        }
        let within = |window, messages, bytes| {
            let given = &given;
            async move { seqs(&given.page_within("s", window, PageLimit { messages, bytes }).await) }
        };
        let span = |low: u32, high: u32| (low..=high).collect::<Vec<_>>();
        assert_eq!(within(PageWindow::Before(151), 500, 120_000).await, (span(31, 150), true));
        assert_eq!(within(PageWindow::Before(151), 120, 120_000).await, (span(31, 150), true));
        assert_eq!(within(PageWindow::Before(151), 500, 119_999).await, (span(32, 150), true));
        assert_eq!(within(PageWindow::Before(151), 500, 150_000).await, (span(1, 150), false));
        assert_eq!(within(PageWindow::Before(151), 500, 1).await, (span(150, 150), true));
        assert_eq!(within(PageWindow::Before(2), 500, 1).await, (span(1, 1), false));
        assert_eq!(within(PageWindow::After(10), 500, 120_000).await, (span(11, 130), true));
        assert_eq!(within(PageWindow::After(10), 500, 1).await, (span(11, 11), true));
        assert_eq!(within(PageWindow::After(10), 500, 240_000).await, (span(11, 250), false));
        assert_eq!(within(PageWindow::Newest, 500, 130_000).await, (span(121, 250), true));
    });
}
