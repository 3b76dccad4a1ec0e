//! The log in a KurrentDB: only a program that was built with the feature `kurrentdb` has it.

#[cfg(feature = "kurrentdb")]
pub(crate) use self::built::{begin_filling, check, open, open_existing};
#[cfg(not(feature = "kurrentdb"))]
pub(crate) use self::not_built::{begin_filling, check, open, open_existing};

#[cfg(feature = "kurrentdb")]
mod built {
    use std::sync::Arc;

    use amoiq_events::{
        Ambient, EventStore,
        store::{
            Epoch, OpenedStore,
            kurrentdb::{KurrentOptions, KurrentStore, filling::KurrentFilling},
            transfer::filling::LogFilling,
        },
    };

    use crate::config::StoreConfig;

    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// When the address or the log's name is none.
    pub(crate) fn check(store: &StoreConfig) -> anyhow::Result<()> {
        Ok(options(store).check()?)
    }

    /// Opens the log, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened; the text says what to do.
    pub(crate) fn open(store: &StoreConfig, ambient: &Ambient) -> anyhow::Result<Arc<dyn OpenedStore>> {
        Ok(Arc::new(KurrentStore::open(&options(store), ambient)?))
    }

    /// Opens a log that exists.
    ///
    /// # Errors
    /// When it cannot be opened; the text says what to do.
    pub(crate) fn open_existing(
        store: &StoreConfig,
        ambient: &Ambient,
    ) -> anyhow::Result<Arc<dyn EventStore>> {
        Ok(Arc::new(KurrentStore::open_existing(&options(store), ambient)?))
    }

    /// Starts to fill a log, or goes on with what an interrupted filling from the same source left.
    ///
    /// # Errors
    /// When there is a log already, or the database refuses; the text says what to do.
    pub(crate) fn begin_filling(
        store: &StoreConfig,
        ambient: &Ambient,
        source: Option<Epoch>,
    ) -> anyhow::Result<Box<dyn LogFilling>> {
        Ok(Box::new(KurrentFilling::begin(&options(store), ambient, source)?))
    }

    fn options(store: &StoreConfig) -> KurrentOptions {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        KurrentOptions {
            user: given(&store.user),
            password: given(store.password.expose()),
            log: store.schema.clone(),
            directory: Some(store.path.clone()),
            ..KurrentOptions::new(store.url.expose())
        }
    }
}

/// What a program without the feature answers: how to get one with it.
#[cfg(not(feature = "kurrentdb"))]
mod not_built {
    use std::sync::Arc;

    use amoiq_events::{
        Ambient, EventStore,
        store::{Epoch, OpenedStore, transfer::filling::LogFilling},
    };
    use anyhow::bail;

    use crate::config::StoreConfig;

    const HOW_TO_GET_IT: &str = "this program was built without KurrentDB: build one with \
        `cargo build --release --features kurrentdb`, or use another store.backend";

    pub(crate) fn check(_store: &StoreConfig) -> anyhow::Result<()> {
        bail!(HOW_TO_GET_IT)
    }

    pub(crate) fn open(_store: &StoreConfig, _ambient: &Ambient) -> anyhow::Result<Arc<dyn OpenedStore>> {
        bail!(HOW_TO_GET_IT)
    }

    pub(crate) fn open_existing(
        _store: &StoreConfig,
        _ambient: &Ambient,
    ) -> anyhow::Result<Arc<dyn EventStore>> {
        bail!(HOW_TO_GET_IT)
    }

    pub(crate) fn begin_filling(
        _store: &StoreConfig,
        _ambient: &Ambient,
        _source: Option<Epoch>,
    ) -> anyhow::Result<Box<dyn LogFilling>> {
        bail!(HOW_TO_GET_IT)
    }
}
