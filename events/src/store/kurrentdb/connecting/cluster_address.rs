//! The address of a cluster: `esdb://user:password@host:port,host:port?option=value`, or `kurrentdb://…`.
//!
//! The way to a server is encrypted and its certificate and name are verified, unless it is on this machine: then it is
//! encrypted only when the address says so. An option that is not known is refused. The client's own reading is not used:
//! it ignores options that it does not know, and keeps a password as it is encoded.

use std::{fmt, net::IpAddr, path::PathBuf};

use percent_encoding::percent_decode_str;

/// The port of a node that names none.
const PORT: u16 = 2113;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KurrentAddressError {
    /// It does not start as one.
    #[error(
        "it does not start with `esdb://`, `esdb+discover://`, `kurrentdb://` or `kurrentdb+discover://`"
    )]
    Scheme,
    /// It names no host.
    #[error("it names no host")]
    NoHost,
    /// Something in it is not understood.
    #[error("{0}")]
    Malformed(String),
    /// It has an option that nothing here knows.
    #[error("unknown option `{0}`: `tls`, `tlsCaFile`, `tlsVerifyCert` and `nodePreference` are known")]
    UnknownOption(String),
    /// It asks for a connection that anybody on the way can read or answer.
    #[error(
        "`{0}` leaves the connection to a server on another machine open to others: `tls=true` and \
         `tlsVerifyCert=true` are the defaults"
    )]
    Unencrypted(String),
    /// It asks for a node that may not have what was acknowledged.
    #[error(
        "`nodePreference={0}` reads what may be older than what was acknowledged: only `leader` is possible"
    )]
    NotLeader(String),
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::kurrentdb) struct NodeAddress {
    pub(in crate::store::kurrentdb) host: String,
    pub(in crate::store::kurrentdb) port: u16,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A colon is only in an address of IPv6.
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where the nodes are, and how they are reached.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct ClusterAddress {
    pub(in crate::store::kurrentdb) nodes: Vec<NodeAddress>,
    /// Whether a node is asked who the leader is. A single one is used as it is.
    pub(in crate::store::kurrentdb) is_cluster: bool,
    pub(in crate::store::kurrentdb) is_encrypted: bool,
    /// A file of the authorities that may have signed the servers' certificates, in place of the system's.
    pub(in crate::store::kurrentdb) authorities: Option<PathBuf>,
    pub(in crate::store::kurrentdb) user: Option<String>,
    pub(in crate::store::kurrentdb) password: Option<String>,
}

impl ClusterAddress {
    /// Reads an address.
    pub(in crate::store::kurrentdb) fn parse(text: &str) -> Result<Self, KurrentAddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(KurrentAddressError::Scheme)?;
        let is_discovered = match scheme {
            "esdb" | "kurrentdb" => false,
            "esdb+discover" | "kurrentdb+discover" => true,
            _ => return Err(KurrentAddressError::Scheme),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.strip_suffix('/').unwrap_or(place);
        let (login, hosts) =
            place.rsplit_once('@').map_or((None, place), |(login, hosts)| (Some(login), hosts));
        let (user, password) = match login {
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some(decoded("user", user)?), Some(decoded("password", password)?))
            }
            None => (None, None),
        };
        let nodes: Vec<NodeAddress> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        let is_cluster = is_discovered || nodes.len() > 1;
        let mut address = Self { nodes, is_cluster, is_encrypted: true, authorities: None, user, password };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            address.set(option)?;
        }
        Ok(address)
    }

    /// Applies an option.
    fn set(&mut self, option: &str) -> Result<(), KurrentAddressError> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = decoded(name, value)?;
        let is_local = self.nodes.iter().all(is_local);
        match (name.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
            ("tls", "true") => self.is_encrypted = true,
            ("tls", "false") if is_local => self.is_encrypted = false,
            ("tlsverifycert", "true") | ("nodepreference", "leader") => {}
            ("tls" | "tlsverifycert", "false") => {
                return Err(KurrentAddressError::Unencrypted(option.to_owned()));
            }
            ("nodepreference", _) => return Err(KurrentAddressError::NotLeader(value)),
            ("tlscafile", _) => self.authorities = Some(value.into()),
            ("tls" | "tlsverifycert", _) => {
                return Err(KurrentAddressError::Malformed(format!("invalid value for option `{name}`")));
            }
            _ => return Err(KurrentAddressError::UnknownOption(name.to_owned())),
        }
        Ok(())
    }
}

