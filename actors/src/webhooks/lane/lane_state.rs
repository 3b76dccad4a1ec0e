//! The state machine of a lane, apart from its deliveries: whether the endpoint is served, and what the lane is doing
//! beside handling messages. Pure: events go in, and the state says what may start.
//!
//! A lane does three things at the same time: it reads the log, it sends, and it writes to `outbox.db`. Each is a region
//! of its own, and one read, one wait for a permit and one write run at a time.
//!
//! An endpoint is served while it is enabled, unless the lane is disabling it: from when everything has failed for too long
//! until the owner changes the endpoint or disabling ends. An endpoint that is missing for a moment is still being disabled
//! when it is back.
//!
//! | reading, writing | on | becomes |
//! |---|---|---|
//! | idle | it starts | running |
//! | running | it ended | idle |
//! | running | it failed | backing off |
//! | backing off | the wait is over | idle for a read, running for a write, which repeats the same entries |

/// What one of the lane's background activities is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ActivityState {
    Idle,
    Running,
    BackingOff,
}

/// How the tenants' registry shows the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointView {
    /// Enabled, as it was.
    Enabled,
    /// Enabled, and its status or its URL was changed.
    EnabledAnew,
    /// Paused or disabled.
    Stopped,
    /// Deleted, or its tenant is not served.
    Missing,
}

/// What happens to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneEvent {
    EndpointSeen(EndpointView),
    /// Every attempt has failed for too long.
    GaveUp,
    /// The endpoint is disabled, or that failed.
    DisablingEnded,
    /// The service is stopping.
    DrainStarted,
    PermitRequested,
    PermitGranted,
    ReadStarted,
    ReadEnded,
    ReadFailed,
    ReadRetryDue,
    WriteStarted,
    WriteEnded,
    WriteFailed,
}

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneState {
    is_enabled: bool,
    /// The lane has asked for the endpoint to be disabled, and waits until that shows.
    is_disabling: bool,
    reading: ActivityState,
    writing: ActivityState,
    is_awaiting_permit: bool,
    /// The service is stopping: nothing new starts, whatever becomes of the endpoint.
    is_draining: bool,
}

impl Default for LaneState {
    fn default() -> Self {
        Self {
            is_enabled: true,
            is_disabling: false,
            reading: ActivityState::Idle,
            writing: ActivityState::Idle,
            is_awaiting_permit: false,
            is_draining: false,
        }
    }
}

impl LaneState {
    /// Applies an event. Returns whether it changed the state.
    pub(super) fn apply(&mut self, event: LaneEvent) -> bool {
        let before = *self;
        match event {
            LaneEvent::EndpointSeen(view) => {
                self.is_enabled = matches!(view, EndpointView::Enabled | EndpointView::EnabledAnew);
                self.is_disabling &= view != EndpointView::EnabledAnew;
            }
            LaneEvent::GaveUp => self.is_disabling |= self.is_enabled,
            LaneEvent::DisablingEnded => self.is_disabling = false,
            LaneEvent::DrainStarted => self.is_draining = true,
            LaneEvent::PermitRequested => self.is_awaiting_permit = true,
            LaneEvent::PermitGranted => self.is_awaiting_permit = false,
            LaneEvent::ReadStarted => self.reading = ActivityState::Running,
            LaneEvent::ReadEnded | LaneEvent::ReadRetryDue => self.reading = ActivityState::Idle,
            LaneEvent::ReadFailed => self.reading = ActivityState::BackingOff,
            LaneEvent::WriteStarted => self.writing = ActivityState::Running,
            LaneEvent::WriteEnded => self.writing = ActivityState::Idle,
            LaneEvent::WriteFailed => self.writing = ActivityState::BackingOff,
        }
        *self != before
    }

    /// Whether the lane may take deliveries from the log and send them.
    pub(super) fn is_serving(self) -> bool {
        self.is_enabled && !self.is_disabling && !self.is_draining
    }

    /// Whether an attempt may start, or a permit be requested for one.
    pub(super) fn may_send(self) -> bool {
        self.is_serving() && !self.is_awaiting_permit
    }

