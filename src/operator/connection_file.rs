//! `operator.json` in the data directory: where the running service is, and the token that opens its
//! operator's interface.
//!
//! It is there while a service runs on the directory. After a crash it stays behind: the address answers
//! nobody then, or refuses the old token.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::token::OperatorToken;
use crate::access::secret::Secret;

/// The file's name.
const FILE: &str = "operator.json";

/// What the file says.
#[derive(Debug, Clone, Deserialize)]
pub struct ConnectionFile {
    /// The operator's interface: `http://127.0.0.1:4001`.
    pub operator: String,
    /// The service itself: `http://127.0.0.1:4000`.
    pub service: String,
    /// Opens the operator's interface.
    pub token: Secret,
}

/// The same on its way into the file.
#[derive(Serialize)]
struct ConnectionFileContents<'a> {
    operator: String,
    service: String,
    token: &'a str,
    pid: u32,
}

/// The file, as long as the service runs. Removing it is [`PublishedConnectionFile::remove`]'s: a crash leaves it.
#[derive(Debug)]
pub struct PublishedConnectionFile(PathBuf);

impl PublishedConnectionFile {
    /// Writes the file, readable for its owner alone. Whoever reads meanwhile sees the old one or the new
    /// one, never half of it.
    ///
    /// # Errors
    /// When the directory does not take it.
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
        let fresh = directory.join(format!("{FILE}.new"));
        // A mode is for files that are made: one that a crash left may have another.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer(&mut file, &written)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        Ok(Self(path))
    }

    /// Removes it: nobody is there any more.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "operator.json stays behind");
        }
    }
}

impl ConnectionFile {
    /// Finds the service that runs on a data directory.
    ///
    /// # Errors
    /// When none does, or the file may not be read.
    pub fn find(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::bail!(
                    "no service runs on {} ({FILE} is not there): start it, or name its configuration with \
                     --config",
                    directory.display()
                )
            }
            read => read.with_context(|| path.display().to_string())?,
        };
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// The address as one on this machine dials it.
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
    fn an_address_for_everybody_is_dialled_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:4001".parse().unwrap()), "http://127.0.0.1:4001");
        assert_eq!(reachable("[::]:4001".parse().unwrap()), "http://[::1]:4001");
        assert_eq!(reachable("10.0.0.1:4001".parse().unwrap()), "http://10.0.0.1:4001");
    }
}
