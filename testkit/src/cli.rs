//! The program's other commands, run on a data directory until they end.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::{app_launcher::program_under_test, stores::store_settings};

/// The program on a data directory, not run yet.
#[must_use]
pub fn command(data: &Path) -> Command {
    let mut command = Command::new(program_under_test());
    command
        .env("AMOIQ__STORE__PATH", data)
        .envs(store_settings(data))
        .env("AMOIQ__SERVER__BIND", "127.0.0.1:0")
        .env("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
        .env("AMOIQ__LOG__LEVEL", "error")
        // Whoever runs the tests is not in the audit log.
        .env("USER", "ann")
        .env_remove("SUDO_USER")
        .stdin(Stdio::null());
    command
}

/// Runs a command.
pub fn run(data: &Path, arguments: &[&str]) -> Output {
    command(data).args(arguments).output().expect("the program runs")
}

/// What a command that must succeed prints.
#[track_caller]
pub fn stdout_of(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a command that must succeed prints with `--json`.
#[track_caller]
pub fn json_of(data: &Path, arguments: &[&str]) -> Value {
    let printed = stdout_of(data, &[arguments, &["--json"]].concat());
    serde_json::from_str(&printed).expect("JSON")
}

/// What a command that must fail says on standard error.
#[track_caller]
pub fn failure_of(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).expect("text")
}

/// The exit code and the report of `amoiq verify`.
#[must_use]
pub fn verify(data: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = run(data, &[&["verify", "--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("a code"), report)
}
