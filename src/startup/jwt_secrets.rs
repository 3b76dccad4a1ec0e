//! The secrets that sign tokens: the configured ones, or the one that the first start makes.

use std::path::Path;

use amoiq_events::{Ambient, durable_file};
use anyhow::Context;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    access::{
        auth::{TokenKeys, TokenSettings},
        secret::Secret,
    },
    config::AuthConfig,
};

/// A secret with fewer bytes can be guessed from a token that it signed.
const STRONG_BYTES: usize = 32;

/// The secrets of tokens.
pub(super) struct TokenSecrets {
    /// Signs, and verifies.
    current: Secret,
    /// Only verify.
    previous: Vec<Secret>,
}

impl TokenSecrets {
    /// Takes the configured secrets, or the one of the data directory, which the first start makes.
    ///
    /// # Errors
    /// When one is blank, or that of the directory cannot be read or written.
    pub(super) fn load(auth: &AuthConfig, directory: &Path, ambient: &Ambient) -> anyhow::Result<Self> {
        check_secrets(auth)?;
        let current = current_secret(&auth.jwt_secret, directory, ambient)?;
        let previous = previous_secrets(&auth.jwt_previous_secrets).to_vec();
        Ok(Self { current, previous })
    }

    /// The keys that sign and verify tokens.
    pub(super) fn keys(&self, auth: &AuthConfig, ambient: &Ambient) -> TokenKeys {
        let settings = TokenSettings { issuer: auth.issuer.clone(), audience: auth.audience.clone() };
        TokenKeys::new(&self.current, &self.previous, settings, ambient.clone())
    }

    /// Names the secret that signs, for other nodes; nobody learns the secret from it.
    pub(super) fn signing(&self) -> String {
        fingerprint(&self.current)
    }

    /// Names all secrets.
    pub(super) fn verifying(&self) -> Vec<String> {
        [&self.current].into_iter().chain(&self.previous).map(fingerprint).collect()
    }
}

/// A keyed digest of a fixed text.
fn fingerprint(secret: &Secret) -> String {
    let key = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes());
    // A key of any length is taken.
    key.map(|key| hex::encode(key.chain_update("amoiq: secret of tokens").finalize().into_bytes()))
        .unwrap_or_default()
}

/// Checks that no configured secret is blank: with a blank one anybody could sign tokens.
///
/// # Errors
/// When one is blank.
pub(crate) fn check_secrets(auth: &AuthConfig) -> anyhow::Result<()> {
    let is_blank = |secret: &Secret| secret.expose().trim().is_empty();
    let signs = auth.jwt_secret.expose();
    anyhow::ensure!(
        signs.is_empty() || !is_blank(&auth.jwt_secret),
        "auth.jwt_secret is blank: set one, or \"\" to have one made"
    );
    anyhow::ensure!(
        !auth.jwt_previous_secrets.iter().any(is_blank),
        "auth.jwt_previous_secrets contains a blank secret: remove it"
    );
    Ok(())
}

/// The configured earlier secrets, whose tokens are still accepted.
fn previous_secrets(configured: &[Secret]) -> &[Secret] {
    for secret in configured {
        if secret.expose().len() < STRONG_BYTES {
            tracing::warn!(
                "a secret of auth.jwt_previous_secrets has fewer than {STRONG_BYTES} bytes: it can be guessed"
            );
        }
    }
    configured
}

/// The configured secret, or the one that the first start wrote into the data directory.
fn current_secret(configured: &Secret, data: &Path, ambient: &Ambient) -> anyhow::Result<Secret> {
    if !configured.expose().is_empty() {
        if configured.expose().len() < STRONG_BYTES {
            tracing::warn!(
                "auth.jwt_secret has fewer than {STRONG_BYTES} bytes: it can be guessed from a token"
            );
        }
        return Ok(configured.clone());
    }
    let path = data.join("jwt_secret");
    // A link that leads nowhere is an error below: a new secret in its place would end every token.
    if !path.is_symlink() && !path.exists() {
        // Durable, name included: a power cut must not lose it, and with it every token.
        durable_file::replace(&path, hex::encode(ambient.bytes::<32>()).as_bytes())?;
    }
    let secret = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let secret = String::from_utf8(secret).unwrap_or_default();
    anyhow::ensure!(
        secret.trim().len() >= STRONG_BYTES,
        "{} is damaged or truncated: delete it, and the next start makes a new one",
        path.display()
    );
    Ok(Secret::new(secret.trim().to_owned()))
}
