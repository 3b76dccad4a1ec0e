//! The files that operators get with the program: every metric in a dashboard or an alert is one that the running service
//! shows, and the files for installation match the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use amoiq_testkit::{TestApp, WIDGET_KEY, cli, scrape};
use serde_json::{Value, json};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in a query.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let is_ours = |word: &&str| word.starts_with("amoiq_") || word.starts_with("process_");
    words.filter(is_ours).map(str::to_owned).collect()
}

/// Every text of a JSON value under a name.
fn texts<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                found.extend(value.as_str().filter(|_| field == name));
                texts(value, name, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, name, found)),
        _ => {}
    }
}

/// The names of the samples of a service that has done something.
fn shown() -> BTreeSet<String> {
    let app = TestApp::start();
    app.say(WIDGET_KEY, "session-deploy-0123456789", "hello");
    let lines = scrape(&app);
    let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(name).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_shown_by_the_service() {
    let dashboard: Value = serde_json::from_str(&file("grafana/amoiq.json")).expect("JSON");
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 30, "{}", queries.len());
    let rules = file("prometheus/amoiq.rules.yml");
    let alerts = rules.matches("- alert:").count();
    assert!(alerts > 10);
    assert_eq!(rules.matches("expr:").count(), alerts);
    queries.push(&rules);
    let named: BTreeSet<_> = queries.into_iter().flat_map(metrics_of).collect();
    let shown = shown();
    let missing: Vec<_> = named.difference(&shown).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}

#[test]
fn every_alert_has_a_runbook() {
    let rules = file("prometheus/amoiq.rules.yml");
    let page = file("../docs/operations/runbook.md");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let runbooks = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    let mut count = 0;
    for (alert, runbook) in alerts.zip(runbooks) {
        assert_eq!(runbook, format!("\"docs/operations/runbook.md#{}\"", alert.to_lowercase()));
        assert!(page.contains(&format!("\n#### {alert}\n")), "{alert}");
        count += 1;
    }
    assert_eq!(count, rules.matches("- alert:").count());
    for number in
        ["amoiq_rate_limit_refusals", "amoiq_last_backup", "process_resident_memory", "process_open_fds"]
    {
        assert!(rules.contains(number), "nobody is told of {number}");
    }
}

#[test]
fn every_endpoint_state_in_an_alert_is_one_that_the_service_reports() {
    let rules = file("prometheus/amoiq.rules.yml");
    let selectors: Vec<_> = rules.split("amoiq_webhook_lanes{").skip(1).collect();
    assert!(!selectors.is_empty(), "an endpoint that is disabled is told of");
    let lines = scrape(&TestApp::start());
    for selector in selectors {
        let labels = selector.split('}').next().expect("its labels");
        assert!(lines.contains(&format!("amoiq_webhook_lanes{{{labels}}} ")), "{labels}");
    }
}

#[test]
fn the_panels_of_the_dashboard_have_different_titles_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&file("grafana/amoiq.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].to_string()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeMap::new();
    for panel in panels {
        let number = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        for (x, y) in (0..number("w")).flat_map(|x| (0..number("h")).map(move |y| (x, y))) {
            let place = (number("x") + x, number("y") + y);
            assert!(place.0 < 24, "{panel}");
            let other = taken.insert(place, &panel["title"]);
            assert_eq!(other, None, "{} stands on it", panel["title"]);
        }
    }
}

#[test]
fn every_metric_that_is_shown_is_in_the_operators_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/reference.md");
    let page = fs::read_to_string(page).expect("the page");
    let named = metrics_of(&page);
    let parts = ["_bucket", "_sum", "_count"];
    let family =
        |name: &String| parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name).to_owned();
    let shown: BTreeSet<_> = shown().iter().map(family).collect();
    let missing: Vec<_> = shown.difference(&named).collect();
    assert_eq!(json!(missing), json!([]));
}

/// Whether the program accepts these arguments: with `--help` it explains them and does nothing.
fn is_understood(words: &[&str]) -> bool {
    cli::run(Path::new("unused"), &[words, &["--help"]].concat()).status.success()
}

#[test]
fn the_unit_starts_the_program_as_its_own_user_and_lets_it_write_one_directory() {
    let unit = file("systemd/amoiq.service");
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let words: Vec<_> = setting("ExecStart").expect("a command").split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/amoiq");
    assert!(is_understood(&words[1..]), "{words:?}");
    assert!(!is_understood(&["no-such-command"]));
    let wanted = [
        // A user that stays: commands on the files of a stopped service run as this user.
        ("User", "amoiq"),
        ("Group", "amoiq"),
        ("UMask", "0077"),
        ("StateDirectory", "amoiq"),
        ("StateDirectoryMode", "0700"),
        ("ProtectHome", "yes"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallFilter", "@system-service"),
        ("Restart", "on-failure"),
        ("Type", "notify"),
        ("WatchdogSec", "30"),
        ("TimeoutStopSec", "10"),
    ];
    for (name, value) in wanted {
        assert_eq!(setting(name), Some(value), "{name}");
    }
    let files: u64 = setting("LimitNOFILE").expect("a limit").parse().expect("a number");
    assert!(files > 2 * 100_000, "realtime.max_connections has to fit");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd/amoiq.toml");
    let config = amoiq::config::Config::load(Some(&config)).expect("settings");
    assert_eq!(config.store.path, Path::new("/var/lib/amoiq"), "the same for the service and for commands");
}

#[test]
fn the_container_runs_the_program_as_nobody_and_checks_its_health() {
    let image = file("docker/Dockerfile");
    assert!(image.matches("\nFROM ").count() >= 2, "the compiler stays behind");
    let user = image.lines().filter_map(|line| line.strip_prefix("USER ")).next_back().expect("a user");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let words = |line: &str| serde_json::from_str::<Vec<String>>(line).expect("the exec form");
    let after = |name: &str| image.lines().find_map(|line| line.trim().strip_prefix(name)).expect(name);
    let entry = words(after("ENTRYPOINT "));
    assert_eq!(entry, ["/usr/local/bin/amoiq"]);
    let arguments =
        image.lines().filter_map(|line| line.strip_prefix("CMD ")).next_back().expect("arguments");
    let arguments = words(arguments);
    assert!(is_understood(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let health = words(after("CMD "));
    assert_eq!(health[0], entry[0]);
    // A start would not succeed while the disk is full.
    assert_eq!(health[1..], ["health", "--alive"]);
    assert!(is_understood(&health[1..].iter().map(String::as_str).collect::<Vec<_>>()));
}

#[test]
fn the_image_is_built_by_the_compiler_that_it_names() {
    let image = file("docker/Dockerfile");
    let compiler = image.lines().find_map(|line| line.strip_prefix("FROM rust:")).expect("a compiler");
    assert_eq!(compiler.split('-').next(), Some(env!("CARGO_PKG_RUST_VERSION")));
    let left_out = file("../.dockerignore");
    let is_left_out = |name: &str| left_out.lines().any(|line| line.trim_end_matches('/') == name);
    // It names a channel, and rustup would download that one.
    assert!(file("../rust-toolchain.toml").contains("channel") && is_left_out("rust-toolchain.toml"));
    // Erasure does not work without it; `*` would accept it too.
    assert!(file("../.cargo/config.toml").contains("LIBSQLITE3_FLAGS"));
    assert!(![".cargo", ".cargo/config.toml", ".*", "*"].iter().any(|name| is_left_out(name)));
}

#[test]
fn the_settings_of_the_container_are_settings() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/docker/amoiq.toml");
    assert!(amoiq::config::Config::load(Some(&config)).is_ok());
}
