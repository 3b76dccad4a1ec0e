//! Signatures of Standard Webhooks 1.0.0, so that its published libraries can verify deliveries.
//!
//! The signed text is `{webhook-id}.{webhook-timestamp}.{body}`, with HMAC-SHA256. The id is the same for retries and
//! replays, so that a receiver can drop repeats; the timestamp is that of the attempt, so that it can drop old ones.
//! While a rotated secret is still valid, the header has a signature by each.

use amoiq_events::{Ambient, Timestamp, webhook::WebhookSecret};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The beginning of a secret.
pub const PREFIX: &str = "whsec_";

/// How many bytes a secret may have.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How many bytes a new secret has.
const NEW_KEY_BYTES: usize = 32;

/// Why a text is not a secret. The text is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct WebhookSecretError;

/// A key for signatures. It cannot be printed.
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Parses a secret.
    ///
    /// # Errors
    /// [`WebhookSecretError`]
    pub fn parse(secret: &str) -> Result<Self, WebhookSecretError> {
        let encoded = secret.strip_prefix(PREFIX).ok_or(WebhookSecretError)?;
        let Ok(key) = BASE64_STANDARD.decode(encoded) else { return Err(WebhookSecretError) };
        match Hmac::new_from_slice(&key) {
            Ok(mac) if KEY_BYTES.contains(&key.len()) => Ok(Self(mac)),
            _ => Err(WebhookSecretError),
        }
    }

    /// One signature, prefixed with its version.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of `webhook-signature` for an attempt at `now`: a signature by the secret, and one by the previous
/// secret while that is valid.
///
/// # Errors
/// [`WebhookSecretError`] when one of the secrets is malformed.
pub fn signatures(
    secret: &WebhookSecret,
    previous: Option<&(WebhookSecret, Timestamp)>,
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<String, WebhookSecretError> {
    let sign = |secret: &WebhookSecret| {
        SigningKey::parse(secret.expose()).map(|key| key.sign(id, seconds(now), body))
    };
    let mut value = sign(secret)?;
    if let Some((previous, until)) = previous
        && now < *until
    {
        value.push(' ');
        value.push_str(&sign(previous)?);
    }
    Ok(value)
}

/// Unix seconds, the format of `webhook-timestamp`.
#[must_use]
pub fn seconds(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(1_000)
}

/// Generates a new random secret.
#[must_use]
pub fn new_secret(ambient: &Ambient) -> WebhookSecret {
    let key: [u8; NEW_KEY_BYTES] = ambient.bytes();
    WebhookSecret::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(key)))
}

/// Checks that a text is a secret.
///
/// # Errors
/// [`WebhookSecretError`]
pub fn check_secret(text: &str) -> Result<WebhookSecret, WebhookSecretError> {
    SigningKey::parse(text).map(|_| WebhookSecret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_999);
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::new(text.to_owned())
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        assert_eq!(signatures(&secret(SECRET), None, ID, NOW, BODY).as_deref(), Ok(SIGNATURE));
    }

    #[test]
    fn the_secret_before_signs_beside_the_new_one_until_its_time_is_over() {
        let new = new_secret(&Ambient::system());
        let at = |now| signatures(&new, Some(&(secret(SECRET), NOW.plus_millis(1))), ID, now, BODY).unwrap();
        let both = at(NOW);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.ends_with(&format!(" {SIGNATURE}")), "{both}");
        assert_eq!(at(NOW.plus_millis(1)).split(' ').count(), 1);
    }

    #[test]
    fn a_new_secret_is_valid_and_like_no_other() {
        let made: Vec<_> = (0..8).map(|_| new_secret(&Ambient::system())).collect();
        for secret in &made {
            assert_eq!(check_secret(secret.expose()).as_ref(), Ok(secret));
            assert_eq!(made.iter().filter(|other| *other == secret).count(), 1);
        }
    }

    #[test]
    fn a_secret_is_24_to_64_bytes_of_base64_after_its_prefix() {
        for (length, is_secret) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            let text = format!("whsec_{}", BASE64_STANDARD.encode(vec![7; length]));
            assert_eq!(check_secret(&text).is_ok(), is_secret, "{length} bytes");
        }
        for text in
            ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!w"]
        {
            assert_eq!(check_secret(text), Err(WebhookSecretError), "{text}");
        }
        assert!(!WebhookSecretError.to_string().contains("MfKQ"));
    }
}
