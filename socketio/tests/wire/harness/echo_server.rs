//! The echo server, as a process of its own on a free port of loopback.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How long a test waits for anything. Shorter than every timeout of the server that is not the subject of a test, so
/// that no test takes one for an answer.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A running echo server. When it is dropped, it has to be alive and to have reported no panic; then it is killed.
pub struct EchoServer {
    process: Child,
    pub address: SocketAddr,
}

impl EchoServer {
    /// Starts with a heartbeat and a connect timeout that no test waits for.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with other settings: `--name value`.
    pub fn start_with(settings: &[(&str, u64)]) -> Self {
        let calm = [("--ping-interval", 25_000), ("--ping-timeout", 20_000), ("--connect-timeout", 45_000)];
        let given = |name: &str| settings.iter().any(|(given, _)| *given == name);
        let mut command = Command::new(program());
        for (name, value) in calm.iter().filter(|(name, _)| !given(name)).chain(settings) {
            command.args([(*name).to_owned(), value.to_string()]);
        }
        let mut process = command
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`cargo build -p amoiq-socketio --example echo_server` comes first");
        let mut line = String::new();
        let said = process.stdout.as_mut().expect("its output");
        BufReader::new(said).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("echo server listens on http://").expect("where it listens");
        Self { address: address.parse().expect("an address"), process }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "{name} was not sent");
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        let ended = self.process.try_wait();
        let _ended = self.process.kill();
        let _status = self.process.wait();
        let mut complaints = String::new();
        if let Some(stderr) = &mut self.process.stderr {
            let _read = stderr.read_to_string(&mut complaints);
        }
        if !thread::panicking() {
            assert!(matches!(ended, Ok(None)), "the server ended: {ended:?}");
            assert_eq!(complaints, "", "the server complained");
        }
    }
}

/// Cargo builds examples into the folder above that of test binaries.
fn program() -> std::path::PathBuf {
    let binary = env::current_exe().expect("this binary");
    let target = binary.parent().and_then(|deps| deps.parent()).expect("the folder of the build");
    target.join("examples/echo_server")
}
