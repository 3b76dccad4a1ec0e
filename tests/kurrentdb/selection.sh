# Which tests run on a log in KurrentDB, to be sourced.

# The suite of the log. The others of `kurrent::` make the server fail, which only the tests' own does.
STORE_TESTS=(kurrentdb:: kurrent:: the_store_in_kurrentdb shared::transfer::)
REAL_STORE_TESTS=(kurrentdb:: kurrent::nodes:: the_store_in_kurrentdb)

SERVICE_TESTS=(access:: lifecycle:: messages:: operator:: presence:: responses:: sockets:: webhook_api:: webhook_delivery::)
SHORT_SERVICE_TESTS=(lifecycle:: messages:: presence:: sockets:: webhook_api:: webhook_delivery::endpoint:: webhook_delivery::zoo::)

# What is about the files of the SQLite log, as in tests/postgres/run; and a message that is longer than an append may be.
LEFT_OUT=(
  --skip lifecycle::shutdown::a_hanging_disk_ends_readiness
  --skip lifecycle::shutdown::a_request_in_flight_is_answered
  --skip lifecycle::signals::a_watchdog_is_notified_while_the_disk_hangs
  --skip operator::keys::a_key_is_shown_once_and_never_kept
  --skip operator::metrics::appends_and_commits_are_counted
  --skip operator::metrics::the_time_of_the_last_backup_is_a_metric
  --skip access::limits::the_longest_message_that_can_be_configured_is_taken
)
