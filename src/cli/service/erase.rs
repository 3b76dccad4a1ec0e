//! `amoiq erase`: erases a person from the log, the read models, the webhook database and their files.

use std::io::{self, BufRead, IsTerminal, Write};

use amoiq_events::{SessionId, TenantId, UserId};
use anyhow::{bail, ensure};
use clap::Args;
use reqwest::Method;

use super::client::{ClientOptions, OperatorClient};
use crate::{
    api::{
        field::Field,
        operator::erasure::{EraseRequest, EraseResponse},
    },
    config::Config,
};

/// Erase a person from everything that the running service stores.
#[derive(Debug, Clone, Args)]
pub(crate) struct EraseCommand {
    #[command(flatten)]
    options: ClientOptions,
    /// The id of the tenant.
    #[arg(long)]
    tenant: String,
    /// Erase one session.
    #[arg(long, conflicts_with = "user", required_unless_present = "user")]
    session: Option<String>,
    /// Erase every session that belongs to this user, whether the user id was proven or only claimed.
    #[arg(long)]
    user: Option<String>,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// When the service does not answer or refuses, or nobody confirms.
pub(crate) fn run(config: &Config, command: &EraseCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?.for_erasure();
    let request = command.request()?;
    let dry_run = EraseRequest { dry_run: Field::Value(true), ..request.clone() };
    let erase = |request: &EraseRequest| client.send::<_, EraseResponse>(Method::POST, &["erase"], request);
    let mut sessions = Vec::new();
    // The service erases at most a thousand sessions of a user at a time.
    loop {
        let found = erase(&dry_run)?;
        if command.user.is_some() && found.sessions.is_empty() && !sessions.is_empty() {
            break;
        }
        if !command.yes {
            confirm(&found)?;
        }
        let erased = erase(&request)?.sessions;
        let is_last = command.session.is_some() || erased.is_empty();
        sessions.extend(erased);
        if is_last {
            break;
        }
    }
    let Field::Value(tenant) = request.tenant else { bail!("--tenant is missing") };
    client.show(&EraseResponse { tenant, sessions }, |erased| {
        Ok(match erased.sessions.len() {
            0 => "the user has no sessions; the user's presence is erased".to_owned(),
            count => format!("erased {count} sessions:\n{}", lines(&erased.sessions, "")),
        })
    })
}

impl EraseCommand {
    fn request(&self) -> anyhow::Result<EraseRequest> {
        Ok(EraseRequest {
            tenant: Field::Value(TenantId::try_from(self.tenant.clone())?),
            session: Field::of(self.session.as_deref().map(SessionId::parse).transpose()?),
            user: Field::of(self.user.as_deref().map(UserId::parse).transpose()?),
            dry_run: Field::Absent,
        })
    }
}

fn lines(sessions: &[SessionId], indent: &str) -> String {
    sessions.iter().map(|session| format!("{indent}{session}\n")).collect()
}

/// Shows what will be erased, and asks for confirmation.
fn confirm(found: &EraseResponse) -> anyhow::Result<()> {
    let mut terminal = io::stderr().lock();
    let (tenant, count) = (&found.tenant, found.sessions.len());
    writeln!(terminal, "{count} sessions of {tenant} will be erased permanently:")?;
    write!(terminal, "{}", lines(&found.sessions, "  "))?;
    ensure!(io::stdin().is_terminal(), "nothing was erased: without a terminal, confirm with --yes");
    write!(terminal, "Erase? [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was erased");
    }
    Ok(())
}