fn node(text: &str) -> Result<NodeAddress, KurrentAddressError> {
    let malformed = || KurrentAddressError::Malformed(format!("`{text}` is no host with a port"));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(malformed)?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(KurrentAddressError::NoHost);
    }
    let is_known = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_' | ':');
    if !host.chars().all(is_known) {
        return Err(malformed());
    }
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_not_a_number| malformed()))?;
    Ok(NodeAddress { host: host.to_owned(), port })
}

/// Whether a node is this machine, so that nobody is on the way to it.
fn is_local(node: &NodeAddress) -> bool {
    node.host == "localhost" || node.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn decoded(name: &str, value: &str) -> Result<String, KurrentAddressError> {
    let decoded = percent_decode_str(value).decode_utf8();
    let decoded = decoded
        .map_err(|_not_utf8| KurrentAddressError::Malformed(format!("the value of `{name}` is not UTF-8")))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClusterAddress, KurrentAddressError> {
        ClusterAddress::parse(text)
    }

    #[test]
    fn hosts_ports_and_log_in_are_read() {
        let one = parse("esdb://db.example.com").unwrap();
        assert_eq!(one.nodes, [NodeAddress { host: "db.example.com".to_owned(), port: 2113 }]);
        assert!(one.is_encrypted && !one.is_cluster && one.user.is_none());
        let several = parse("kurrentdb://us%40er:p%3Aa%40ss@a:1,[::1]:2,c/?tlsCaFile=%2Fca.pem").unwrap();
        let places: Vec<String> = several.nodes.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["a:1", "[::1]:2", "c:2113"]);
        assert_eq!((several.user.as_deref(), several.password.as_deref()), (Some("us@er"), Some("p:a@ss")));
        assert!(several.is_cluster);
        assert_eq!(several.authorities, Some("/ca.pem".into()));
        assert!(parse("esdb+discover://cluster.example.com").unwrap().is_cluster);
    }

    #[test]
    fn only_servers_on_this_machine_are_reached_without_encryption() {
        for local in ["127.0.0.1", "[::1]:5", "localhost:1,127.0.0.2:3"] {
            assert!(!parse(&format!("esdb://{local}?tls=false")).unwrap().is_encrypted, "{local}");
            assert!(parse(&format!("esdb://{local}")).unwrap().is_encrypted, "{local}");
        }
        for far in ["db.example.com", "127.0.0.1,10.0.0.1"] {
            let refused = parse(&format!("esdb://{far}?tls=false")).unwrap_err();
            assert_eq!(refused, KurrentAddressError::Unencrypted("tls=false".to_owned()), "{far}");
        }
        let refused = parse("esdb://localhost?tlsVerifyCert=false").unwrap_err();
        assert_eq!(refused, KurrentAddressError::Unencrypted("tlsVerifyCert=false".to_owned()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refusals = [
            ("postgres://host", "`esdb://`"),
            ("host:2113", "`esdb://`"),
            ("esdb://", "no host"),
            ("esdb://a,,b", "no host"),
            ("esdb://host:port", "`host:port`"),
            ("esdb://ho st", "`ho st`"),
            ("esdb://host/path", "`host/path`"),
            ("esdb://host?keepAliveInterval=1", "unknown option `keepAliveInterval`"),
            ("esdb://host?tls=yes", "`tls`"),
            ("esdb://host?nodePreference=follower", "nodePreference=follower"),
        ];
        for (text, reason) in refusals {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
