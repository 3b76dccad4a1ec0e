//! The contract of every backend of the event store, and what the embedded one and the one in PostgreSQL survive.
//!
//! | module | holds |
//! |---|---|
//! | [`given`] | a store to test, and helpers that the tests are written with |
//! | [`append`], [`reading`], [`seeking`], [`removal`], [`following`], [`concurrency`] | the contract, once for all backends |
//! | [`model`] | random histories against a model of a few lines |
//! | [`embedded`] | what the embedded one finds after a crash or on a bad disk, and what removing leaves in its files |
//! | `kurrent` | what several nodes on one KurrentDB see of each other, and what they survive of it; with the feature `kurrentdb` |
//! | [`shared`] | what several nodes on one PostgreSQL see of each other, what they survive of it, and a log that is filled with another's events |

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says why and stops"
)]

mod append;
mod concurrency;
mod embedded;
mod following;
mod given;
#[cfg(feature = "kurrentdb")]
mod kurrent;
mod model;
mod reading;
mod removal;
mod seeking;
mod shared;

/// Makes a test of every fact for every backend, and checks the whole log after each.
macro_rules! every_backend {
    ($($group:ident { $($fact:ident)* })*) => {
        every_backend!(@ memory $($group { $($fact)* })*);
        every_backend!(@ sqlite $($group { $($fact)* })*);
        every_backend!(@ postgres $($group { $($fact)* })*);
        #[cfg(feature = "kurrentdb")]
        every_backend!(@ kurrentdb $($group { $($fact)* })*);
    };
    (@ $backend:ident $($group:ident { $($fact:ident)* })*) => {
        mod $backend {
            $(mod $group {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    let mut given = crate::given::Given::$backend();
                    crate::$group::$fact(&mut given).await;
                    given.assert_whole().await;
                })*
            })*
        }
    };
}

every_backend! {
    append {
        versions_count_from_one_and_positions_rise
        a_wrong_expectation_is_a_conflict_that_tells_the_version
        a_conflict_appends_nothing
        a_stream_with_events_is_not_no_stream
        a_second_append_of_the_same_ids_gives_the_first_answer
        a_repeat_is_recognised_after_the_stream_grew
        a_repeat_with_other_ids_is_a_conflict
        part_of_an_append_is_not_a_repeat
        the_same_ids_in_another_stream_are_not_a_repeat
        two_appends_of_the_same_ids_that_wait_together_are_one
        ids_are_recognised_up_to_the_last_ten_thousand
        an_append_of_nothing_is_refused
        the_most_events_fit_and_one_more_does_not
        the_most_bytes_fit_and_one_more_does_not
        everything_of_an_event_is_kept
    }
    reading {
        a_stream_reads_forward_from_every_version
        a_stream_reads_backward_from_every_version
        a_long_stream_reads_in_pages_both_ways
        a_read_gives_no_more_than_its_limit
        a_stream_that_is_not_there_is_empty
        the_log_reads_in_pages_after_any_position
        after_the_end_of_the_log_is_nothing_or_no_position
        an_event_is_found_by_its_position_until_it_is_removed
        how_far_a_reader_is_behind_is_counted_in_events
        a_number_that_a_person_names_becomes_a_position_of_the_log
        a_reader_gives_pages_until_the_end
        a_reader_gives_events_until_the_end
        a_reader_goes_on_with_what_is_appended
        a_reader_of_pairs_gives_what_is_left_of_the_log_in_order
        the_head_is_the_newest_position
        streams_are_listed_by_prefix_in_order_and_in_pages
    }
    seeking {
        reading_after_the_position_starts_with_the_first_event_of_the_time
        a_time_after_all_events_is_the_end_of_the_log
        events_of_the_same_time_are_all_after_the_position
        every_event_after_the_position_has_the_time_although_clocks_jitter
        removed_events_are_no_obstacle
    }
    removal {
        a_truncated_stream_keeps_its_versions_and_positions
        a_truncated_stream_reads_full_pages_from_its_begin
        a_stream_truncated_whole_goes_on_counting
        truncating_before_the_begin_changes_nothing
        a_long_stream_is_truncated_at_any_version
        a_deleted_stream_begins_again_at_version_one
        a_scrubbed_store_has_what_was_not_removed
        a_deleted_stream_is_not_listed
        removing_what_is_not_there_is_no_error
        a_removed_event_can_be_appended_again
        a_truncated_stream_is_not_mistaken_for_a_repeat
        positions_are_not_given_out_again
        reading_while_a_stream_is_truncated_shows_no_damage
    }
    following {
        a_subscription_catches_up_and_goes_on_live
        a_subscription_at_the_head_sees_only_what_comes
        a_subscription_starts_within_a_batch
        nothing_is_missed_or_repeated_under_concurrent_appends
        a_slow_subscriber_reads_what_left_the_window
        removed_events_are_passed_over
        a_subscription_says_that_it_passed_a_removed_end
        nothing_is_missed_when_streams_are_removed_meanwhile
        a_subscription_ends_with_the_store
        what_is_left_is_handed_out_after_the_store_closed
    }
    concurrency {
        one_of_many_writers_wins_each_version
        each_of_many_streams_has_gapless_versions
        readers_see_whole_prefixes_while_writers_write
    }
}
