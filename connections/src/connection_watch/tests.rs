//! The deadlines, with a paused clock.

use super::{
    super::{
        connection_limits::{AddressLimiter, ListenerSettings},
        fixed_responses::TEST_BODIES,
    },
    *,
};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &[u8] = b"POST /webchat/message HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
const NO_BODY: BodyLength = BodyLength::Bytes(0);

fn watch() -> ConnectionWatch {
    ConnectionWatch::new(listener(), false, Instant::now())
}

fn listener() -> Arc<ListenerConnections> {
    ListenerConnections::new(
        &AddressLimiter::new(0, Vec::new()),
        ListenerSettings { max_connections: 4, health_reserve: 0, error_bodies: TEST_BODIES },
    )
}

async fn after(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn check(watch: &ConnectionWatch) -> Option<EndReason> {
    watch.check(Instant::now()).err()
}

/// A watch after a whole request and its answer.
fn idle() -> ConnectionWatch {
    let watch = watch();
    watch.received(GET);
    watch.request_started(NO_BODY);
    watch.request_answered();
    watch
}

#[tokio::test(start_paused = true)]
async fn every_head_has_ten_seconds_from_its_first_byte() {
    for watch in [watch(), idle()] {
        watch.received(b"GET /");
        for _ in 0..9 {
            after(1).await;
            watch.received(b"a");
            assert_eq!(check(&watch), None);
        }
        after(1).await;
        assert_eq!(check(&watch), Some(EndReason::SlowHead));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_has_ten_seconds_too() {
    let watch = watch();
    after(9).await;
    assert_eq!(check(&watch), None);
    after(1).await;
    assert_eq!(check(&watch), Some(EndReason::SlowHead));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_kept_for_75_seconds_and_for_10_when_descriptors_run_short() {
    let watch = idle();
    after(74).await;
    assert_eq!(check(&watch), None);
    after(1).await;
    assert_eq!(check(&watch), Some(EndReason::Idle));
    let watch = idle();
    let slots: Vec<_> = (0..3).map(|_| watch.listener.take_slot([127, 0, 0, 1].into()).unwrap()).collect();
    after(9).await;
    assert_eq!(check(&watch), None);
    after(1).await;
    assert_eq!(check(&watch), Some(EndReason::Idle));
    drop(slots);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_progress_and_a_websocket_have_no_deadline() {
    let watch = watch();
    watch.received(GET);
    watch.request_started(NO_BODY);
    after(3_600).await;
    assert_eq!(check(&watch), None);
    assert_eq!(watch.waiting_since(), None, "no other connection displaces it");
    watch.upgraded();
    assert_eq!(watch.check(Instant::now()), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_early_answer_has_as_long_as_a_head() {
    for (rest, body) in
        [(&b"1\r\n \r\n"[..], BodyLength::Chunked), (b"", BodyLength::Chunked), (b"ab", BodyLength::Bytes(4))]
    {
        let watch = watch();
        watch.received(POST);
        watch.received(rest);
        watch.request_started(body);
        assert!(watch.waiting_since().is_some(), "its body has not arrived");
        watch.request_answered();
        for _ in 0..9 {
            after(1).await;
            watch.received(b"1\r\n \r\n");
            assert_eq!(check(&watch), None);
        }
        after(1).await;
        assert_eq!(check(&watch), Some(EndReason::SlowHead));
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_head_that_came_with_the_previous_request_counts_from_its_answer() {
    let watch = watch();
    watch.received(&[GET, b"GET /he"].concat());
    watch.request_started(NO_BODY);
    watch.request_answered();
    after(10).await;
    assert_eq!(check(&watch), Some(EndReason::SlowHead));
}

#[tokio::test(start_paused = true)]
async fn a_whole_request_leaves_the_connection_idle_however_it_was_cut() {
    for (request, body) in [
        (GET.to_vec(), NO_BODY),
        ([POST, b"body"].concat(), BodyLength::Bytes(4)),
        ([POST, b"4\r\nbody\r\n0\r\n\r\n"].concat(), BodyLength::Chunked),
    ] {
        for size in 1..=request.len() {
            let watch = watch();
            request.chunks(size).for_each(|piece| watch.received(piece));
            watch.request_started(body);
            assert_eq!(watch.waiting_since(), None, "{size}");
            watch.request_answered();
            assert_eq!(watch.phase.get(), WatchPhase::Idle, "{size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_to_be_taken_at_eight_kibibytes_a_second_after_ten_seconds() {
    let watch = idle();
    watch.write_blocked();
    for _ in 0..60 {
        after(1).await;
        watch.wrote(8 * 1024, false);
        assert_eq!(check(&watch), None);
    }
    after(9).await;
    assert_eq!(check(&watch), None);
    watch.wrote(1, true);
    after(74).await;
    assert_eq!(check(&watch), None, "idle from the end of the answer");
    watch.write_blocked();
    for _ in 0..9 {
        after(1).await;
        watch.wrote(1, false);
        assert_eq!(check(&watch), None);
    }
    after(2).await;
    assert_eq!(check(&watch), Some(EndReason::SlowReader));
    assert_eq!(watch.waiting_since(), None, "it is over already");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_checked_before_any_deadline_that_may_start() {
    let watch = idle();
    let next = watch.check(Instant::now()).unwrap().unwrap();
    assert_eq!(next - Instant::now(), HEAD_TIMEOUT);
    after(3).await;
    watch.received(b"G");
    after(7).await;
    let next = watch.check(Instant::now()).unwrap().unwrap();
    assert_eq!(next - Instant::now(), Duration::from_secs(3));
}
