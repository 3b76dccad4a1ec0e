//! A disk whose calls fail when a test says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{AppLauncher, cli, eventually};

/// A disk whose calls fail as `faulty_disk.c` says.
pub struct FaultyDisk {
    directory: TempDir,
    data: PathBuf,
    fault: String,
}

impl FaultyDisk {
    /// With the fault it will have: a line as `faulty_disk.c` reads it.
    pub fn new(fault: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/faulty_disk.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"])
            .arg(directory.path().join("disk.so"))
            .status();
        assert!(compiled.expect("cc runs").success());
        let data = directory.path().join("data");
        Self { directory, data, fault: fault.to_owned() }
    }

    /// The program on this disk, to be started.
    pub fn starting(&self) -> AppLauncher {
        let path = |name| self.directory.path().join(name).display().to_string();
        AppLauncher::new()
            .data(&self.data)
            .environment("LD_PRELOAD", &path("disk.so"))
            .environment("DISK_FAULTS", &path("faults"))
            .environment("DISK_CALLS", &path("calls"))
    }

    /// The cuts and syncs that it did so far, oldest first: `cut PATH`, `sync PATH`.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// The program with arguments on this disk, to be run beside the service.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cli::command(&self.data);
        let path = |name: &str| self.directory.path().join(name);
        command.args(arguments);
        command.env("LD_PRELOAD", path("disk.so")).env("DISK_FAULTS", path("faults"));
        command
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Has the fault from now on.
    pub fn set(&self) {
        // Renamed, so that nobody reads half a line.
        let new = self.directory.path().join("new");
        fs::write(&new, &self.fault).expect("written");
        fs::rename(new, self.directory.path().join("faults")).expect("renamed");
    }

    /// Has it no longer.
    pub fn clear(&self) {
        fs::remove_file(self.directory.path().join("faults")).expect("removed");
    }

    /// Waits until a call is held.
    pub fn wait_until_held(&self) {
        let held = self.directory.path().join("faults.held");
        eventually("a call is held", || held.exists());
        fs::remove_file(held).expect("removed");
    }
}
