//! How the layers of settings go together.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStringExt};

use super::{environment::settings, *};

mod messages;

fn with_file(text: &str) -> anyhow::Result<Config> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::layered(Some(file.path()), HashMap::new())
}

fn with_environment(key: &str, value: &str) -> anyhow::Result<Config> {
    Config::layered(None, HashMap::from([(key.to_owned(), value.to_owned())]))
}

fn refusal(loaded: anyhow::Result<Config>) -> String {
    format!("{:#}", loaded.expect_err("a refusal"))
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
    assert!(error.contains("AMOIQ__SERVER__BNID") && !error.contains("`x`"), "{error}");
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
fn a_network_of_ipv4_peers_is_known_however_it_is_written() {
    for (text, network) in [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.7/128", "192.0.2.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::/0", "::/0"),
        ("fd00::/8", "fd00::/8"),
    ] {
        let expected = [network.parse().unwrap()];
        let config = with_environment("AMOIQ__SERVER__TRUSTED_PROXIES", text).unwrap();
        assert_eq!(config.server.trusted_proxies, expected, "{text}");
        let config = with_environment("AMOIQ__OPERATOR__METRICS_NETWORKS", text).unwrap();
        assert_eq!(config.operator.metrics_networks, expected, "{text}");
    }
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
fn a_file_that_is_not_toml_is_refused_with_the_place_and_without_its_text() {
    for text in
        ["jwt_secret = hidden", "jwt_secret = 'hidden", "jwt_secret = 'hidden'\njwt_secret = 'hidden'"]
    {
        let error = refusal(with_file(&format!("[auth]\n{text}\n")));
        assert!(error.contains("at line ") && !error.contains("hidden"), "{error}");
    }
}

#[test]
fn a_file_is_named_in_errors_as_it_was_given() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[server\n").unwrap();
    let given = file.path().display().to_string();
    let error = refusal(Config::layered(Some(file.path()), HashMap::new()));
    assert!(error.starts_with(&format!("{given}: TOML parse error")), "{error}");
    let missing = Path::new("./there/is/no.toml");
    let error = refusal(Config::layered(Some(missing), HashMap::new()));
    assert!(error.starts_with("./there/is/no.toml: No such file"), "{error}");
}

#[test]
fn a_value_of_another_type_is_an_error() {
    assert!(with_file("[server]\nbind = 'nowhere'").is_err());
    assert!(with_environment("AMOIQ__LIMITS__BODY_BYTES", "many").is_err());
}

#[test]
fn a_number_is_a_whole_number_and_nothing_that_could_be_taken_for_one() {
    let key = "rate_limit.http_per_minute";
    for value in ["-5.0", "0.4", "nan", "false", "'off'", "'5'", "-5", "4294967296", "[]", "{}"] {
        let error = refusal(with_file(&format!("[rate_limit]\nhttp_per_minute = {value}")));
        assert!(error.contains(key), "{value}: {error}");
    }
    for value in ["off", "true", "0.4", "5.0", "-5", "", " ", "4294967296", "99999999999999999999"] {
        let error = refusal(with_environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", value));
        assert!(error.contains(key), "{value}: {error}");
    }
}

#[test]
fn a_switch_is_true_or_false() {
    let key = "security.widget_key_reads_history";
    for value in ["0", "1", "'no'", "'false'"] {
        let error = refusal(with_file(&format!("[security]\nwidget_key_reads_history = {value}")));
        assert!(error.contains(key), "{value}: {error}");
    }
    let given = |value| with_environment("AMOIQ__SECURITY__WIDGET_KEY_READS_HISTORY", value);
    for value in ["2", "nope", " ", ""] {
        let error = refusal(given(value));
        assert!(error.contains(key), "{value}: {error}");
    }
    // Variables have no kinds, and these are what people write.
    for (values, is_on) in [(["true", "yes", "On", "1"], true), (["False", "no", "off", "0"], false)] {
        for value in values {
            assert_eq!(given(value).unwrap().security.widget_key_reads_history, is_on, "{value}");
        }
    }
}

#[test]
fn texts_lists_and_sections_are_what_they_are() {
    for (text, key) in [
        ("server = 7531", "server"),
        ("[auth]\nissuer = 7531", "auth.issuer"),
        ("[auth]\njwt_secret = 7531", "auth.jwt_secret"),
        ("[auth]\njwt_previous_secrets = ['a', 7531]", "auth.jwt_previous_secrets (number 2)"),
        ("[server]\ntrusted_proxies = '7531'", "server.trusted_proxies"),
        ("[webhooks]\nschedule_ms = [0, '7531']", "webhooks.schedule_ms (number 2)"),
        ("[[tenants]]\nid = 7531", "tenants (number 1).id"),
        ("[[tenants]]\nid = 'a'\nsecret_keys = [7531]", "tenants (number 1).secret_keys (number 1)"),
        ("[[tenants]]\nid = 'a'\nwebhooks = [{ url = 7531 }]", "tenants (number 1).webhooks (number 1).url"),
        ("tenants = '7531'", "tenants"),
    ] {
        let error = refusal(with_file(text));
        assert!(error.starts_with(key) && !error.contains("7531"), "{text}: {error}");
    }
    let error = refusal(with_environment("AMOIQ__WEBHOOKS__SCHEDULE_MS", "0,5s"));
    assert!(error.contains("webhooks.schedule_ms"), "{error}");
    let error = refusal(with_environment("AMOIQ__TENANTS", "acme"));
    assert!(error.contains("tenants"), "{error}");
}

/// A setting that is given in a file.
fn with(section: &str, key: &str, value: &str) -> anyhow::Result<Config> {
    with_file(&format!("[{section}]\n{key} = {value}"))
}

#[test]
fn a_number_of_no_use_is_refused_with_what_it_may_be() {
    for (section, key, values) in [
        ("server", "workers", ["513", "9223372036854775807"]),
        ("auth", "anonymous_token_seconds", ["0", "3153600001"]),
        ("auth", "ws_token_days", ["0", "36501"]),
        ("realtime", "ping_interval_ms", ["0", "3600001"]),
        ("realtime", "ping_timeout_ms", ["0", "3600001"]),
        ("realtime", "connect_timeout_ms", ["0", "3600001"]),
        ("realtime", "upgrade_timeout_ms", ["0", "3600001"]),
        ("realtime", "max_payload_bytes", ["0", "16777217"]),
        ("realtime", "outbox_bytes", ["0", "1073741825"]),
        ("realtime", "max_connections", ["10000001", "9223372036854775807"]),
        ("realtime", "recovery_seconds", ["31536001", "9223372036854775807"]),
        ("presence", "offline_grace_ms", ["86400001", "9223372036854775807"]),
        ("presence", "list_limit", ["1000001", "9223372036854775807"]),
        ("limits", "body_bytes", ["0", "1048577"]),
        ("limits", "text_characters", ["0", "1000000001"]),
        ("limits", "user_info_bytes", ["1048577", "9223372036854775807"]),
        ("limits", "events_per_session", ["2", "10000001"]),
        ("limits", "history_bytes", ["1023", "67108865"]),
        ("sessions", "max_in_memory", ["0", "10000001"]),
        ("sessions", "max_memory_bytes", ["0", "1099511627777"]),
        ("sessions", "passivate_after_seconds", ["0", "31536001"]),
        ("sessions", "threads", ["513", "9223372036854775807"]),
        ("conversation", "close_after_hours", ["87601", "4294967295"]),
        ("retention", "presence_days", ["36501", "4294967295"]),
        ("retention", "sessions_days", ["36501", "4294967295"]),
        ("webhooks", "jitter_percent", ["1001", "4294967295"]),
        ("webhooks", "attempt_timeout_ms", ["0", "3600001"]),
        ("webhooks", "in_flight_per_endpoint", ["0", "10001"]),
        ("webhooks", "in_flight", ["0", "9223372036854775807"]),
        ("webhooks", "pending_per_endpoint", ["0", "1000001"]),
        ("webhooks", "breaker_failures", ["0", "1000001"]),
        ("webhooks", "breaker_min_ms", ["0", "86400001"]),
        ("webhooks", "refused_hold_seconds", ["86401", "4294967295"]),
        ("webhooks", "breaker_max_ms", ["999", "86400001"]),
        ("webhooks", "disable_after_hours", ["87601", "4294967295"]),
        ("webhooks", "previous_secret_hours", ["87601", "4294967295"]),
        ("webhooks", "keep_attempts_days", ["0", "36501"]),
    ] {
        for value in values {
            let error = refusal(with(section, key, value));
            let says = format!("{section}.{key} is {value}, and must be ");
            assert!(error.starts_with(&says), "{section}.{key} = {value}: {error}");
        }
    }
    let error = refusal(with_environment("AMOIQ__REALTIME__MAX_CONNECTIONS", "18446744073709551615"));
    assert!(error.contains("realtime.max_connections is 18446744073709551615"), "{error}");
}

#[test]
fn the_edges_of_a_range_are_in_it() {
    for (section, key, values) in [
        ("server", "workers", ["0", "512"]),
        ("realtime", "ping_interval_ms", ["100", "3600000"]),
        ("realtime", "max_connections", ["0", "10000000"]),
        ("presence", "offline_grace_ms", ["0", "86400000"]),
        ("limits", "body_bytes", ["1024", "1048576"]),
        ("limits", "events_per_session", ["5", "10000000"]),
        ("limits", "history_bytes", ["1024", "67108864"]),
        ("sessions", "max_memory_bytes", ["1048576", "1099511627776"]),
        ("webhooks", "disable_after_hours", ["0", "87600"]),
        ("webhooks", "previous_secret_hours", ["0", "87600"]),
        ("webhooks", "breaker_max_ms", ["1000", "86400000"]),
    ] {
        for value in values {
            let loaded = with(section, key, value);
            assert!(loaded.is_ok(), "{section}.{key} = {value}: {loaded:?}");
        }
    }
}

#[test]
fn there_is_a_directory_and_a_schedule() {
    assert!(refusal(with("store", "path", "''")).contains("store.path is empty"));
    for waits in ["", &"1,".repeat(1_001), "0, 2592000001"] {
        let error = refusal(with("webhooks", "schedule_ms", &format!("[{waits}]")));
        assert!(error.contains("webhooks.schedule_ms"), "{waits}: {error}");
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_named_without_its_value_and_another_ones_is_nobodys_business() {
    let value = || OsString::from_vec(b"hidden\xff".to_vec());
    let read = |name: &str| settings([(name.into(), value())].into_iter());
    assert!(read("LESSOPEN").unwrap().is_empty());
    let error = read("AMOIQ__AUTH__JWT_SECRET").unwrap_err().to_string();
    assert!(error.contains("AMOIQ__AUTH__JWT_SECRET") && !error.contains("hidden"), "{error}");
    let name = OsString::from_vec(b"AMOIQ__\xff".to_vec());
    assert!(settings([(name, "hidden".into())].into_iter()).is_err());
}

#[test]
fn a_site_is_what_an_operator_may_say_it_is() {
    let tenant = |line: &str| with_file(&format!("[[tenants]]\nid = 'acme'\n{line}"));
    for good in ["origins = []", "origins = ['*', 'https://*.acme.example']", "name = 'Acme'"] {
        assert!(tenant(good).is_ok(), "{good}");
    }
    let many = format!("origins = [{}]", "'*',".repeat(201));
    for (line, says) in [
        ("origins = ['https://x.example/']", "`https://x.example/` is not"),
        ("origins = ['x.example']", "`x.example` is not"),
        ("name = ''", "name must be"),
        (&many, "origins has 201"),
    ] {
        let error = refusal(tenant(line));
        assert!(error.starts_with("tenants: `acme`: ") && error.contains(says), "{line}: {error}");
    }
    for bad in ["https://w.example/", "https://*.w.example", "*", ""] {
        let error = refusal(with("server", "widget_origins", &format!("['{bad}']")));
        assert!(error.contains("server.widget_origins"), "{bad}: {error}");
    }
    assert!(with("server", "widget_origins", "['https://w.example:8443']").is_ok());
}

#[test]
fn a_variable_that_is_no_setting_is_named_and_so_is_the_one_that_is_meant() {
    for (variable, meant) in [
        ("AMOIQ__SERVER_BIND", Some("AMOIQ__SERVER__BIND")),
        ("AMOIQ__RATE__LIMIT__HTTP_PER_MINUTE", Some("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE")),
        ("AMOIQ__SERVER__BNID", None),
        ("AMOIQ__SERVER", None),
        ("AMOIQ__", None),
        ("AMOIQ__TENANTS__0__ID", None),
    ] {
        let error = refusal(with_environment(variable, "hidden"));
        assert!(error.starts_with(&format!("{variable} in the environment is not a setting")), "{error}");
        assert!(!error.contains("hidden") && meant.is_none_or(|meant| error.contains(meant)), "{error}");
    }
}

#[test]
fn a_variable_that_looks_like_a_setting_is_warned_about_and_no_other() {
    let warnings = |name: &str| environment::lookalikes([(name.into(), "hidden".into())].into_iter());
    for (name, meant) in [
        ("AMOIQ_SERVER_BIND", "AMOIQ__SERVER__BIND"),
        ("AMOIQ_SERVER__BIND", "AMOIQ__SERVER__BIND"),
        ("AMOIQ_AUTH_JWT_SECRET", "AMOIQ__AUTH__JWT_SECRET"),
        ("amoiq__server__bind", "AMOIQ__SERVER__BIND"),
    ] {
        let warning = warnings(name).concat();
        assert!(warning.starts_with(&format!("{name} ")) && warning.contains(meant), "{warning}");
        assert!(!warning.contains("hidden"), "{warning}");
    }
    let kubernetes = ["AMOIQ_SERVICE_HOST", "AMOIQ_SERVICE_PORT", "AMOIQ_PORT", "AMOIQ_PORT_4000_TCP_ADDR"];
    for name in
        kubernetes.into_iter().chain(["AMOIQ__SERVER__BIND", "AMOIQ_CRASH_ROUNDS", "SERVER_BIND", "PATH"])
    {
        assert_eq!(warnings(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_address_or_a_network_that_is_none_is_shown_with_the_form() {
    for (section, key, value, form) in [
        ("server", "bind", "localhost:4000", "127.0.0.1:4000"),
        ("server", "bind", "0.0.0.0", "127.0.0.1:4000"),
        ("operator", "bind", "4001", "127.0.0.1:4000"),
        ("server", "trusted_proxies", "10.0.0.1", "10.0.0.0/8"),
        ("operator", "metrics_networks", "any", "10.0.0.0/8"),
        ("webhooks", "allowed_networks", "10.0.0.0/33", "10.0.0.0/8"),
        ("log", "format", "xml", "auto, pretty or json"),
    ] {
        let variable = format!("AMOIQ__{section}__{key}").to_uppercase();
        let error = refusal(with_environment(&variable, value));
        for part in [&format!("{section}.{key}"), &format!("`{value}`"), form, &variable] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let error = refusal(with("server", "bind", "'nowhere'"));
    assert!(error.starts_with("server.bind is `nowhere` (") && error.contains("127.0.0.1:4000"), "{error}");
}

#[test]
fn each_setting_is_shown_with_its_origin_and_secrets_are_hidden() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = "[limits]\nbody_bytes = 2048\n[[tenants]]\nid = 'acme'\nsecret_keys = ['sk_hidden']\n\
                webhooks = [{ url = 'https://hidden.example', secret = 'whsec_hidden' }]";
    file.write_all(text.as_bytes()).unwrap();
    let variables = [("AMOIQ__AUTH__JWT_SECRET", "hidden"), ("AMOIQ__SERVER__TRUSTED_PROXIES", "10.0.0.0/8")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let effective = EffectiveConfig::of(Some(file.path()), HashMap::from(environment)).unwrap();
    let settings = effective.settings().unwrap();
    let shown = |key: &str| (settings[key].value.to_string(), settings[key].origin.as_str());
    let path = file.path().display().to_string();
    assert_eq!(shown("limits.body_bytes"), ("2048".to_owned(), path.as_str()));
    assert_eq!(shown("limits.text_characters"), ("10000".to_owned(), "default"));
    let proxies = ("[\"10.0.0.0/8\"]".to_owned(), "AMOIQ__SERVER__TRUSTED_PROXIES");
    assert_eq!(shown("server.trusted_proxies"), proxies);
    assert_eq!(shown("auth.jwt_secret"), ("\"(hidden)\"".to_owned(), "AMOIQ__AUTH__JWT_SECRET"));
    assert_eq!(shown("auth.jwt_previous_secrets"), ("[]".to_owned(), "default"));
    assert!(shown("tenants").0.contains("acme") && !format!("{settings:?}").contains("sk_hidden"));
    assert!(!format!("{settings:?}").contains("hidden.example"));
}
