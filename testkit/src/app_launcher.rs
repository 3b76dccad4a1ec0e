//! How a test starts the program: settings, data directory, and what runs around it.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::{NamedTempFile, TempDir};

use crate::{TestApp, http_client, stores::store_settings, test_app::PrintedLines};

/// Where `cargo test` says which program it built.
const PROGRAM: &str = "CARGO_BIN_EXE_amoiq";

/// The program that cargo built for this test.
#[must_use]
pub fn program_under_test() -> PathBuf {
    env::var_os(PROGRAM).expect("cargo test says where the program is").into()
}

/// A start of the program, described step by step.
#[derive(Clone)]
#[must_use]
pub struct AppLauncher {
    program: PathBuf,
    data: Option<PathBuf>,
    config: String,
    config_file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    checks_store: bool,
}

impl Default for AppLauncher {
    fn default() -> Self {
        Self::new()
    }
}

impl AppLauncher {
    /// The program under test with a new data directory, the defaults, ports of its own and no rate limits.
    pub fn new() -> Self {
        Self::of(&program_under_test())
    }

    /// The same for a program that a load generator was told. Outside of `cargo test` nobody looks at the store in the end.
    pub fn of(program: &Path) -> Self {
        let launcher = Self {
            program: program.to_owned(),
            data: None,
            config: String::new(),
            config_file: None,
            environment: Vec::new(),
            wrapper: Vec::new(),
            checks_store: env::var_os(PROGRAM).is_some(),
        };
        launcher
            .environment("AMOIQ__SERVER__BIND", "127.0.0.1:0")
            .environment("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
            .environment("AMOIQ__LOG__LEVEL", "warn")
            .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0")
            .environment("AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE", "0")
    }

    /// On this directory, which is created when it is missing.
    pub fn data(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// With a configuration file of its own that holds this text.
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// With this configuration file.
    pub fn config_file(mut self, file: &Path) -> Self {
        self.config_file = Some(file.to_owned());
        self
    }

    /// With an environment variable. The last one of a name counts.
    pub fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With several environment variables.
    pub fn settings(self, settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(self, |launcher, (key, value)| launcher.environment(key, value))
    }

    /// Run by a program that changes something and then becomes this one, as `env` and `prlimit` do.
    pub fn wrapped_in(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Without a look at the store in the end, because the test damages it, or its disk.
    pub fn unchecked(mut self) -> Self {
        self.checks_store = false;
        self
    }

    /// Starts the program and waits until it says where it listens.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> TestApp {
        self.try_start().unwrap_or_else(|printed| panic!("it does not start: {printed}"))
    }

    /// Starts the program and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead: everything that it printed.
    pub fn try_start(mut self) -> Result<TestApp, String> {
        let owned = self.data.is_none().then(|| tempfile::tempdir().expect("a directory"));
        let data = self.data.take().or_else(|| owned.as_ref().map(|owned| owned.path().join("data")));
        let data = data.expect("one of the two");
        let config = self.write_config();
        let mut command = self.command(&data, config.path());
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self::wait_for_address(process.expect("the program starts"), data, owned, self.checks_store)
    }

    fn wait_for_address(
        mut process: Child,
        data: PathBuf,
        owned: Option<TempDir>,
        checks_store: bool,
    ) -> Result<TestApp, String> {
        let printed = PrintedLines::default();
        let (kept, errors) = (Arc::clone(&printed), Arc::<Mutex<Vec<String>>>::default());
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok)
            .inspect(move |line| kept.lock().expect("a lock").push(line.clone()));
        let stderr = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let kept = Arc::clone(&errors);
        let complaints = thread::spawn(move || {
            stderr.for_each(|line| {
                eprintln!("amoiq: {line}");
                kept.lock().expect("a lock").push(line);
            });
        });
        let Some(address) = lines.find_map(|line| listening_address(&line).map(str::to_owned)) else {
            process.wait().expect("it ends");
            complaints.join().expect("it reads to the end");
            let mut lines = printed.lock().expect("a lock").clone();
            lines.append(&mut errors.lock().expect("a lock"));
            return Err(lines.join("\n"));
        };
        // What it prints later is shown with the test's own output.
        thread::spawn(move || lines.for_each(|line| eprintln!("amoiq: {line}")));
        Ok(TestApp { process, address, data, client: http_client(), printed, checks_store, _owned: owned })
    }

    /// Starts the program on its directory and waits for nothing. The program reads the file.
    #[must_use]
    pub fn spawn(self, stdout: Stdio) -> (Child, NamedTempFile) {
        let data = self.data.clone().expect("a directory");
        let file = self.write_config();
        let process = self.command(&data, file.path()).stdout(stdout).spawn();
        (process.expect("the program starts"), file)
    }

    /// Runs the program on its directory until it ends by itself: for a start that is refused.
    #[must_use]
    pub fn output(self) -> Output {
        let data = self.data.clone().expect("a directory");
        let file = self.write_config();
        let mut command = self.command(&data, file.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the program runs")
    }

    fn write_config(&self) -> NamedTempFile {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &self.config).expect("a configuration");
        file
    }

    fn command(&self, data: &Path, config: &Path) -> Command {
        let mut words = self.wrapper.iter().map(Path::new).chain([self.program.as_path()]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .arg("--config")
            .arg(self.config_file.as_deref().unwrap_or(config))
            .env("AMOIQ__STORE__PATH", data)
            .envs(store_settings(data))
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        command
    }
}

/// Where the greeting says that the service listens. It is a line of text, or a JSON object.
fn listening_address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" listens on ")?;
    rest.split('"').next()
}
