//! What a tenant's name and its sites may be, whoever says it: an operator or the configuration.

use crate::access::auth::origin;

/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 200;

/// Whether a text can be a name.
///
/// # Errors
/// What it must be.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    let is_fine =
        (1..=MAX_NAME_CHARACTERS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_fine { Ok(()) } else { Err("must be 1 to 200 characters on one line") }
}

/// Whether every text is a pattern of sites.
///
/// # Errors
/// Which is not.
pub fn check_origins(origins: &[String]) -> Result<(), String> {
    match origins.iter().find(|pattern| !origin::is_pattern(pattern)) {
        None => Ok(()),
        Some(wrong) => {
            Err(format!("`{wrong}` is not `*`, `https://site.example` or `https://*.site.example`"))
        }
    }
}

/// Whether a text is one origin: as browsers write it, without a port that goes without saying.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    origin::is_pattern(text) && !text.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port_as_browsers_write_them() {
        for good in ["https://a.example", "https://A.example", "http://localhost:3000", "https://[::1]:8443"]
        {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["*", "https://*.a.example", "https://a.example/", "https://a.example:443"] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
