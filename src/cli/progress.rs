//! How far long work has come: a bar with rate and time left on a terminal, a plain line now and then
//! elsewhere. All of it goes to standard error: standard output is for results.

use std::{
    fmt,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use amoiq_events::store::sqlite::WorkProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// How often a terminal is drawn to while nothing advances.
const TICK: Duration = Duration::from_millis(200);

/// Work under way.
pub struct Progress {
    what: String,
    done: u64,
    /// 0 while nobody knows.
    total: u64,
    since: Instant,
    lined: Instant,
    /// Nothing where there is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins work of `total` steps; 0 when nobody knows how many there are.
    #[must_use]
    pub fn new(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        let now = Instant::now();
        Self { what: what.to_owned(), done: 0, total, since: now, lined: now, bar }
    }

    /// Counts steps that were done.
    pub fn advance(&mut self, steps: u64) {
        self.done += steps;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.lined.elapsed() >= LINE_EVERY => {
                self.lined = Instant::now();
                say(&self.line());
            }
            None => {}
        }
    }

    /// Says how much was done, in which time.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.since.elapsed().as_secs_f64();
        let (what, done) = (&self.what, self.done);
        say(&format!("{what}: {done} in {seconds:.1} s ({:.0}/s)", self.rate()));
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

    /// Steps a second since it began.
    fn rate(&self) -> f64 {
        of(self.done) / self.since.elapsed().as_secs_f64().max(0.001)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn of(count: u64) -> f64 {
    count as f64
}

fn bar(what: &str, total: u64) -> ProgressBar {
    let (bar, form) = if total == 0 {
        (ProgressBar::new_spinner(), "{msg} {spinner} {human_pos} ({rate})")
    } else {
        let form = "{msg} [{wide_bar}] {human_pos}/{human_len} ({rate}, {eta} left)";
        (ProgressBar::new(total), form)
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // A form that does not parse is a defect that every use of it shows; the default is readable too.
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    // The library's own rate has four digits behind the point.
    bar.set_style(style.with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
        let _is_drawn = to.write_fmt(format_args!("{:.0}/s", state.per_sec()));
    }));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// Writes a line to standard error. Nowhere is left to say that it is closed.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Work of several parts, each with a bar of its own.
#[derive(Default)]
pub(crate) struct Parts {
    current: Option<(&'static str, Progress)>,
}

impl Parts {
    /// Shows how far the work has come.
    pub(crate) fn show(&mut self, work: WorkProgress) {
        match &mut self.current {
            Some((what, progress)) if *what == work.what => {
                progress.advance(work.done.saturating_sub(progress.done));
            }
            _ => {
                self.finish();
                let mut progress = Progress::new(work.what, work.total);
                progress.advance(work.done);
                self.current = Some((work.what, progress));
            }
        }
    }

    /// Ends the last part.
    pub(crate) fn finish(&mut self) {
        if let Some((_, progress)) = self.current.take() {
            progress.finish();
        }
    }
}
