//! Attacks on the sockets of the real program. The service withstands each: it serves a well-behaved pair of clients in
//! full and in order, and its memory stays within what the open connections and messages cost.
//!
//! `examples/socket_load` runs the same attacks in full size against a release build; this test does so against its own
//! build when `AMOIQ_BENCH_FULL` is set.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod attack;
mod concurrency;
mod connection_attacks;
mod connection_limits;
mod flood_attacks;
mod frame_attacks;
mod polling_attacks;
mod raw_client;
mod slow_attacks;
mod websocket_frame;
mod well_behaved_pair;

use amoiq_testkit::{app_launcher::program_under_test, process_figures::raise_file_limit};
use attack::{Attack, AttackScale};

fn assert_withstands(attack: Attack) {
    raise_file_limit();
    let scale =
        if std::env::var_os("AMOIQ_BENCH_FULL").is_some() { AttackScale::Full } else { AttackScale::Test };
    let report = attack.attempt(&program_under_test(), scale).expect("the service withstands it");
    eprintln!("{attack:?} {report}");
}

#[test]
fn a_frame_of_eight_gigabytes_is_cut_at_its_header() {
    assert_withstands(Attack::HugeFrame);
}

#[test]
fn a_message_in_a_million_fragments_is_cut_early() {
    assert_withstands(Attack::Fragments);
}

#[test]
fn frames_that_come_faster_than_they_are_handled_wait_with_their_client() {
    assert_withstands(Attack::Hurry);
}

#[test]
fn a_text_that_is_not_utf_8_ends_its_connection() {
    assert_withstands(Attack::InvalidUtf8);
}

#[test]
fn deep_and_wide_json_is_refused() {
    assert_withstands(Attack::Json);
}

#[test]
fn a_client_that_never_connects_is_closed_in_time() {
    assert_withstands(Attack::Mute);
}

#[test]
fn a_peer_that_acknowledges_nothing_is_gone_after_its_heartbeat() {
    assert_withstands(Attack::HalfOpen);
}

#[test]
fn a_client_that_never_reads_is_cut_and_the_others_get_everything() {
    assert_withstands(Attack::NeverReads);
}

#[test]
fn a_client_that_sends_requests_and_never_reads_costs_no_more_than_its_queue() {
    assert_withstands(Attack::NeverReadsAnswers);
}

#[test]
fn a_request_that_comes_a_byte_at_a_time_is_ended() {
    assert_withstands(Attack::Drip);
}

#[test]
fn an_upgrade_that_is_abandoned_leaves_nothing() {
    assert_withstands(Attack::AbandonedUpgrades);
}

#[test]
fn a_poll_every_millisecond_is_served_and_so_are_the_others() {
    assert_withstands(Attack::PollStorm);
}

#[test]
fn partial_requests_on_every_descriptor_keep_nobody_out() {
    assert_withstands(Attack::HalfHeads);
}

#[test]
fn health_and_operators_are_answered_when_every_connection_is_busy() {
    assert_withstands(Attack::AllBusy);
}

#[test]
fn clients_that_keep_the_service_waiting_are_ended_in_time_and_no_others() {
    assert_withstands(Attack::SlowClients);
}

#[test]
fn one_address_has_as_many_connections_as_it_may() {
    assert_withstands(Attack::OneAddress);
}

#[test]
fn filled_sessions_cost_no_more_memory_than_all_sessions_may() {
    assert_withstands(Attack::Fill);
}
