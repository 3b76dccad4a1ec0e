//! Signals, and notifications of the service manager.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use amoiq_testkit::{AppLauncher, FaultyDisk, PATIENCE, TestApp, WIDGET_KEY, eventually};
use tempfile::TempDir;

/// A service manager that reads.
struct Manager {
    socket: UnixDatagram,
    name: String,
    _directory: TempDir,
}

impl Manager {
    /// At a path, or at an abstract name.
    fn new(is_abstract: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let text = path.to_str().expect("a text");
        let (socket, name) = if is_abstract {
            let address = SocketAddr::from_abstract_name(text).expect("a name");
            (UnixDatagram::bind_addr(&address), format!("@{text}"))
        } else {
            (UnixDatagram::bind(&path), text.to_owned())
        };
        let socket = socket.expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { socket, name, _directory: directory }
    }

    fn starting(&self) -> AppLauncher {
        AppLauncher::new().environment("NOTIFY_SOCKET", &self.name)
    }

    fn told(&self) -> String {
        let mut message = [0; 1_024];
        let length = self.socket.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}

#[test]
fn a_service_manager_learns_when_the_service_is_ready_and_when_it_stops() {
    for is_abstract in [false, true] {
        let manager = Manager::new(is_abstract);
        let mut app = manager.starting().start();
        let ready = manager.told();
        assert!(ready.starts_with("READY=1\n"), "{ready}");
        assert_eq!(app.request(reqwest::Method::GET, "/readyz").send().expect("an answer").status(), 200);
        assert!(app.terminate().0.success());
        assert_eq!(manager.told(), "STOPPING=1");
    }
}

#[test]
fn a_service_manager_is_asked_for_the_time_of_a_drain() {
    let manager = Manager::new(false);
    let mut app = manager.starting().environment("AMOIQ__SERVER__DRAIN_SECONDS", "1").start();
    assert!(manager.told().starts_with("READY=1\n"));
    assert!(app.terminate().0.success());
    assert_eq!(manager.told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=9000000");
}

#[test]
fn a_watchdog_is_notified_while_the_disk_hangs_because_the_executor_runs() {
    let manager = Manager::new(false);
    let disk = FaultyDisk::new("sync 0 /log.db");
    let app = disk
        .starting()
        .environment("NOTIFY_SOCKET", &manager.name)
        .environment("WATCHDOG_USEC", "100000")
        .start();
    assert!(manager.told().starts_with("READY=1"));
    disk.set();
    std::thread::scope(|scope| {
        let waits =
            scope.spawn(|| app.post(WIDGET_KEY, "/webchat/message", &serde_json::json!({"text": "hello"})));
        disk.wait_until_held();
        // As many as were queued before, and more.
        for _ in 0..40 {
            assert_eq!(manager.told(), "WATCHDOG=1");
        }
        disk.clear();
        assert_eq!(waits.join().expect("an answer").status, 200);
    });
}

#[test]
fn a_watchdog_for_another_process_is_not_notified() {
    let manager = Manager::new(false);
    let start = manager.starting().environment("WATCHDOG_USEC", "1000").environment("WATCHDOG_PID", "1");
    let mut app = start.start();
    assert!(manager.told().starts_with("READY=1"));
    assert!(app.terminate().0.success());
    assert_eq!(manager.told(), "STOPPING=1");
}

#[test]
fn an_unreachable_service_manager_is_logged_and_does_not_delay_the_service() {
    let manager = Manager::new(false);
    let full = UnixDatagram::unbound().expect("a socket");
    full.set_nonblocking(true).expect("set");
    while full.send_to(b"x", &manager.name).is_ok() {}
    for name in [manager.name.as_str(), "/nowhere/at/all", "vsock:2:1", "relative"] {
        let app = AppLauncher::new().environment("NOTIFY_SOCKET", name).start();
        eventually(name, || app.printed(&["ERROR", "the service manager"]));
    }
}

#[test]
fn signals_that_mean_nothing_are_logged_and_do_nothing() {
    let mut app: TestApp = AppLauncher::new().environment("AMOIQ__LOG__LEVEL", "info").start();
    for name in ["HUP", "USR1", "USR2"] {
        app.signal(name);
        eventually(name, || app.printed(&[&format!("SIG{name} has no effect")]));
    }
    app.say(WIDGET_KEY, "session-signals-0123456789", "hello");
    assert!(app.exit_status().is_none());
    let (status, time) = app.terminate();
    assert!(status.success() && time < Duration::from_secs(5), "{status}, {time:?}");
}
