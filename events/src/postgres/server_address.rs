//! The address of a server: `postgres://user:password@host:port,host:port/database?option=value`.
//!
//! The way to a server is encrypted and its certificate and name are verified, unless it is on this machine: then it is
//! encrypted only when the address says so. An option that is not known, or would have no effect, is refused. Each host has a deadline of its own:
//! one that accepts a connection and then is silent must not keep the next from being asked.

use std::{net::IpAddr, path::PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use crate::postgres::timing;

/// What connections are called in `pg_stat_activity`.
const APPLICATION: &str = "amoiq";

/// Options that the client knows and whose effect the service decides itself.
const OWN_OPTIONS: [&str; 8] = [
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresAddressError {
    /// It does not start as one.
    #[error("it does not start with `postgres://` or `postgresql://`")]
    Scheme,
    /// It names no host.
    #[error("it names no host")]
    NoHost,
    /// Something in it is not understood.
    #[error("{0}")]
    Malformed(String),
    /// It asks for a connection that anybody on the way can read or answer.
    #[error(
        "`sslmode={0}` leaves the connection to a server on another machine open to others: use `verify-full`, which is \
         the default"
    )]
    Unencrypted(String),
}

/// Where the servers are. The first that takes writes is used.
#[derive(Debug, Clone)]
pub(crate) struct ServerAddress {
    /// One for each host, with everything else in it.
    pub(crate) hosts: Vec<Config>,
    /// A file of the authorities that may have signed the server's certificate, in place of the system's.
    pub(crate) authorities: Option<PathBuf>,
}

/// The options of an address that are ours to judge.
#[derive(Default)]
struct TlsOptions {
    mode: Option<String>,
    authorities: Option<PathBuf>,
}

impl ServerAddress {
    /// Reads an address.
    pub(crate) fn parse(text: &str) -> Result<Self, PostgresAddressError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(PostgresAddressError::Scheme);
        }
        let (rest, tls) = TlsOptions::split_off(text)?;
        let config: Config = rest.parse().map_err(|error| malformed(&error))?;
        let hosts = hosts(&config, tls.mode.as_deref())?;
        Ok(Self { hosts, authorities: tls.authorities })
    }

    /// With these in the place of the address's own.
    pub(crate) fn with_credentials(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        for host in &mut self.hosts {
            if let Some(user) = user {
                host.user(user);
            }
            if let Some(password) = password {
                host.password(password);
            }
        }
        self
    }
}

impl TlsOptions {
    /// Takes the options about encryption out of an address: the client's own reading of them is another.
    fn split_off(text: &str) -> Result<(String, Self), PostgresAddressError> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut options = Self::default();
        let mut others = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let decoded = percent_decode_str(value).decode_utf8();
            let decoded = decoded.map_err(|_not_utf8| {
                PostgresAddressError::Malformed(format!("the value of `{name}` is not UTF-8"))
            })?;
            match name {
                "sslmode" => options.mode = Some(decoded.into_owned()),
                "sslrootcert" if decoded != "system" => {
                    options.authorities = Some(decoded.into_owned().into())
                }
                "sslrootcert" => {}
                // What the service does anyway.
                "target_session_attrs" if decoded == "read-write" => {}
                _ if OWN_OPTIONS.contains(&name) => {
                    return Err(PostgresAddressError::Malformed(format!(
                        "the service decides `{name}` itself: remove it"
                    )));
                }
                _ => others.push(option),
            }
        }
        Ok((format!("{base}?{}", others.join("&")), options))
    }
}

