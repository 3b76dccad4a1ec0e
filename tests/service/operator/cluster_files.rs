//! The files of `deploy/cluster`: the unit protects nodes as the one of a single service, the settings are settings, and the
//! proxies name the same nodes. `tests/proxies` runs the proxies.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use amoiq::config::Config;

const NODES: [&str; 3] = ["a", "b", "c"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The variables of a node.
fn environment(node: &str) -> HashMap<String, String> {
    let text = file(&format!("cluster/{node}.env"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once('=').expect("a variable")).map(|(k, v)| (k.into(), v.into())).collect()
}

/// The lines of a unit without comments.
fn directives(name: &str) -> BTreeSet<String> {
    let text = file(name);
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_unit_of_nodes_protects_them_as_the_unit_of_one_service() {
    let (one, nodes) = (directives("systemd/amoiq.service"), directives("cluster/amoiq@.service"));
    let different: Vec<_> = nodes.difference(&one).map(String::as_str).collect();
    let expected = [
        "Description=amoiq, node %i",
        "Environment=AMOIQ__STORE__PATH=/var/lib/amoiq/%i",
        "EnvironmentFile=/etc/amoiq/%i.env",
        "EnvironmentFile=/etc/amoiq/amoiq.env",
        "StartLimitIntervalSec=0",
        "StateDirectory=amoiq/%i",
        "TimeoutStopSec=15",
        "WorkingDirectory=/var/lib/amoiq/%i",
    ];
    assert_eq!(different, expected);
    let missing: Vec<_> =
        one.difference(&nodes).map(|line| line.split_once('=').expect("a value").0).collect();
    let replaced = [
        "Description",
        "EnvironmentFile",
        "StartLimitBurst",
        "StartLimitIntervalSec",
        "StateDirectory",
        "TimeoutStopSec",
        "WorkingDirectory",
    ];
    assert_eq!(missing, replaced);
}

#[test]
fn the_settings_of_each_node_are_settings_and_the_proxies_know_its_name_and_address() {
    let (nginx, haproxy) = (file("cluster/nginx.conf"), file("cluster/haproxy.cfg"));
    for node in NODES {
        let config = Config::layered(Some(&path("cluster/amoiq.toml")), environment(node)).expect("settings");
        let address = config.server.bind;
        assert_eq!(nginx.matches(&format!("~\\.{node}$   {address}; # a node")).count(), 1, "{node}");
        assert_eq!(nginx.matches(&format!("{address} max_fails=")).count(), 2, "{node}");
        assert_eq!(haproxy.matches(&format!("    server {node} {address}\n")).count(), 2, "{node}");
        for proxy in [&nginx, &haproxy] {
            let trusted = config.server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(proxy.contains(&format!("trusted_proxies = {trusted:?}")), "{trusted:?}");
        }
    }
    assert_eq!(nginx.matches("# a node").count(), 3 * NODES.len());
    assert_eq!(haproxy.matches("\n    server ").count(), 2 * NODES.len());
}
