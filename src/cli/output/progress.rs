//! The progress of long work: on a terminal a bar with the rate and the time left, elsewhere a plain line every two
//! seconds. All of it goes to standard error: standard output is for results.

use std::{
    fmt,
    io::IsTerminal,
    time::{Duration, Instant},
};

use amoiq_events::store::transfer::work_progress::WorkProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::print_status;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How often the terminal is redrawn while nothing advances.
const TICK: Duration = Duration::from_millis(200);

/// One piece of work.
pub(crate) struct ProgressDisplay {
    what: String,
    done: u64,
    /// 0 while unknown.
    total: u64,
    since: Instant,
    last_line: Instant,
    /// Nothing if there is no terminal.
    bar: Option<ProgressBar>,
}

impl ProgressDisplay {
    /// Starts work of `total` steps; 0 if the number is unknown.
    pub(crate) fn new(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        let now = Instant::now();
        Self { what: what.to_owned(), done: 0, total, since: now, last_line: now, bar }
    }

    /// Counts finished steps.
    pub(crate) fn advance(&mut self, steps: u64) {
        self.done += steps;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                print_status(&self.line());
            }
            None => {}
        }
    }

    /// Counts the steps up to this number.
    pub(crate) fn reach(&mut self, done: u64) {
        self.advance(done.saturating_sub(self.done));
    }

    /// Prints how much was done in which time.
    pub(crate) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.since.elapsed().as_secs_f64();
        let (what, done) = (&self.what, self.done);
        print_status(&format!("{what}: {done} in {seconds:.1} s ({:.0}/s)", self.rate()));
    }

    fn line(&self) -> String {
        let (what, done, total, rate) = (&self.what, self.done, self.total, self.rate());
        if total == 0 {
            return format!("{what}: {done} ({rate:.0}/s)");
        }
        let percent = done.saturating_mul(100) / total;
        let left = if rate > 0.0 { of(total.saturating_sub(done)) / rate } else { 0.0 };
        format!("{what}: {done} of {total} ({percent} %, {rate:.0}/s, {left:.0} s left)")
    }

    /// Steps per second since the start.
    fn rate(&self) -> f64 {
        of(self.done) / self.since.elapsed().as_secs_f64().max(0.001)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn of(count: u64) -> f64 {
    count as f64
}

fn bar(what: &str, total: u64) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (ProgressBar::new_spinner(), "{msg} {spinner} {human_pos} ({rate})")
    } else {
        let template = "{msg} [{wide_bar}] {human_pos}/{human_len} ({rate}, {eta} left)";
        (ProgressBar::new(total), template)
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // A template that does not parse is a defect that every use shows; the default style is readable too.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // The rate that the library prints has four decimal places.
    bar.set_style(style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
        let _is_drawn = to.write_fmt(format_args!("{:.0}/s", state.per_sec()));
    }));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// Work in several stages, each with its own bar.
#[derive(Default)]
pub(crate) struct StagedProgress {
    current: Option<(&'static str, ProgressDisplay)>,
}

impl StagedProgress {
    /// Shows how far the work has got.
    pub(crate) fn show(&mut self, work: WorkProgress) {
        match &mut self.current {
            Some((what, progress)) if *what == work.what => {
                progress.reach(work.done);
            }
            _ => {
                self.finish();
                let mut progress = ProgressDisplay::new(work.what, work.total);
                progress.advance(work.done);
                self.current = Some((work.what, progress));
            }
        }
    }

    /// Ends the last stage.
    pub(crate) fn finish(&mut self) {
        if let Some((_, progress)) = self.current.take() {
            progress.finish();
        }
    }
}
