//! Where a log is, as a command line says it.

use std::{path::PathBuf, str::FromStr};

use crate::config::StoreBackend;

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogAddress {
    /// In the files of a directory.
    Sqlite(PathBuf),
    /// In a PostgreSQL.
    Postgres(String),
    /// In a KurrentDB.
    Kurrentdb(String),
}

impl LogAddress {
    /// The backend of a log there.
    pub(super) fn backend(&self) -> StoreBackend {
        match self {
            Self::Sqlite(_) => StoreBackend::Sqlite,
            Self::Postgres(_) => StoreBackend::Postgres,
            Self::Kurrentdb(_) => StoreBackend::Kurrentdb,
        }
    }

    /// What `store.url` has to be; nothing for files.
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(url) | Self::Kurrentdb(url) => url,
        }
    }
}

impl FromStr for LogAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(directory) = text.strip_prefix("sqlite:").filter(|directory| !directory.is_empty()) {
            return Ok(Self::Sqlite(directory.into()));
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let schemes = ["esdb://", "esdb+discover://", "kurrentdb://", "kurrentdb+discover://"];
        if schemes.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Kurrentdb(text.to_owned()));
        }
        Err("neither `sqlite:DIRECTORY` nor `postgres://HOST/DATABASE` nor `esdb://HOST`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_directory_or_a_database() {
        assert_eq!("sqlite:/a b".parse(), Ok(LogAddress::Sqlite("/a b".into())));
        assert_eq!("postgres://db/amoiq".parse(), Ok(LogAddress::Postgres("postgres://db/amoiq".to_owned())));
        assert_eq!("esdb://db:2113".parse(), Ok(LogAddress::Kurrentdb("esdb://db:2113".to_owned())));
        for text in ["", "sqlite:", "/var/lib/amoiq", "mysql://db/amoiq"] {
            assert!(text.parse::<LogAddress>().is_err(), "{text}");
        }
    }
}
