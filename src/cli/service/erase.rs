//! `amoiq erase`: removes a person from the log, the read models, the outbox and their files.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{bail, ensure};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ClientOptions, OperatorClient};
use crate::config::Config;

/// Whom, and whether to ask first.
#[derive(Debug, Clone, Args)]
pub(crate) struct EraseCommand {
    #[command(flatten)]
    options: ClientOptions,
    /// The tenant's id.
    #[arg(long)]
    tenant: String,
    /// One session.
    #[arg(long, conflicts_with = "user", required_unless_present = "user")]
    session: Option<String>,
    /// Every session that this user was in, by proof or by their own word.
    #[arg(long)]
    user: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Carries the command out.
///
/// # Errors
/// When the service does not answer or refuses, or nobody says yes.
pub(crate) fn run(config: &Config, command: &EraseCommand) -> anyhow::Result<()> {
    let service = OperatorClient::find(config, &command.options)?;
    let body = |dry_run: bool| {
        let EraseCommand { tenant, session, user, .. } = command;
        json!({ "tenant": tenant, "session": session, "user": user, "dryRun": dry_run })
    };
    // A user is in at most a thousand sessions at a time.
    let mut all = Vec::new();
    loop {
        let found = service.ask(Method::POST, &["erase"], Some(&body(true)))?;
        let sessions = listed(&found);
        if command.user.is_some() && sessions.is_empty() && !all.is_empty() {
            break;
        }
        if !command.yes {
            confirm(&command.tenant, &sessions)?;
        }
        let answer = service.ask_long(Method::POST, &["erase"], Some(&body(false)))?;
        let erased = listed(&answer);
        let is_last = command.session.is_some() || erased.is_empty();
        all.extend(erased);
        if is_last {
            break;
        }
    }
    let answer = json!({ "tenant": command.tenant, "sessions": all });
    service.show(&answer, |_| match all.len() {
        0 => "no session is the user's; what presence said of them is erased".to_owned(),
        count => format!("erased, {count}:\n{}", all.join("\n")),
    })
}

fn listed(answer: &Value) -> Vec<String> {
    let sessions = answer["sessions"].as_array().into_iter().flatten();
    sessions.filter_map(|session| session.as_str().map(str::to_owned)).collect()
}

/// Shows what will be erased, and goes on when somebody says yes.
fn confirm(tenant: &str, sessions: &[String]) -> anyhow::Result<()> {
    let mut terminal = io::stderr().lock();
    writeln!(terminal, "of {tenant}, for good: {} sessions", sessions.len())?;
    for session in sessions {
        writeln!(terminal, "  {session}")?;
    }
    ensure!(io::stdin().is_terminal(), "nothing was erased: say --yes where nobody can be asked");
    write!(terminal, "Erase? [y/N] ")?;
    terminal.flush()?;
    let mut said = String::new();
    io::stdin().lock().read_line(&mut said)?;
    if !matches!(said.trim(), "y" | "Y" | "yes") {
        bail!("nothing was erased");
    }
    Ok(())
}
