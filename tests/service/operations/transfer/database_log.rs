//! A log in a schema of the tests' PostgreSQL, with the data directory beside it.

use std::{
    path::Path,
    process::{Command, Output},
};

use amoiq_testkit::{PostgresServer, cli};
use tempfile::TempDir;

/// A log in a database. Nothing is made before a command does it.
pub(super) struct DatabaseLog {
    /// The data directory.
    pub(super) data: TempDir,
    pub(super) schema: String,
}

impl DatabaseLog {
    pub(super) fn new() -> Self {
        let schema = PostgresServer::shared().new_schema();
        Self { data: tempfile::tempdir().expect("a directory"), schema }
    }

    /// The settings that lead to it, for a service and for most commands.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AMOIQ__STORE__BACKEND", "postgres".to_owned()),
            ("AMOIQ__STORE__URL", PostgresServer::shared().address()),
            ("AMOIQ__STORE__SCHEMA", self.schema.clone()),
        ]
    }

    /// A command on it, not run yet.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cli::command(self.data.path());
        command.envs(self.settings()).args(arguments);
        command
    }

    /// Runs a command on it.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// What a command that must succeed prints.
    #[track_caller]
    pub(super) fn stdout_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What a command that must fail says on standard error.
    #[track_caller]
    pub(super) fn failure_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// A migration from a directory into it, not run yet.
    pub(super) fn migration_from(&self, directory: &Path) -> Command {
        self.migration(&in_files(directory), &PostgresServer::shared().address())
    }

    /// A migration from it into a directory, not run yet.
    pub(super) fn migration_to(&self, directory: &Path) -> Command {
        self.migration(&PostgresServer::shared().address(), &in_files(directory))
    }

    fn migration(&self, from: &str, to: &str) -> Command {
        let mut command = cli::command(self.data.path());
        command.env("AMOIQ__STORE__SCHEMA", &self.schema);
        command.args(["migrate", "--json", "--from", from, "--to", to]);
        command
    }

    /// What a query of its schema answers.
    pub(super) fn ask(&self, query: &str) -> String {
        PostgresServer::shared().ask(&query.replace("{schema}", &self.schema))
    }
}

fn in_files(directory: &Path) -> String {
    format!("sqlite:{}", directory.display())
}
