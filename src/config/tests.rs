//! How the layers of settings go together.

use std::{collections::HashMap, io::Write};

use super::*;

fn with_file(text: &str) -> anyhow::Result<Config> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::layered(Some(file.path()), HashMap::new())
}

fn with_environment(key: &str, value: &str) -> anyhow::Result<Config> {
    Config::layered(None, HashMap::from([(key.to_owned(), value.to_owned())]))
}

#[test]
fn the_defaults_are_complete() {
    let config = Config::layered(None, HashMap::new()).unwrap();
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:4000");
    assert!(config.tenants.is_empty());
}

#[test]
fn a_file_overrides_the_defaults_key_by_key() {
    let config = with_file("[rate_limit]\nhttp_per_minute = 7\n[[tenants]]\nid = 'a'").unwrap();
    assert_eq!((config.rate_limit.http_per_minute, config.rate_limit.socket_per_second), (7, 10));
    assert_eq!(config.tenants.len(), 1);
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    for text in ["[server]\nbnid = 'x'", "[sevrer]\n", "[[tenants]]\nid = 'a'\nkey = 'b'", "top = 1"] {
        let error = with_file(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
    let error = with_environment("AMOIQ__SERVER__BNID", "x").unwrap_err().to_string();
    assert!(error.contains("bnid"), "{error}");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = with_environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0").unwrap();
    assert_eq!(config.rate_limit.http_per_minute, 0);
    let config = with_environment("AMOIQ__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1/128").unwrap();
    assert_eq!(config.server.trusted_proxies.len(), 2);
    let config = with_environment("AMOIQ__SERVER__TRUSTED_PROXIES", "").unwrap();
    assert!(config.server.trusted_proxies.is_empty());
}

#[test]
fn a_secret_from_the_environment_is_taken_as_it_is_and_never_printed() {
    for secret in ["0123", "1e5", "true", "a,b"] {
        let config = with_environment("AMOIQ__AUTH__JWT_SECRET", secret).unwrap();
        assert_eq!(config.auth.jwt_secret.expose(), secret);
        assert!(!format!("{config:?}").contains(&format!("\"{secret}\"")));
    }
}

#[test]
fn a_value_of_another_type_is_an_error() {
    assert!(with_file("[server]\nbind = 'nowhere'").is_err());
    assert!(with_environment("AMOIQ__LIMITS__BODY_BYTES", "many").is_err());
}
