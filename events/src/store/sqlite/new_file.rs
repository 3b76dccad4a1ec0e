//! A file that appears under its name once it is whole.
//!
//! Until then it is called `.partial` behind its name. Only its owner may read it, because what is written of a log
//! has the secrets of webhooks. Nothing is overwritten, and what does not become whole goes. One of a process that
//! was killed stays until the next is made under the same name.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

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

/// A file in the making. What there is of it goes with this.
#[derive(Debug)]
pub struct NewFile {
    partial: Partial,
    name: PathBuf,
}

impl NewFile {
    /// Makes it, empty, under its other name.
    ///
    /// # Errors
    /// When its name is taken, or the file system refuses.
    pub fn begin(name: &Path) -> Result<Self, NewFileError> {
        refuse_taken(name)?;
        let partial = Partial::beside(name, ".partial").map_err(refused(name))?;
        Ok(Self { partial, name: name.to_owned() })
    }

    /// Where it is written.
    #[must_use]
    pub fn partial(&self) -> &Path {
        self.partial.path()
    }

    /// Gives it its name, durably. It has to be written whole.
    ///
    /// # Errors
    /// When its name was taken meanwhile, or the file system refuses.
    pub fn finish(self) -> Result<(), NewFileError> {
        File::open(self.partial()).and_then(|file| file.sync_all()).map_err(refused(&self.name))?;
        refuse_taken(&self.name)?;
        fs::rename(self.partial(), &self.name).map_err(refused(&self.name))?;
        sync_folder(&self.name).map_err(refused(&self.name))
    }
}

/// A file that only its owner reads, and that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    /// Makes it, empty, in place of what an interrupted one left.
    pub(super) fn beside(name: &Path, suffix: &str) -> io::Result<Self> {
        let mut path = name.as_os_str().to_owned();
        path.push(suffix);
        let partial = Self(path.into());
        partial.remove();
        File::options().write(true).create_new(true).mode(0o600).open(partial.path())?;
        Ok(partial)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        // It is not there when all went well.
        drop(fs::remove_file(&self.0));
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a rename in a folder durable.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
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
