//! The note of a node's membership in its directory. A process that starts in the directory finds the membership of the one
//! before, which has ended: so its work is free at once. It also finds which server had the register, and goes back to none
//! that was replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    cluster::{lease::FencingNumber, postgres_leases::ClusterOpenError},
    durable_file,
    postgres::ServerIdentity,
    store::Epoch,
};

/// The file.
pub(super) struct PredecessorFile(PathBuf);

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipNote {
    epoch: u64,
    number: u64,
    /// The newest that was seen, where servers tell.
    pub(super) server: Option<ServerIdentity>,
}

impl MembershipNote {
    pub(super) fn new(membership: FencingNumber, server: Option<ServerIdentity>) -> Self {
        Self { epoch: membership.epoch.0, number: membership.number, server }
    }

    pub(super) fn membership(&self) -> FencingNumber {
        FencingNumber { epoch: Epoch(self.epoch), number: self.number }
    }
}

impl PredecessorFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.join("cluster.node"))
    }

    /// What is noted. What is not understood is no note.
    pub(super) fn read(&self) -> Result<Option<MembershipNote>, ClusterOpenError> {
        match fs::read(&self.0) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Notes a membership.
    pub(super) fn write(&self, note: MembershipNote) -> Result<(), ClusterOpenError> {
        let text = serde_json::to_vec(&note).unwrap_or_default();
        durable_file::replace(&self.0, &text).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ClusterOpenError {
        ClusterOpenError::Directory(self.0.clone(), error)
    }
}
