//! The same with a power cut instead of a kill: a seed chooses, page by page, which writes since the last sync of a file are
//! on the disk, and whether the directory has its old names or the new ones.
//!
//! `power.c` records what was synced; this module chooses the rest. `AMOIQ_POWER_ROUNDS` makes more cuts than 4,
//! `AMOIQ_POWER_SEED` (by default a fixed number, so that every run is the same) makes others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use amoiq_events::{Ambient, ambient::SeededEntropy};
use amoiq_testkit::{AppLauncher, TestApp, cli};
use tempfile::TempDir;

use super::{CONNECTIONS, Connection, ROUNDS_OF_SESSIONS, check, write_and_kill};

/// What a disk writes atomically.
const SECTOR: usize = 512;

/// The longest that a start is given before a cut amid it.
const START_US: u64 = 250_000;

/// A machine whose power is cut.
struct Machine {
    library: TempDir,
    /// The data directory.
    data: TempDir,
    /// The part of it that is on the disk.
    disk: TempDir,
}

impl Machine {
    fn new() -> Self {
        let library = tempfile::tempdir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/service/durability/power.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"])
            .arg(library.path().join("power.so"))
            .status();
        assert!(compiled.expect("cc runs").success());
        let directory = || tempfile::tempdir().expect("a directory");
        Self { library, data: directory(), disk: directory() }
    }

    fn starting(&self) -> AppLauncher {
        let text = |path: &Path| path.display().to_string();
        AppLauncher::new()
            .data(self.data.path())
            .environment("LD_PRELOAD", &text(&self.library.path().join("power.so")))
            .environment("POWER_DIR", &text(self.data.path()))
            .environment("POWER_DISK", &text(self.disk.path()))
    }

    /// What is there when the power is back. The process is gone already.
    fn lose_power(&mut self, dice: &SeededEntropy) {
        let loss = Loss::choose(dice);
        let survived = tempfile::tempdir().expect("a directory");
        for (name, inode) in loss.names(&self.synced(), &self.current(), dice) {
            let image = fs::read(self.disk.path().join(inode.to_string())).unwrap_or_default();
            let written = self.written(inode).and_then(|path| fs::read(path).ok());
            let bytes = loss.bytes(image, written, dice);
            fs::write(survived.path().join(name), bytes).expect("written");
        }
        self.data = survived;
        self.disk = tempfile::tempdir().expect("a directory");
    }

    /// The names that the directory had when it was synced last.
    fn synced(&self) -> BTreeMap<String, u64> {
        let names = fs::read_to_string(self.disk.path().join("names")).expect("names");
        let parse = |line: &str| {
            let (inode, name) = line.split_once(' ').expect("a line");
            (name.to_owned(), inode.parse().expect("a number"))
        };
        names.lines().map(parse).collect()
    }

    /// Those that it has.
    fn current(&self) -> BTreeMap<String, u64> {
        let entries =
            fs::read_dir(self.data.path()).expect("a directory").map(|entry| entry.expect("an entry"));
        entries
            .filter(|entry| entry.file_type().expect("a type").is_file())
            .map(|entry| {
                let inode = entry.metadata().expect("metadata").ino();
                (entry.file_name().into_string().expect("a name"), inode)
            })
            .collect()
    }

    fn written(&self, inode: u64) -> Option<PathBuf> {
        let found = self.current().into_iter().find(|(_, of)| *of == inode);
        found.map(|(name, _)| self.data.path().join(name))
    }
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy)]
enum Loss {
    /// All of it.
    Everything,
    /// Sectors and names as the dice fall.
    Some,
    /// None: the power went after the disk had written it by itself.
    Nothing,
}

impl Loss {
    fn choose(dice: &SeededEntropy) -> Self {
        match dice.next() % 5 {
            0 | 1 => Self::Everything,
            2 | 3 => Self::Some,
            _ => Self::Nothing,
        }
    }

    fn keeps(self, dice: &SeededEntropy) -> bool {
        match self {
            Self::Everything => false,
            Self::Some => dice.next().is_multiple_of(2),
            Self::Nothing => true,
        }
    }

    /// Which names there are, each old or new.
    fn names(
        self,
        synced: &BTreeMap<String, u64>,
        current: &BTreeMap<String, u64>,
        dice: &SeededEntropy,
    ) -> BTreeMap<String, u64> {
        let all: BTreeSet<_> = synced.keys().chain(current.keys()).collect();
        let name = |name: &String| {
            let inode = if self.keeps(dice) { current.get(name) } else { synced.get(name) };
            inode.map(|inode| (name.clone(), *inode))
        };
        all.into_iter().filter_map(name).collect()
    }

    /// What a file holds: of each sector that differs the old or the new.
    fn bytes(self, image: Vec<u8>, written: Option<Vec<u8>>, dice: &SeededEntropy) -> Vec<u8> {
        // A file without a name is lost.
        let Some(written) = written else { return image };
        let length = if self.keeps(dice) { written.len() } else { image.len() };
        let mut bytes = image;
        bytes.resize(length, 0);
        for (old, new) in bytes.chunks_mut(SECTOR).zip(written.chunks(SECTOR)) {
            let shared = old.len().min(new.len());
            if old[..shared] != new[..shared] && self.keeps(dice) {
                old[..shared].copy_from_slice(&new[..shared]);
            }
        }
        bytes
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let rounds = number("AMOIQ_POWER_ROUNDS").unwrap_or(4);
    let seed = match number("AMOIQ_POWER_SEED") {
        Some(seed) => seed,
        None if rounds <= 4 => 11,
        None => u64::from_le_bytes(Ambient::system().bytes()) % 1_000_000,
    };
    eprintln!("AMOIQ_POWER_SEED={seed} AMOIQ_POWER_ROUNDS={rounds}");
    let dice = SeededEntropy::new(seed);
    let connection = |number| {
        let dice = SeededEntropy::new(dice.next());
        Connection { number, dice, sent: Vec::new() }
    };
    let mut connections: Vec<_> = (0..CONNECTIONS).map(connection).collect();
    let mut machine = Machine::new();
    for round in 0..rounds {
        let group = round / ROUNDS_OF_SESSIONS;
        let mut app = machine.starting().start();
        let acknowledged = write_and_kill(&mut app, &mut connections, group, &dice);
        machine.lose_power(&dice);
        if dice.next().is_multiple_of(3) {
            cut_amid_a_start(&mut machine, &dice);
        }
        let app = machine.starting().start();
        let is_last = round % ROUNDS_OF_SESSIONS == ROUNDS_OF_SESSIONS - 1 || round + 1 == rounds;
        let messages =
            check(&app, &connections, |session| is_last || session.contains(&format!("-session-{group}-")));
        assert!(!app.printed(&["\"level\":\"ERROR\""]), "a start after a power cut is no failure");
        verify(&app);
        eprintln!("cut {round}: {acknowledged} acknowledged, {messages} read");
    }
}

fn cut_amid_a_start(machine: &mut Machine, dice: &SeededEntropy) {
    let (mut process, _configuration) = machine.starting().spawn(Stdio::null());
    std::thread::sleep(Duration::from_micros(dice.next() % START_US));
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    // The library may not have started: then nothing was written either.
    if machine.disk.path().join("names").exists() {
        machine.lose_power(dice);
    }
}

/// Checks that the whole store verifies.
fn verify(app: &TestApp) {
    let (code, report) = cli::verify(app.data(), &[]);
    assert_eq!(code, 0, "{report}");
}
