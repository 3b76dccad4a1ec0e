//! A file that appears under its name once it is whole.
//!
//! Until then its name ends with `.partial`. Only its owner may read it, because a log contains the secrets of webhooks.
//! Nothing is overwritten, and a file that does not become whole is removed. The file of a process that was killed stays
//! until the next one is made under the same name; one that is being written is locked, and left alone.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const BEING_WRITTEN: &str = "it is being written by another";

/// Why a file is not made.
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// Nothing is overwritten.
    #[error("{} exists: nothing is overwritten", .0.display())]
    Exists(PathBuf),
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The name that it was to have.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A file that is being written. Dropping it removes what was written.
#[derive(Debug)]
pub struct NewFile {
    partial: PartialFile,
    name: PathBuf,
}

impl NewFile {
    /// Creates it, empty, under its temporary name.
    ///
    /// # Errors
    /// When its name is taken, or the file system refuses.
    pub fn begin(name: &Path) -> Result<Self, NewFileError> {
        refuse_taken(name)?;
        let partial = PartialFile::beside(name, ".partial").map_err(refused(name))?;
        Ok(Self { partial, name: name.to_owned() })
    }

    /// Where it is written.
    #[must_use]
    pub fn partial(&self) -> &Path {
        self.partial.path()
    }

    /// Gives it its name, durably. It has to be completely written.
    ///
    /// # Errors
    /// When its name was taken meanwhile, or the file system refuses.
    pub fn finish(self) -> Result<(), NewFileError> {
        self.partial.file.sync_all().map_err(refused(&self.name))?;
        // A hard link and not a rename, which would replace a file that has the name.
        match fs::hard_link(self.partial(), &self.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NewFileError::Exists(self.name));
            }
            // A file system without hard links.
            Err(_) => {
                refuse_taken(&self.name)?;
                fs::rename(self.partial(), &self.name).map_err(refused(&self.name))?;
            }
            Ok(()) => {}
        }
        sync_folder(&self.name).map_err(refused(&self.name))
    }
}

/// A file that only its owner reads, and that is removed when this is dropped.
#[derive(Debug)]
pub(in crate::store::sqlite) struct PartialFile {
    path: PathBuf,
    /// Locked as long as the file exists.
    file: File,
}

impl PartialFile {
    /// Creates it, empty, in place of what an interrupted write left.
    pub(in crate::store::sqlite) fn beside(name: &Path, suffix: &str) -> io::Result<Self> {
        let mut path = name.as_os_str().to_owned();
        path.push(suffix);
        let path = PathBuf::from(path);
        if let Ok(left) = File::open(&path) {
            left.try_lock().map_err(|_held| io::Error::other(BEING_WRITTEN))?;
            fs::remove_file(&path)?;
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.try_lock().map_err(|_held| io::Error::other(BEING_WRITTEN))?;
        Ok(Self { path, file })
    }

    pub(in crate::store::sqlite) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After a rename it no longer exists.
        drop(fs::remove_file(&self.path));
    }
}

/// Makes a rename in a folder durable.
pub(in crate::store::sqlite) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn refuse_taken(name: &Path) -> Result<(), NewFileError> {
    match name.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(NewFileError::Exists(name.to_owned())),
        Err(error) => Err(refused(name)(error)),
    }
}

fn refused(name: &Path) -> impl Fn(io::Error) -> NewFileError {
    move |error| NewFileError::Io { path: name.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_left_alone_and_what_a_killed_one_left_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("file");
        let first = NewFile::begin(&name).unwrap();
        let refused = NewFile::begin(&name).unwrap_err().to_string();
        assert!(refused.contains(BEING_WRITTEN), "{refused}");
        fs::write(first.partial(), "first").unwrap();
        first.finish().unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"first");
        assert!(matches!(NewFile::begin(&name), Err(NewFileError::Exists(_))));
        let other = directory.path().join("other");
        fs::write(directory.path().join("other.partial"), "left").unwrap();
        let second = NewFile::begin(&other).unwrap();
        assert_eq!(fs::read(second.partial()).unwrap(), b"");
        fs::write(&other, "taken meanwhile").unwrap();
        assert!(matches!(second.finish(), Err(NewFileError::Exists(_))));
        assert_eq!(fs::read(&other).unwrap(), b"taken meanwhile");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "nothing else is left");
    }
}
