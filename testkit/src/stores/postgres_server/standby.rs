//! A standby of a server: made from a base backup, fed by streaming, and promoted when a test says so.

use super::PostgresServer;

impl PostgresServer {
    /// Starts a standby of this server, which calls itself by this name. It is asynchronous until
    /// `synchronous_standby_names` of this server names it.
    #[must_use]
    #[track_caller]
    pub fn start_standby(&self, name: &str) -> Self {
        let mut standby = Self::in_new_folder(self.programs.clone());
        let mut copying = standby.command(&self.programs.join("pg_basebackup"));
        copying.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        copying.args(["--host=127.0.0.1", "--username=amoiq", "--port", &self.port.to_string()]);
        let output = copying.arg("--pgdata").arg(standby.folder.join("data")).output();
        let output = output.expect("pg_basebackup runs");
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        standby.configure(&format!("port = {}\ncluster_name = '{name}'\n", standby.port));
        standby.resume();
        standby
    }

    /// Waits until this standby has everything that is in a server now.
    #[track_caller]
    pub fn catch_up(&self, primary: &Self) {
        let end = primary.ask("SELECT pg_current_wal_flush_lsn()");
        let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
        crate::eventually("the standby has everything", || self.ask(&has_it) == "t");
    }

    /// Cuts this standby off: what its primary writes from now on is not here.
    #[track_caller]
    pub fn cut_off(&self) {
        self.set("primary_conninfo", "''");
        crate::eventually("nothing is received", || {
            self.ask("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
        });
    }

    /// Makes a primary of this standby.
    #[track_caller]
    pub fn promote(&self) {
        assert_eq!(self.ask("SELECT pg_promote()"), "t", "{}", self.log());
    }
}