/// The configuration of each host.
fn hosts(config: &Config, tls_mode: Option<&str>) -> Result<Vec<Config>, PostgresAddressError> {
    let (names, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = names.len().max(addresses.len());
    if count == 0 {
        return Err(PostgresAddressError::NoHost);
    }
    let is_one_for_each = |length: usize| length <= 1 || length == count;
    if !is_one_for_each(ports.len())
        || !(names.is_empty() || addresses.is_empty() || names.len() == addresses.len())
    {
        return Err(PostgresAddressError::Malformed(
            "hosts, addresses and ports differ in number".to_owned(),
        ));
    }
    (0..count)
        .map(|number| {
            let mut host = common(config);
            let (name, address) = (names.get(number), addresses.get(number));
            match name {
                Some(Host::Tcp(name)) => host.host(name),
                Some(Host::Unix(path)) => host.host_path(path),
                None => &mut host,
            };
            if let Some(address) = address {
                host.hostaddr(*address);
            }
            host.port(ports.get(number).or(ports.first()).copied().unwrap_or(5432));
            host.ssl_mode(encryption(tls_mode, is_local(name, address))?);
            Ok(host)
        })
        .collect()
}

/// What is the same for every host.
fn common(config: &Config) -> Config {
    let mut common = Config::new();
    if let Some(user) = config.get_user() {
        common.user(user);
    }
    if let Some(password) = config.get_password() {
        common.password(password);
    }
    if let Some(name) = config.get_dbname() {
        common.dbname(name);
    }
    if let Some(options) = config.get_options() {
        common.options(options);
    }
    common
        .application_name(config.get_application_name().unwrap_or(APPLICATION))
        .channel_binding(config.get_channel_binding())
        .ssl_negotiation(config.get_ssl_negotiation())
        .connect_timeout(timing::CONNECT)
        .tcp_user_timeout(timing::SILENCE)
        .keepalives_idle(timing::KEEP_ALIVE)
        .keepalives_interval(timing::KEEP_ALIVE)
        .keepalives_retries(2);
    common
}

/// Whether a host is this machine, so that nobody is on the way to it.
fn is_local(name: Option<&Host>, address: Option<&IpAddr>) -> bool {
    match (name, address) {
        (_, Some(address)) => address.is_loopback(),
        (Some(Host::Tcp(name)), None) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        (Some(Host::Unix(_)), None) => true,
        (None, None) => false,
    }
}

/// Whether the way to a host is encrypted. `require` promises less elsewhere; here it verifies too.
fn encryption(mode: Option<&str>, is_local: bool) -> Result<SslMode, PostgresAddressError> {
    match mode {
        Some("require" | "verify-ca" | "verify-full") => Ok(SslMode::Require),
        None if !is_local => Ok(SslMode::Require),
        None | Some("disable" | "allow" | "prefer") if is_local => Ok(SslMode::Disable),
        Some(open @ ("disable" | "allow" | "prefer")) => {
            Err(PostgresAddressError::Unencrypted(open.to_owned()))
        }
        _ => Err(PostgresAddressError::Malformed("invalid value for option `sslmode`".to_owned())),
    }
}

/// What the client's own parser says, with the reason behind it.
fn malformed(error: &tokio_postgres::Error) -> PostgresAddressError {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    PostgresAddressError::Malformed(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(text: &str) -> Vec<SslMode> {
        ServerAddress::parse(text).unwrap().hosts.iter().map(Config::get_ssl_mode).collect()
    }

    #[test]
    fn only_a_server_on_this_machine_is_reached_without_encryption() {
        for local in ["127.0.0.1", "[::1]:5433", "localhost", "%2Frun%2Fpostgresql"] {
            assert_eq!(modes(&format!("postgres://user@{local}/db")), [SslMode::Disable], "{local}");
            assert_eq!(modes(&format!("postgres://user@{local}/db?sslmode=verify-full")), [SslMode::Require]);
        }
        for far in ["db.example.com", "10.0.0.1:6432", "localhost.example.com"] {
            assert_eq!(modes(&format!("postgresql://user@{far}/db")), [SslMode::Require], "{far}");
            for mode in ["disable", "allow", "prefer"] {
                let refused = ServerAddress::parse(&format!("postgres://user@{far}/db?sslmode={mode}"));
                assert_eq!(refused.unwrap_err(), PostgresAddressError::Unencrypted(mode.to_owned()));
            }
        }
        assert_eq!(modes("postgres://localhost,db.example.com/db"), [SslMode::Disable, SslMode::Require]);
    }

    #[test]
    fn each_host_is_asked_by_itself() {
        let address =
            ServerAddress::parse("postgres://u:p%40ss@a:1,b:2/db?sslrootcert=%2Fetc%2Fca.pem").unwrap();
        let places: Vec<_> =
            address.hosts.iter().map(|host| (host.get_hosts().to_vec(), host.get_ports().to_vec())).collect();
        let host = |name: &str| vec![Host::Tcp(name.to_owned())];
        assert_eq!(places, [(host("a"), vec![1]), (host("b"), vec![2])]);
        assert!(address.hosts.iter().all(|host| host.get_password() == Some(b"p@ss")));
        assert_eq!(address.authorities, Some("/etc/ca.pem".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refusals = [
            ("mysql://host/db", "`postgres://`"),
            ("host=localhost", "`postgres://`"),
            ("postgres:///db", "no host"),
            ("postgres://host/db?pool_size=3", "unknown option `pool_size`"),
            ("postgres://host/db?connect_timeout=60", "the service decides `connect_timeout` itself"),
            (
                "postgres://host/db?target_session_attrs=any",
                "the service decides `target_session_attrs` itself",
            ),
            ("postgres://host/db?sslmode=yes", "sslmode"),
            ("postgres://host:port/db", "port"),
        ];
        for (text, reason) in refusals {
            let refused = ServerAddress::parse(text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
