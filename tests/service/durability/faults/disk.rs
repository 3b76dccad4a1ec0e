//! Disks that fail when a test says so.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use amoiq_testkit::{AppLauncher, FaultyDisk, TestApp};
use tempfile::TempDir;

use super::Disk;

/// A small file system of its own, which a file fills.
pub struct Mount {
    directory: TempDir,
    data: PathBuf,
}

impl Mount {
    /// `None` where mounting is refused.
    pub fn new() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(directory.path())
            .status();
        let data = directory.path().join("data");
        mount.is_ok_and(|status| status.success()).then_some(Self { directory, data })
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the program of a failed test may still have files open.
        let unmount = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        assert!(unmount.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

impl Disk for Mount {
    fn start(&self) -> TestApp {
        AppLauncher::new().data(&self.data).start()
    }

    /// Fills all but 100 KiB, so that messages use up the last of it.
    fn fail(&self, _: &TestApp) {
        let free = || {
            let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.directory.path()).output();
            let text = String::from_utf8(output.expect("stat runs").stdout).expect("a text");
            let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            numbers[0] * numbers[1]
        };
        let size = usize::try_from(free() - 100 * 1024).expect("fits");
        fs::write(self.filler(), vec![0; size]).expect("there is room for it");
    }

    fn mend(&self, _: &TestApp) {
        fs::remove_file(self.filler()).expect("removed");
    }
}

/// The kernel's limit on the size of a file, set on the running process.
pub struct LimitedFile(TempDir);

impl LimitedFile {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn limit(app: &TestApp, bytes: &str) {
        let status = Command::new("prlimit")
            .args(["--pid", &app.pid().to_string(), &format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(status.expect("prlimit runs").success());
    }
}

impl Disk for LimitedFile {
    /// The signal is ignored, so that a write that goes beyond the limit fails as on a full disk.
    fn start(&self) -> TestApp {
        AppLauncher::new().data(self.0.path()).wrapped_in(&["env", "--ignore-signal=XFSZ"]).start()
    }

    fn fail(&self, app: &TestApp) {
        let size = fs::metadata(self.0.path().join("log.db-wal")).expect("a file").size();
        Self::limit(app, &(size + 100 * 1024).to_string());
    }

    fn mend(&self, app: &TestApp) {
        // A killed process takes its limit with it.
        if Path::new("/proc").join(app.pid().to_string()).exists() {
            Self::limit(app, "unlimited");
        }
    }
}

impl Disk for FaultyDisk {
    fn start(&self) -> TestApp {
        self.starting().start()
    }

    fn fail(&self, _: &TestApp) {
        self.set();
    }

    fn mend(&self, _: &TestApp) {
        self.clear();
    }
}
