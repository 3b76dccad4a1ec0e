//! Standard output: the greeting ends the first lines, JSON output contains only JSON, and a reader that does not read
//! delays neither the start nor the stop.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, PATIENCE, TestApp, eventually, http_client, metric_value};
use reqwest::Method;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

/// The longest from SIGTERM to the end.
const END: Duration = Duration::from_secs(5);

/// A service whose standard output the test does not read.
struct Service {
    process: Child,
    data: TempDir,
    _config: NamedTempFile,
}

impl Service {
    fn start(settings: &[(&str, &str)], wrap: &[&str], stdout: Stdio) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let launcher = AppLauncher::new().data(data.path()).environment("AMOIQ__LOG__LEVEL", "info");
        let (process, config) = launcher.settings(settings).wrapped_in(wrap).spawn(stdout);
        Self { process, data, _config: config }
    }

    /// A field of `operator.json`, once it is there and whole.
    fn door(&self, field: &str) -> String {
        let file = self.data.path().join("operator.json");
        let said = || serde_json::from_slice::<Value>(&std::fs::read(&file).ok()?).ok();
        eventually("the service starts", || said().is_some());
        said().expect("JSON")[field].as_str().expect("a text").to_owned()
    }

    fn get(&self, of: &str, path: &str) -> String {
        let url = format!("{}{path}", self.door(of));
        let answer = http_client().request(Method::GET, url).send().expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.text().expect("a text")
    }

    /// Sends the same request many times over one connection.
    fn get_often(&self, path: &str, times: usize) {
        let (client, url) = (http_client(), format!("{}{path}", self.door("service")));
        (0..times).for_each(|_| assert_eq!(client.get(&url).send().expect("an answer").status(), 200));
    }

    fn terminate(mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        loop {
            if let Some(status) = self.process.try_wait().expect("a state") {
                return (status, since.elapsed());
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A full output, and the reader that has stopped.
fn full() -> (UnixStream, Stdio) {
    let (reader, mut writer) = UnixStream::pair().expect("a pair");
    writer.set_nonblocking(true).expect("set");
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    writer.set_nonblocking(false).expect("set");
    (reader, OwnedFd::from(writer).into())
}

#[test]
fn a_blocked_output_delays_neither_the_start_nor_the_stop() {
    let (_reader, full_pipe) = full();
    let gone = || {
        let (reader, writer) = UnixStream::pair().expect("a pair");
        drop(reader);
        Stdio::from(OwnedFd::from(writer))
    };
    let full_disk = File::options().write(true).open("/dev/full").expect("a device");
    let closed = ["sh", "-c", "exec \"$0\" >&-"];
    let outputs: [(&str, &[&str], Stdio); 4] = [
        ("nobody reads", &[], full_pipe),
        ("the reader is gone", &[], gone()),
        ("the disk is full", &[], full_disk.into()),
        ("it is closed", &closed, Stdio::null()),
    ];
    for (what, wrap, output) in outputs {
        let service = Service::start(&[], wrap, output);
        service.get("service", "/readyz");
        let (status, time) = service.terminate();
        assert!(status.success() && time < END, "{what}: {status}, {time:?}");
    }
}

#[test]
fn a_reader_that_stops_until_lines_are_lost_does_not_delay_the_stop() {
    let (_reader, output) = full();
    let settings = [("AMOIQ__LOG__LEVEL", "trace"), ("AMOIQ__LOG__FORMAT", "json")];
    let service = Service::start(&settings, &[], output);
    let lost =
        || metric_value(&service.get("operator", "/metrics"), "amoiq_log_lines_lost_total").expect("a count");
    eventually("lines are lost", || {
        service.get_often("/healthz", 200);
        lost() > 0.0
    });
    let (status, time) = service.terminate();
    assert!(status.success() && time < END, "{status}, {time:?}");
}

/// What a service printed that was started on a new directory and stopped once it was ready.
fn said(settings: &[(&str, &str)]) -> String {
    let (mut reader, writer) = UnixStream::pair().expect("a pair");
    let service = Service::start(settings, &[], OwnedFd::from(writer).into());
    service.get("service", "/readyz");
    assert!(service.terminate().0.success());
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("a text");
    said
}

#[test]
fn every_json_line_is_json_including_the_greeting() {
    for format in ["auto", "json"] {
        let said = said(&[("AMOIQ__LOG__FORMAT", format)]);
        let lines: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        let message = |line: &Value| line["message"].as_str().expect("a message").to_owned();
        let greetings = lines.iter().filter(|line| message(line).contains(" listens on http://127.0.0.1:"));
        let greetings: Vec<_> = greetings.collect();
        assert_eq!(greetings.len(), 1, "{said}");
        assert!(greetings[0]["demo"].as_str().expect("a text").contains("curl -X POST"), "{said}");
        assert_eq!((&greetings[0]["level"], &greetings[0]["timestamp"].is_string()), (&"INFO".into(), &true));
    }
}

#[test]
fn a_first_start_prints_its_address_and_nothing_before_it() {
    // It would warn of too few files for the configured sockets.
    let few = [("AMOIQ__REALTIME__MAX_CONNECTIONS", "100"), ("AMOIQ__REALTIME__HELD_CONNECTIONS", "0")];
    let said = said(&[&[("AMOIQ__LOG__FORMAT", "pretty")], &few[..]].concat());
    assert!(said.starts_with("amoiq "), "{said}");
    let (greeting, rest) =
        said.split_once("-H 'Authorization: Bearer wk_demo_0000000000000000'\n\n").expect("whole");
    assert!(
        greeting.contains("\nA demo tenant is available on this machine") && !greeting.contains(" INFO "),
        "{said}"
    );
    assert!(rest.contains("stopping"), "{said}");
    for chatter in ["workers", "Actix", "Tokio", "rebuilt", "whole log"] {
        assert!(!said.contains(chatter), "{chatter}: {said}");
    }
}

#[test]
fn the_greeting_is_printed_at_every_log_level() {
    for level in ["off", "error", "amoiq::http=debug"] {
        let app = AppLauncher::new().environment("AMOIQ__LOG__LEVEL", level).start();
        assert!(app.printed(&["listens on"]));
    }
}

#[test]
fn the_start_raises_the_limit_of_open_files_and_warns_of_too_few_files_and_rare_pings() {
    let start = |files: &'static str| {
        AppLauncher::new()
            .wrapped_in(&["prlimit", files])
            .environment("AMOIQ__REALTIME__MAX_CONNECTIONS", "1000")
            .environment("AMOIQ__REALTIME__HELD_CONNECTIONS", "0")
    };
    let limit = |app: &TestApp| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", app.pid())).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line").to_owned();
        line.split_whitespace().nth(3).expect("a limit").to_owned()
    };
    let warns = |app: &TestApp| app.printed(&["WARN", "realtime.max_connections"]);
    let app = start("--nofile=512:2048").start();
    assert_eq!((limit(&app).as_str(), warns(&app)), ("2048", false));
    let app = start("--nofile=512:1024").environment("AMOIQ__REALTIME__PING_INTERVAL_MS", "50001").start();
    assert_eq!((limit(&app).as_str(), warns(&app)), ("1024", true));
    assert!(app.printed(&["WARN", "realtime.ping_interval_ms"]));
    let app = start("--nofile=2048:2048").environment("AMOIQ__REALTIME__PING_INTERVAL_MS", "50000").start();
    assert!(!app.printed(&["WARN", "realtime.ping_interval_ms"]));
}
