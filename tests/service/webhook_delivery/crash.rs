//! What is sent again after the program has ended: after a crash the running attempts, otherwise nothing.

use std::{collections::HashSet, path::Path, time::Duration};

use amoiq_testkit::{
    SECRET_KEY, TestApp, eventually,
    receivers::{ReceiverRuntime, VerifyingReceiver},
};
use tempfile::TempDir;

use crate::webhook_delivery::endpoint::{Endpoint, start};

const IN_FLIGHT: usize = 8;
const SESSIONS: usize = 24;
const MESSAGES: usize = 96;

/// How long the receiver waits with its answer while the program stops.
const PAUSE: Duration = Duration::from_millis(40);

/// A service with one endpoint that takes everything.
struct Scene {
    app: TestApp,
    endpoint: Endpoint,
    mailbox: VerifyingReceiver,
    said: usize,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (app, mailbox) = (run(directory.path()), VerifyingReceiver::open(&ReceiverRuntime::new()));
        let endpoint = Endpoint::of(&app, SECRET_KEY, &mailbox);
        Self { directory, app, endpoint, mailbox, said: 0 }
    }

    fn say(&mut self, messages: usize) {
        for _ in 0..messages {
            self.app.say(SECRET_KEY, &format!("crash-session-{}", self.said % SESSIONS), "Hello");
            self.said += 1;
        }
    }

    fn restart(&mut self) {
        self.app = run(self.directory.path());
    }

    /// Waits until every message has arrived and is recorded.
    fn settles(&self) {
        eventually("everything is delivered", || self.mailbox.taken() == self.said);
        self.endpoint.settles(&self.app);
    }

    /// Sends messages; when half of them are delivered, the other half is being sent.
    fn is_amid_deliveries(&mut self) {
        let half = self.said + MESSAGES / 2;
        self.mailbox.pause(PAUSE);
        self.mailbox.answer_up_to(half);
        self.say(MESSAGES);
        eventually("half of it is delivered", || self.mailbox.taken() > half);
        assert!(self.mailbox.taken() <= half + IN_FLIGHT);
        self.mailbox.answer_up_to(usize::MAX);
    }

    /// The number of repeated deliveries.
    fn repeats(&self) -> usize {
        let arrivals = self.mailbox.arrivals();
        arrivals.len() - arrivals.iter().map(|arrival| &arrival.id).collect::<HashSet<_>>().len()
    }
}

fn run(data: &Path) -> TestApp {
    start(data, &format!("in_flight_per_endpoint = {IN_FLIGHT}"), "")
}

#[test]
fn a_crash_repeats_only_running_attempts() {
    let mut scene = Scene::new();
    let mut before = 0;
    for _ in 0..5 {
        scene.is_amid_deliveries();
        scene.app.kill();
        scene.restart();
        scene.settles();
        let repeats = scene.repeats() - before;
        assert!(repeats <= IN_FLIGHT, "{repeats} deliveries were repeated");
        before += repeats;
    }
    assert!(before > 0, "no kill came amid a delivery");
}

#[test]
fn a_clean_stop_amid_deliveries_repeats_nothing() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.is_amid_deliveries();
        let (status, _) = scene.app.terminate();
        assert!(status.success(), "{status}");
        scene.restart();
        scene.settles();
        assert_eq!(scene.repeats(), 0);
    }
}

#[test]
fn a_start_sends_nothing_again_that_was_delivered() {
    let mut scene = Scene::new();
    scene.say(MESSAGES);
    scene.settles();
    let stops: [fn(&mut Scene); 3] = [
        |scene| scene.app.kill(),
        |scene| assert!(scene.app.terminate().0.success()),
        |scene| {
            scene.app.kill();
            forget_views(scene.directory.path());
        },
    ];
    for stop in stops {
        stop(&mut scene);
        scene.restart();
        // Anything that is sent again would be sent before this.
        scene.say(1);
        scene.settles();
        assert_eq!(scene.mailbox.arrivals().len(), scene.said);
    }
}

fn forget_views(data: &Path) {
    let mut removed = 0;
    for entry in std::fs::read_dir(data).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_name().to_string_lossy().starts_with("views.db") {
            std::fs::remove_file(entry.path()).expect("removed");
            removed += 1;
        }
    }
    assert!(removed > 0, "there are no views");
}
