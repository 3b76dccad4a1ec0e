//! The data directory that a release wrote (`fixtures/make`), unpacked; and what was read from it then.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::given::{Service, copy};

/// How long a service may take for its tables.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the configuration of the fixtures calls its keys.
pub const FIXTURE_SECRET: &str = "sk_fixture_0000000000000000";

/// The configuration that they were made under. Without it its keys would be revoked.
pub fn configuration() -> String {
    fixtures().join("amoiq.toml").to_string_lossy().into_owned()
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operations/fixtures"))
}

/// What a release wrote, and what it read from it.
pub fn unpacked(release: &str) -> (TempDir, Value) {
    let data = tempfile::tempdir().expect("a directory");
    let archive = fixtures().join(format!("{release}.tar.gz"));
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(data.path()).status();
    assert!(unpacked.expect("tar runs").success());
    let expected = data.path().join("expected.json");
    let read = serde_json::from_slice(&fs::read(&expected).expect("a file")).expect("JSON");
    fs::remove_file(expected).expect("removed");
    (data, read)
}

/// Waits until no table is being filled or dropped any more.
fn wait_for_tables(views: &Path) {
    let deadline = Instant::now() + DEADLINE;
    let settled = |conn: &Connection| {
        let sql = "SELECT count(*) > 0 AND min(state) = 1 AND max(state) = 1 FROM generations";
        conn.query_row(sql, [], |row| row.get::<_, bool>(0))
    };
    while !Connection::open(views).is_ok_and(|conn| settled(&conn).unwrap_or_default()) {
        assert!(Instant::now() < deadline, "the tables are not there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same, opened by this release and stopped again. It has deliveries of every status.
pub fn reopened() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let (data, _) = unpacked("0.1.0");
        let service = Service::start_told(data.path(), &["--config", &configuration()]);
        wait_for_tables(&data.path().join("views.db"));
        service.stop();
        data
    });
    copy(made.path())
}
