//! Where deliveries may go. A URL is checked when an endpoint is registered, and again before each attempt, because
//! the configuration may have changed in between.
//!
//! An address in the URL is checked here, after parsing and never as text: by then `0x7f.1` is `127.0.0.1`. A name is
//! checked when a connection is made, by [`super::vetting_resolver`]: what it means at registration says nothing
//! about later.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use url::{Host, Url};

use super::blocked_addresses;

/// The longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;

/// Why a delivery may not go there, as the endpoint's owner is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// It is longer than [`MAX_URL_BYTES`].
    #[error("the URL is over {MAX_URL_BYTES} bytes")]
    TooLong,
    /// It is not a URL.
    #[error("the URL cannot be read: {0}")]
    Malformed(#[from] url::ParseError),
    /// It has another scheme than `http` or `https`.
    #[error("the URL is not http or https")]
    Scheme,
    /// It contains a user name or a password. Receivers trust the signature instead.
    #[error("the URL holds a user or a password")]
    UserInfo,
    /// It has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The address, or one of the addresses of the name, is private or reserved.
    #[error("refused address {0}; see webhooks.allowed_networks")]
    Address(IpAddr),
}

/// Decides where deliveries may go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DestinationPolicy {
    allowed: Arc<[IpNet]>,
}

impl DestinationPolicy {
    /// Allows these networks (`webhooks.allowed_networks`) in addition to everything public.
    ///
    /// A network allows only addresses that are written like it: `10.0.0.0/8` allows `10.1.2.3`, but neither
    /// `::ffff:10.1.2.3` nor `64:ff9b::10.1.2.3`.
    #[must_use]
    pub fn new(allowed: &[IpNet]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Parses a URL and checks it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Url, DestinationError> {
        if text.len() > MAX_URL_BYTES {
            return Err(DestinationError::TooLong);
        }
        let url = Url::parse(text)?;
        self.vet(&url)?;
        Ok(url)
    }

    /// Whether a delivery may go to this URL. A name in it is not looked up.
    ///
    /// # Errors
    /// Why not.
    pub fn vet(&self, url: &Url) -> Result<(), DestinationError> {
        // Escaping may have made it longer than the text that was parsed.
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(DestinationError::TooLong);
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DestinationError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(DestinationError::UserInfo);
        }
        match url.host() {
            None => Err(DestinationError::NoHost),
            Some(Host::Ipv4(address)) => self.vet_address(address.into()),
            Some(Host::Ipv6(address)) => self.vet_address(address.into()),
            Some(Host::Domain(_)) => Ok(()),
        }
    }

    /// Whether a delivery may go to this address.
    ///
    /// # Errors
    /// [`DestinationError::Address`]
    pub fn vet_address(&self, address: IpAddr) -> Result<(), DestinationError> {
        let is_allowed = self.allowed.iter().any(|network| network.contains(&address));
        if is_allowed || !blocked_addresses::is_refused(address) {
            Ok(())
        } else {
            Err(DestinationError::Address(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<String> {
        DestinationPolicy::default().parse(text).err().map(|refused| refused.to_string())
    }

    #[test]
    fn a_url_of_the_public_web_is_taken_whatever_its_port() {
        for text in ["https://example.com/hook?a=b", "http://example.com:1", "https://8.8.8.8:22/"] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        let escaped = format!("https://example.com/{}", "ä".repeat(600));
        for (text, says) in [
            ("ftp://example.com/", "the URL is not http or https"),
            ("file:///etc/passwd", "the URL is not http or https"),
            ("https://me@example.com/", "the URL holds a user or a password"),
            ("https://:word@example.com/", "the URL holds a user or a password"),
            ("https://", "the URL cannot be read: empty host"),
            ("example.com", "the URL cannot be read: relative URL without a base"),
            (&long, "the URL is over 2048 bytes"),
            (&escaped, "the URL is over 2048 bytes"),
            ("http://0x7f.1/", "refused address 127.0.0.1; see webhooks.allowed_networks"),
        ] {
            assert_eq!(refusal(text).as_deref(), Some(says), "{text}");
        }
    }

    #[test]
    fn an_allowed_network_opens_what_is_written_like_it_and_nothing_else() {
        let destinations =
            DestinationPolicy::new(&["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
        let takes = |text: &str| destinations.parse(text).is_ok();
        assert!(takes("http://10.1.255.255/") && takes("http://[fd00:1::9]/"));
        assert!(!takes("http://10.2.0.0/") && !takes("http://[fd00:2::9]/"));
        assert!(!takes("http://[::ffff:10.1.2.3]/") && !takes("http://[64:ff9b::10.1.2.3]/"));
    }
}
