//! Where random ids come from. The application passes the source in, so tests can repeat a run.

use std::{fmt, sync::Arc};

/// A source of random bytes, cheap to clone.
#[derive(Clone)]
pub struct RandomSource(Arc<dyn Fn() -> [u8; 16] + Send + Sync>);

impl RandomSource {
    /// Takes the bytes from the application. They have to be unpredictable: a connection's id is all that a polling
    /// client proves itself with.
    pub fn new(bytes: impl Fn() -> [u8; 16] + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }

    /// The generator of the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done then.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let mut bytes = [0; 16];
            if let Err(error) = getrandom::fill(&mut bytes) {
                panic!("the operating system gives no randomness: {error}");
            }
            bytes
        })
    }

    /// 120 random bits as 20 characters that may stand in a URL.
    pub(crate) fn id(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let [bytes @ .., _] = (self.0)();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A number from 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        let [a, b, c, d, ..] = (self.0)();
        f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
    }
}

impl fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSource")
    }
}
