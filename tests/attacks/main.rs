//! Attacks on the sockets, against the real program: each is fended off, and meanwhile a well-behaved
//! pair of clients is served in full and in order, and memory stays what the open connections are worth.
//!
//! `examples/socket_load` runs the same attacks in full size against a release build; so does this with
//! `AMOIQ_BENCH_FULL` in the environment, against its own.
#![expect(unreachable_pub, reason = "nobody uses a test binary as a library")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod attack;
mod client;
mod connections;
mod crowd;
mod filling;
mod flood;
mod frame;
mod frames;
mod latency;
mod limits;
mod pair;
mod patience;
mod polls;
mod silence;

use amoiq_testkit::{app_launcher::program_under_test, process_figures::raise_file_limit};
use attack::{Attack, Scale};

fn is_fended_off(attack: Attack) {
    raise_file_limit();
    let scale = if std::env::var_os("AMOIQ_BENCH_FULL").is_some() { Scale::Full } else { Scale::Test };
    let report = attack.attempt(&program_under_test(), scale).expect("it is fended off");
    eprintln!("{attack:?} {report}");
}

#[test]
fn a_frame_of_eight_gigabytes_is_cut_at_its_header() {
    is_fended_off(Attack::HugeFrame);
}

#[test]
fn a_message_in_a_million_pieces_is_cut_early() {
    is_fended_off(Attack::Fragments);
}

#[test]
fn frames_that_come_faster_than_they_are_handled_wait_with_their_client() {
    is_fended_off(Attack::Hurry);
}

#[test]
fn a_text_that_is_not_utf_8_ends_its_connection() {
    is_fended_off(Attack::InvalidUtf8);
}

#[test]
fn deep_and_wide_json_is_refused() {
    is_fended_off(Attack::Json);
}

#[test]
fn a_client_that_never_says_who_it_is_is_closed_in_time() {
    is_fended_off(Attack::Mute);
}

#[test]
fn a_peer_that_acknowledges_nothing_is_gone_after_its_heartbeat() {
    is_fended_off(Attack::HalfOpen);
}

#[test]
fn a_client_that_never_reads_is_cut_and_the_others_hear_everything() {
    is_fended_off(Attack::NeverReads);
}

#[test]
fn a_client_that_asks_and_never_reads_costs_no_more_than_its_outbox() {
    is_fended_off(Attack::NeverReadsAnswers);
}

#[test]
fn a_request_that_comes_a_byte_at_a_time_is_not_waited_for() {
    is_fended_off(Attack::Drip);
}

#[test]
fn an_upgrade_that_is_abandoned_leaves_nothing() {
    is_fended_off(Attack::AbandonedUpgrades);
}

#[test]
fn a_poll_every_millisecond_is_served_beside_the_others() {
    is_fended_off(Attack::PollStorm);
}

#[test]
fn half_of_a_second_request_keeps_nobody_out_when_there_is_no_descriptor_left() {
    is_fended_off(Attack::HalfHeads);
}

#[test]
fn health_and_operators_are_answered_when_every_connection_is_busy() {
    is_fended_off(Attack::AllBusy);
}

#[test]
fn whoever_keeps_the_service_waiting_is_ended_in_time_and_nobody_else_is() {
    is_fended_off(Attack::SlowClients);
}

#[test]
fn one_address_has_as_many_connections_as_it_may() {
    is_fended_off(Attack::OneAddress);
}

#[test]
fn sessions_that_are_filled_and_left_cost_no_more_memory_than_all_may_hold() {
    is_fended_off(Attack::Fill);
}
