//! The lock on a data directory: one process at a time has it. The file says which.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use super::{OpenError, files::private};

/// How often to check whether another process still has the directory.
const RETRY: Duration = Duration::from_millis(50);

/// The process that has a store, as far as that is known.
#[derive(Debug)]
pub struct LockHolder(Option<(u32, String)>);

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((process, command)) if command.is_empty() => write!(f, " ({process})"),
            Some((process, command)) => write!(f, " ({process}, `{command}`)"),
            None => Ok(()),
        }
    }
}

/// A data directory that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "holds the lock")] File);

impl DirectoryLock {
    /// Creates the directory if it does not exist, and locks it. Waits for a process that has it: one that is stopping, or a
    /// command on the files.
    ///
    /// # Errors
    /// An [`OpenError`]; [`OpenError::InUse`] only when patience runs out.
    pub fn take_within(directory: &Path, patience: Duration) -> Result<Self, OpenError> {
        private::make_directory(directory)?;
        let deadline = Instant::now() + patience;
        let mut is_told = false;
        loop {
            match take(directory) {
                Err(error @ OpenError::InUse(..)) if Instant::now() < deadline => {
                    if !is_told {
                        tracing::warn!(%error, "waiting up to {} s for the store", patience.as_secs());
                        is_told = true;
                    }
                    std::thread::sleep(RETRY);
                }
                taken => return taken.map(Self),
            }
        }
    }
}

/// Locks the directory for this process.
pub(super) fn take(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {
            // Only for error messages: a full disk is no reason to refuse.
            let noted = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            if let Err(error) = noted {
                tracing::debug!(%error, "the lock does not say who has it");
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned(), holder(&file))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn holder(mut file: &File) -> LockHolder {
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    let process: Option<u32> = read.ok().and_then(|_| text.trim().parse().ok());
    LockHolder(process.map(|process| (process, command(process))))
}

/// The command with which a process was started; `None` if that is unknown, or the process runs on another machine.
fn command(process: u32) -> String {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let program = Path::new(&**program).file_name().map(|name| name.to_string_lossy().into_owned());
    let shown = program.iter().map(String::as_str).chain(arguments.iter().map(|word| &**word));
    shown.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
