//! Which sites may embed a tenant's widget. A filter against embedding elsewhere, not a proof: a
//! program that is not a browser says what it likes.

use amoiq_events::tenant::Tenant;

use super::{CallerRole, Principal};
use crate::api::problem::Problem;

/// The origins of pages that host the widget for every tenant: `server.widget_origins`.
#[derive(Debug, Clone, Default)]
pub struct WidgetOrigins(pub Vec<String>);

impl WidgetOrigins {
    /// Lets a widget key pass only from its tenant's sites.
    ///
    /// # Errors
    /// [`Problem::OriginNotAllowed`].
    pub fn check(&self, principal: &Principal, site: &RequestSite<'_>) -> Result<(), Problem> {
        if principal.role == CallerRole::WidgetKey { site.check(&principal.tenant, &self.0) } else { Ok(()) }
    }
}

/// What a request says about the site it comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestSite<'a> {
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `X-Website-Origin` header.
    pub website_origin: Option<&'a str>,
    /// `origin` in the body.
    pub body_origin: Option<&'a str>,
}

/// The most of an origin that is told back, in characters.
const TOLD_CHARACTERS: usize = 256;

impl RequestSite<'_> {
    /// The origin that counts, and what named it: the request's own, unless that is the widget's host; then the site
    /// that the widget names. Nothing when it says none at all.
    fn judged<'a>(&'a self, widget_origins: &[String]) -> Option<(&'a str, &'static str)> {
        let is_widget = |origin: &str| widget_origins.iter().any(|own| own.eq_ignore_ascii_case(origin));
        let own = self.origin.filter(|origin| !is_widget(origin)).map(|origin| (origin, "Origin"));
        own.or(self.website_origin.map(|origin| (origin, "X-Website-Origin")))
            .or(self.body_origin.map(|origin| (origin, "origin")))
    }

    fn check(&self, tenant: &Tenant, widget_origins: &[String]) -> Result<(), Problem> {
        let Some((origin, named_by)) = self.judged(widget_origins) else { return Ok(()) };
        let allowed = tenant.settings().map(|settings| settings.origins.as_slice()).unwrap_or_default();
        if allowed.iter().any(|pattern| matches(pattern, origin)) {
            return Ok(());
        }
        Err(Problem::OriginNotAllowed { origin: origin.chars().take(TOLD_CHARACTERS).collect(), named_by })
    }
}

/// Whether an origin fits `*`, itself, or `scheme://*.domain` (any name below the domain, not the
/// domain itself; the port is part of it).
fn matches(pattern: &str, origin: &str) -> bool {
    if pattern == "*" || pattern.eq_ignore_ascii_case(origin) {
        return true;
    }
    let (pattern, origin) = (pattern.to_ascii_lowercase(), origin.to_ascii_lowercase());
    let Some((scheme, domain)) = pattern.split_once("://*.") else { return false };
    let Some(host) = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
        return false;
    };
    let Some(name) = host.strip_suffix(domain).and_then(|name| name.strip_suffix('.')) else {
        return false;
    };
    !name.is_empty() && name.chars().all(|char| char.is_alphanumeric() || matches!(char, '-' | '.' | '_'))
}

/// Whether a text is a pattern that an origin can fit.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    // What browsers send for a page without a site of its own.
    if matches!(text, "*" | "null") {
        return true;
    }
    // A URL has no name `*`; any other in its place shows whether the rest is an origin.
    let sample = text.replacen("://*.", "://any.", 1);
    let is_origin = |url: url::Url| origin_of(&url).is_some_and(|own| own.eq_ignore_ascii_case(&sample));
    !sample.contains('*') && url::Url::parse(&sample).is_ok_and(is_origin)
}

/// What a page of this URL has as its origin: that of an app (`capacitor://localhost`) is its scheme and host.
fn origin_of(url: &url::Url) -> Option<String> {
    match (url.scheme(), url.host_str()) {
        ("http" | "https", _) => Some(url.origin().ascii_serialization()),
        ("ftp" | "ws" | "wss" | "file", _) | (_, None) => None,
        (scheme, Some(host)) => Some(format!("{scheme}://{host}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_any_site_an_origin_or_what_is_below_a_domain() {
        let apps = ["capacitor://localhost", "chrome-extension://abcdefgh", "null"];
        let sites = ["*", "https://a.example", "http://localhost:3000", "https://*.a.example"];
        for good in sites.into_iter().chain(apps) {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["capacitor://", "capacitor://localhost/", "capacitor:localhost", "file:///x"] {
            assert!(!is_pattern(bad), "{bad}");
        }
        for bad in
            ["", "a.example", "https://a.example/", "https://a.*.example", "ftp://a", "**", "https://*"]
        {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_the_names_below_its_domain() {
        let pattern = "https://*.example.com";
        for good in ["https://a.example.com", "https://a.b.example.com", "HTTPS://A.EXAMPLE.COM"] {
            assert!(matches(pattern, good), "{good}");
        }
        for bad in [
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://.example.com",
            "https://evilexample.com",
            "https://a.example.com.evil.com",
            "https://evil.com/.example.com",
            "https://evil.com#.example.com",
            "https://user@a.example.com",
            "null",
            "",
        ] {
            assert!(!matches(pattern, bad), "{bad}");
        }
    }

    #[test]
    fn an_exact_origin_is_compared_whole_and_a_star_is_any() {
        assert!(matches("https://example.com", "https://Example.com"));
        assert!(!matches("https://example.com", "https://example.com:444"));
        assert!(matches("*", "null"));
    }

    #[test]
    fn the_site_behind_the_widgets_own_host_is_judged() {
        let own = ["https://widget.example".to_owned()];
        let site = RequestSite {
            origin: Some("https://widget.example"),
            website_origin: Some("https://site.example"),
            body_origin: Some("https://other.example"),
        };
        assert_eq!(site.judged(&own), Some(("https://site.example", "X-Website-Origin")));
        assert_eq!(site.judged(&[]), Some(("https://widget.example", "Origin")));
        let unnamed = RequestSite { website_origin: None, ..site };
        assert_eq!(unnamed.judged(&own), Some(("https://other.example", "origin")));
        assert_eq!(RequestSite::default().judged(&own), None);
    }
}
