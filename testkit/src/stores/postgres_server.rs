//! A real PostgreSQL for a test: in a temporary folder, on a port of its own, as an unprivileged user.
//!
//! The server is a child of a shell that waits for the test's process to let go of it: so it ends, and its folder is
//! removed, also when the test's process is killed. Several tests share one server, each with a schema of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

mod standby;

/// What to do where there is no PostgreSQL.
const INSTALL: &str = "PostgreSQL 15 or newer and PgBouncer are not installed: on Debian, \
    `apt-get install --no-install-recommends postgresql pgbouncer`, which tests/run does";

/// The user `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// How long a server may take to start, also after a crash.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server, names its process, and waits for a line. Without one, which is so when the test's process has ended,
/// the folder goes with the server.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 </dev/null &
server=$!
echo "$server"
read -r word
kill -QUIT "$server" 2>/dev/null
wait "$server"
[ "$word" = keep ] || rm -rf "$2"
"#;

/// The server that the tests of this process share.
static SHARED: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

/// Counts the schemas of this process.
static SCHEMAS: AtomicU64 = AtomicU64::new(1);

/// A server. It is stopped and its folder is removed when it is dropped or the process ends.
pub struct PostgresServer {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    keeper: Option<Child>,
    pid: u32,
}

impl PostgresServer {
    /// The one that all tests of this process share. It is stopped when the process ends.
    #[must_use]
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts a server of one's own.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let programs = programs().unwrap_or_else(|| panic!("{INSTALL}"));
        let mut server = Self::in_new_folder(programs);
        server.initialise();
        server.resume();
        server
    }

    /// `postgres://amoiq@127.0.0.1:PORT/postgres`
    #[must_use]
    pub fn address(&self) -> String {
        format!("postgres://amoiq@127.0.0.1:{}/postgres", self.port)
    }

    /// The port on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A name for a schema that no other test of this process has.
    #[must_use]
    pub fn new_schema(&self) -> String {
        format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed))
    }

    /// What a statement answers, as text: rows on lines, columns with `|` between.
    #[track_caller]
    pub fn ask(&self, statement: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1"]);
        let output = psql.args([&self.address(), "--command", statement]).output().expect("psql runs");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a statement of one's own, which takes its time.
    #[must_use]
    pub fn ask_beside(&self, statement: &str) -> Child {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", &self.address(), "--command", statement]);
        psql.stdout(Stdio::null()).spawn().expect("psql runs")
    }

    /// Puts a file into the server's folder of data, which only the server can read.
    pub fn put_file(&self, name: &str, text: &str) {
        let path = self.folder.join("data").join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        give_away(&path);
    }

    /// Sets a setting of the server, which holds from then on.
    #[track_caller]
    pub fn set(&self, setting: &str, value: &str) {
        self.ask(&format!("ALTER SYSTEM SET {setting} = {value}"));
        self.ask("SELECT pg_reload_conf()");
        let wanted = value.trim_matches('\'');
        crate::eventually(&format!("{setting} is {value}"), || {
            self.ask(&format!("SHOW {setting}")) == wanted
        });
    }

    /// Stops the server as an operator would: sessions are ended, what is in memory is written.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Kills the server at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// Stops every process of the server where it is, as a machine that hangs, until the guard is dropped.
    pub fn pause(&self) -> PausedServer {
        // The server first, so that it starts no more of the others.
        send("STOP", self.pid);
        let mut paused = PausedServer(vec![self.pid]);
        for pid in children(self.pid) {
            send("STOP", pid);
            paused.0.push(pid);
        }
        paused
    }

    /// Starts the server again on what is in its folder.
    #[track_caller]
    pub fn resume(&mut self) {
        let since = Instant::now();
        while !self.try_resume() {
            assert!(since.elapsed() < PATIENCE, "the server does not start: {}", self.log());
            // The processes of one that was killed take a moment to notice.
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a pooler in front of the server, which pools `session`s or `transaction`s.
    #[must_use]
    #[track_caller]
    pub fn start_pooler(&self, mode: &str) -> ConnectionPooler {
        let folder = tempfile::tempdir_in(&self.folder).expect("a folder");
        let port = free_port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {folder}/users\n\
             pool_mode = {mode}\n",
            server = self.port,
            folder = folder.path().display(),
        );
        fs::write(folder.path().join("users"), "\"amoiq\" \"\"\n").expect("its users");
        fs::write(folder.path().join("settings"), settings).expect("its settings");
        give_away(folder.path());
        let mut pooler = self.command(Path::new("/usr/sbin/pgbouncer"));
        pooler.arg("--quiet").arg(folder.path().join("settings")).stderr(Stdio::null());
        let process = pooler.spawn().unwrap_or_else(|_missing| panic!("{INSTALL}"));
        let pooler = ConnectionPooler { process, port, _folder: folder };
        crate::eventually("the pooler listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        pooler
    }

    /// The files of tables and indexes that contain these bytes, after everything in memory is written.
    #[must_use]
    #[track_caller]
    pub fn table_files_with(&self, bytes: &[u8]) -> Vec<PathBuf> {
        self.ask("CHECKPOINT");
        let databases = fs::read_dir(self.folder.join("data/base")).expect("its databases");
        let files =
            databases.flat_map(|database| fs::read_dir(database.expect("one").path()).expect("its files"));
        let files = files.map(|file| file.expect("one").path());
        let has_bytes = |path: &PathBuf| {
            let content = fs::read(path).unwrap_or_default();
            content.windows(bytes.len()).any(|window| window == bytes)
        };
        files.filter(has_bytes).collect()
    }

    /// What the server wrote into its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn initialise(&self) {
        let data = self.folder.join("data");
        let mut initdb = self.command(&self.programs.join("initdb"));
        initdb.args(["--username=amoiq", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let output = initdb.arg("--pgdata").arg(&data).output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        self.configure(&format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nmax_connections = 200\n\
             shared_buffers = 32MB\nlog_min_messages = warning\n",
            self.port
        ));
    }

    /// Adds settings, which count from the next start.
    fn configure(&self, settings: &str) {
        let path = self.folder.join("data/postgresql.conf");
        let before = fs::read_to_string(&path).expect("the settings");
        fs::write(&path, before + settings).expect("the settings are written");
    }

    fn in_new_folder(programs: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder").keep();
        give_away(&folder);
        Self { programs, folder, port: free_port(), keeper: None, pid: 0 }
    }

    fn try_resume(&mut self) -> bool {
        self.release("keep");
        let mut keeper = self.command(Path::new("/bin/sh"));
        keeper.args(["-c", KEEPER, "keeper"]).arg(&self.programs).arg(&self.folder);
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        let output = keeper.stdout.as_mut().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("the server's process");
        self.pid = line.trim().parse().expect("a process id");
        self.keeper = Some(keeper);
        let since = Instant::now();
        while since.elapsed() < PATIENCE
            && Path::new(&format!("/proc/{}", self.pid)).exists()
            && !is_zombie(self.pid)
        {
            if self.is_ready() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn is_ready(&self) -> bool {
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["--quiet", "--host=127.0.0.1", "--username=amoiq", "--port", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    fn end(&mut self, signal: &str) {
        send(signal, self.pid);
        crate::eventually("the server ends", || {
            !Path::new(&format!("/proc/{}", self.pid)).exists() || is_zombie(self.pid)
        });
        self.release("keep");
    }

    /// Tells the shell what becomes of the folder, and waits for it.
    fn release(&mut self, word: &str) {
        if let Some(mut keeper) = self.keeper.take() {
            let mut input = keeper.stdin.take().expect("its input");
            writeln!(input, "{word}").expect("it listens");
            drop(input);
            keeper.wait().expect("the shell ends");
        }
    }

    /// A program that runs as the server's user.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

/// `PgBouncer`. It is killed when it is dropped.
pub struct ConnectionPooler {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl ConnectionPooler {
    /// The address of the server through it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("postgres://amoiq@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for ConnectionPooler {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A server that does nothing. It goes on when this is dropped.
#[must_use]
pub struct PausedServer(Vec<u32>);

impl Drop for PausedServer {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| send("CONT", *pid));
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.release("remove");
        // The shell has done it, unless the server was stopped before.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Where the newest server's programs are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = versions.filter_map(|path| Some((number(&path)?, path.join("bin")))).max()?;
    Some(newest).filter(|(version, bin)| *version >= 15 && bin.join("initdb").exists()).map(|(_, bin)| bin)
}

/// The processes that one has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parent = parent.to_string();
    processes.filter(|pid| state(*pid).split_whitespace().nth(1) == Some(&parent)).collect()
}

/// What the system says of a process after its name: its state, its parent.
fn state(pid: u32) -> String {
    let all = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    all.rsplit(") ").next().unwrap_or_default().to_owned()
}

/// Whether a process has ended and was not waited for.
fn is_zombie(pid: u32) -> bool {
    state(pid).starts_with('Z')
}

/// Lets the server's user have a file or a folder.
fn give_away(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("/proc").uid() == 0
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