    /// Whether a read of the log may start.
    pub(super) fn may_read(self) -> bool {
        self.is_serving() && self.reading == ActivityState::Idle
    }

    /// Whether a read runs or waits to be repeated.
    pub(super) fn is_reading(self) -> bool {
        self.reading != ActivityState::Idle
    }

    /// Whether a write may start. A lane that is not served still writes what has ended.
    pub(super) fn may_write(self) -> bool {
        self.writing == ActivityState::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane after some events.
    fn given(events: &[LaneEvent]) -> LaneState {
        let mut state = LaneState::default();
        for event in events {
            state.apply(*event);
        }
        state
    }

    const SEEN: fn(EndpointView) -> LaneEvent = LaneEvent::EndpointSeen;

    #[test]
    fn a_new_lane_reads_sends_and_writes() {
        let state = given(&[]);
        assert!(state.may_read() && state.may_send() && state.may_write());
    }

    #[test]
    fn a_paused_or_deleted_endpoint_is_not_served_until_it_is_enabled() {
        for view in [EndpointView::Stopped, EndpointView::Missing] {
            let mut state = given(&[SEEN(view)]);
            assert!(!state.may_read() && !state.may_send(), "{view:?}");
            assert!(state.may_write(), "what has ended is written");
            assert!(state.apply(SEEN(EndpointView::Enabled)));
            assert!(state.may_read() && state.may_send(), "{view:?}");
        }
    }

    #[test]
    fn a_lane_that_gave_up_waits_until_the_endpoint_changes_or_disabling_ended() {
        for (event, is_serving) in [
            (SEEN(EndpointView::Enabled), false),
            (SEEN(EndpointView::EnabledAnew), true),
            (SEEN(EndpointView::Stopped), false),
            (LaneEvent::DisablingEnded, true),
        ] {
            let mut state = given(&[LaneEvent::GaveUp]);
            assert!(!state.is_serving());
            state.apply(event);
            assert_eq!(state.is_serving(), is_serving, "{event:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_missing_for_a_moment_is_not_served_before_disabling_ended() {
        let mut state = given(&[LaneEvent::GaveUp, SEEN(EndpointView::Missing)]);
        state.apply(SEEN(EndpointView::Enabled));
        assert!(!state.is_serving());
        state.apply(LaneEvent::DisablingEnded);
        assert!(state.is_serving());
    }

    #[test]
    fn a_lane_gives_up_once() {
        let mut state = given(&[]);
        assert!(state.apply(LaneEvent::GaveUp));
        assert!(!state.apply(LaneEvent::GaveUp), "it has asked already");
    }

    #[test]
    fn what_was_disabled_meanwhile_is_not_served_when_disabling_ends() {
        let state = given(&[LaneEvent::GaveUp, SEEN(EndpointView::Stopped), LaneEvent::DisablingEnded]);
        assert!(!state.is_serving());
    }

    #[test]
    fn a_draining_lane_starts_nothing_and_still_writes() {
        let mut state = given(&[LaneEvent::DrainStarted]);
        state.apply(SEEN(EndpointView::EnabledAnew));
        assert!(!state.may_read() && !state.may_send() && state.may_write());
    }

    #[test]
    fn a_failed_read_is_repeated_only_when_its_wait_is_over() {
        let mut state = given(&[LaneEvent::ReadStarted]);
        assert!(!state.may_read() && state.is_reading());
        state.apply(LaneEvent::ReadFailed);
        assert!(!state.may_read() && state.is_reading());
        state.apply(LaneEvent::ReadRetryDue);
        assert!(state.may_read() && !state.is_reading());
    }

    #[test]
    fn one_write_and_one_wait_for_a_permit_at_a_time() {
        let mut state = given(&[LaneEvent::WriteStarted, LaneEvent::PermitRequested]);
        assert!(!state.may_write() && !state.may_send() && state.may_read());
        state.apply(LaneEvent::WriteFailed);
        assert!(!state.may_write(), "the same entries are written again first");
        state.apply(LaneEvent::WriteStarted);
        state.apply(LaneEvent::WriteEnded);
        state.apply(LaneEvent::PermitGranted);
        assert!(state.may_write() && state.may_send());
    }
}
