//! Small files that are replaced as a whole: a reader, also after a crash, finds the old contents or the new.
//!
//! The new contents are written beside the file under a fixed name, so what an interrupted write left is known and is
//! removed by the next one; a library's random name would leave a person's name behind in a file that nobody looks for.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Replaces a file, durably. Only its owner may read it.
///
/// # Errors
/// When the file system refuses. The old contents are then still there.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = fresh_name(path);
    // The mode is only set for a new file, and one that an interrupted write left may have another.
    remove_if_present(&fresh)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_directory(path)
}

/// Removes a file and what an interrupted write left, durably. A file that does not exist is no error.
///
/// # Errors
/// When the file system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_if_present(&fresh_name(path))?;
    remove_if_present(path)?;
    sync_directory(path)
}

fn fresh_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A name is durable once its directory is synced.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_removed_with_what_an_interrupted_write_left() {
        let directory = tempfile::tempdir().unwrap();
        let (path, left) = (directory.path().join("orders"), directory.path().join("orders.new"));
        fs::write(&left, "half").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!left.exists());
        fs::write(&left, "half").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
