//! The data directory that a release wrote (`fixtures/make`), unpacked; and what was read from it then.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use amoiq_actors::{inbox::InboxProjection, projections::Projection as _};
use amoiq_testkit::{AppLauncher, eventually, store_invariants::copy_of};
use serde_json::Value;
use tempfile::TempDir;

/// What the configuration of the fixtures calls its keys.
pub const FIXTURE_SECRET: &str = "sk_fixture_0000000000000000";

/// The configuration that they were made under. Without it its keys would be revoked.
pub fn configuration() -> PathBuf {
    fixtures().join("amoiq.toml")
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/operations/fixtures"))
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

/// The same, opened by this release and stopped again. It has deliveries of every status.
pub fn reopened() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let (data, _) = unpacked("0.1.0");
        let service = AppLauncher::new().data(data.path()).config_file(&configuration()).start();
        eventually("the inbox is made again, and what was before is gone", || has_settled(data.path()));
        service.stop();
        data
    });
    copy_of(made.path())
}

/// Whether this release's tables serve, and no others are there.
pub fn has_settled(data: &Path) -> bool {
    let sql = "SELECT count(*) = 1 AND min(state) = 1 AND min(version) = ?1 FROM generations";
    let views = rusqlite::Connection::open(data.join("views.db")).expect("a database");
    views.query_row(sql, [InboxProjection::VERSION], |row| row.get(0)).is_ok_and(|settled: bool| settled)
}
