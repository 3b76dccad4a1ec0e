//! `operator.json` in the data directory: the addresses of the running service, and the token of its operator interface.
//!
//! The file exists while a service runs on the directory. After a crash it remains: then nobody answers at the address, or
//! the old token is refused.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use amoiq_events::durable_file;
use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::token::OperatorToken;
use crate::access::secret::Secret;

/// The name of the file.
const FILE: &str = "operator.json";

/// The contents of the file.
#[derive(Debug, Clone, Deserialize)]
pub struct ConnectionFile {
    /// The address of the operator interface, such as `http://127.0.0.1:4001`.
    pub operator: String,
    /// The address of the service, such as `http://127.0.0.1:4000`.
    pub service: String,
    /// The token of the operator interface.
    pub token: Secret,
}

/// The contents as they are written. A [`Secret`] cannot be.
#[derive(Serialize)]
struct ConnectionFileContents<'a> {
    operator: String,
    service: String,
    token: &'a str,
    pid: u32,
}

/// The file of a running service. [`PublishedConnectionFile::remove`] removes it; after a crash it remains.
#[derive(Debug)]
pub struct PublishedConnectionFile(PathBuf);

impl PublishedConnectionFile {
    /// Writes the file, which only its owner can read. A reader sees the old file or the new one, never half of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(
        directory: &Path,
        operator: SocketAddr,
        service: SocketAddr,
        token: &OperatorToken,
    ) -> io::Result<Self> {
        let written = ConnectionFileContents {
            operator: reachable(operator),
            service: reachable(service),
            token: token.expose(),
            pid: std::process::id(),
        };
        let path = directory.join(FILE);
        let mut contents = serde_json::to_vec(&written)?;
        contents.push(b'\n');
        durable_file::replace(&path, &contents)?;
        Ok(Self(path))
    }

    /// Removes the file when the service stops.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "operator.json could not be removed");
        }
    }
}

impl ConnectionFile {
    /// Finds the service that runs on a data directory.
    ///
    /// # Errors
    /// When none does, or the file cannot be read.
    pub fn find(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::bail!(
                    "no service runs on {} ({FILE} does not exist): start it, or name its configuration file with \
                     --config",
                    directory.display()
                )
            }
            read => read.with_context(|| path.display().to_string())?,
        };
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// The address for clients on this machine.
fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:4001".parse().unwrap()), "http://127.0.0.1:4001");
        assert_eq!(reachable("[::]:4001".parse().unwrap()), "http://[::1]:4001");
        assert_eq!(reachable("10.0.0.1:4001".parse().unwrap()), "http://10.0.0.1:4001");
    }
}
