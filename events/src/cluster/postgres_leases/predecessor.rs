//! The note of a node's membership in its directory. A process that starts in the directory finds the membership of the one
//! before, which has ended: so its work is free at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cluster::{lease::FencingNumber, postgres_leases::ClusterOpenError},
    durable_file,
    store::Epoch,
};

/// The file.
pub(super) struct PredecessorFile(PathBuf);

impl PredecessorFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.join("cluster.node"))
    }

    /// The membership that is noted. What is not understood is no membership.
    pub(super) fn read(&self) -> Result<Option<FencingNumber>, ClusterOpenError> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Notes a membership.
    pub(super) fn write(
        &self,
        FencingNumber { epoch, number }: FencingNumber,
    ) -> Result<(), ClusterOpenError> {
        let text = format!("{} {number}\n", epoch.0);
        durable_file::replace(&self.0, text.as_bytes()).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ClusterOpenError {
        ClusterOpenError::Directory(self.0.clone(), error)
    }
}

fn parse(text: &str) -> Option<FencingNumber> {
    let (epoch, number) = text.trim().split_once(' ')?;
    Some(FencingNumber { epoch: Epoch(epoch.parse().ok()?), number: number.parse().ok()? })
}
