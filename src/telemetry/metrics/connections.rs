//! TCP connections: how many there are, and which were refused or ended.

use super::sheet::Sheet;
use crate::startup::Listeners;

/// Puts it down.
pub(super) fn fill(listeners: &Listeners, sheet: &mut Sheet) {
    let Listeners { ledger, service, operator, .. } = listeners;
    sheet.gauges(
        "amoiq_tcp_connections",
        "Open TCP connections",
        "listener",
        [("service", service.open()), ("operator", operator.open())],
    );
    sheet.gauges(
        "amoiq_tcp_connections_limit",
        "TCP connections that there may be",
        "listener",
        [("service", service.most()), ("operator", operator.most())],
    );
    sheet.counters(
        "amoiq_tcp_connections_refused",
        "TCP connections that were refused when they were accepted",
        "reason",
        ledger.refused(),
    );
    sheet.counters(
        "amoiq_tcp_connections_ended",
        "TCP connections that were ended although the client would have gone on",
        "reason",
        ledger.ended(),
    );
}
