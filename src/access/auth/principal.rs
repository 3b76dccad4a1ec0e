//! A caller in its tenant: its role there, and what that allows.

use std::sync::Arc;

use amoiq_events::{
    KeyId, SessionId, TenantId, UserId,
    session::{MessageSender, SessionCaller},
    tenant::Tenant,
};

use crate::api::problem::Problem;

/// What a caller is in its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerRole {
    /// A page with a widget key: whatever session it names.
    WidgetKey,
    /// A visitor with a token.
    Visitor {
        /// The one session that the token opens, when it is bound to one.
        session: Option<SessionId>,
        /// The user that a secret key vouched for.
        verified: Option<UserId>,
    },
    /// A bot key.
    Bot,
    /// A secret key, or an agent's or admin's token.
    Staff {
        /// Whose token it is; nothing for a key.
        user: Option<UserId>,
        /// The name that the token gives.
        name: Option<String>,
        /// Which of the three.
        rank: StaffRank,
    },
}

impl CallerRole {
    /// Whether it is a visitor's, with a token or with a widget key alone.
    #[must_use]
    pub fn is_visitor(&self) -> bool {
        matches!(self, Self::WidgetKey | Self::Visitor { .. })
    }
}

/// What staff may do, the later the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StaffRank {
    /// An agent's token: conversations.
    Agent,
    /// An admin's token: webhooks too.
    Admin,
    /// The key itself: it alone mints tokens.
    Key,
}

/// A caller, in the tenant that the request is about.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its settings.
    pub tenant: Arc<Tenant>,
    /// What the caller is there.
    pub role: CallerRole,
    /// For the log's envelope.
    pub actor: Box<str>,
    /// The key that the caller has, or that minted its token.
    pub key_id: KeyId,
}

impl Principal {
    /// What a session sees the caller as.
    #[must_use]
    pub fn caller(&self) -> SessionCaller {
        match &self.role {
            CallerRole::Visitor { verified: Some(user), .. } => SessionCaller::Verified(user.clone()),
            CallerRole::WidgetKey | CallerRole::Visitor { .. } => SessionCaller::Anonymous,
            CallerRole::Bot | CallerRole::Staff { .. } => SessionCaller::Staff,
        }
    }

    /// What the caller's messages are.
    #[must_use]
    pub fn sender(&self) -> MessageSender {
        match self.role {
            CallerRole::WidgetKey | CallerRole::Visitor { .. } => MessageSender::User,
            CallerRole::Bot => MessageSender::Bot,
            CallerRole::Staff { .. } => MessageSender::Agent,
        }
    }

    /// Whether the caller is a visitor, with a token or with a widget key alone.
    #[must_use]
    pub fn is_visitor(&self) -> bool {
        self.role.is_visitor()
    }

    /// The session of a request that names one: a token that is bound to a session is good for no other.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when they differ.
    pub fn bound_session(&self, named: Option<SessionId>) -> Result<Option<SessionId>, Problem> {
        match (&self.role, named) {
            (CallerRole::Visitor { session: Some(bound), .. }, Some(named)) if *bound != named => {
                Err(Problem::Forbidden("the token is for another session"))
            }
            (CallerRole::Visitor { session: Some(bound), .. }, _) => Ok(Some(bound.clone())),
            (_, named) => Ok(named),
        }
    }

    /// Checks the user that a request names: a verified user's token is good for no other.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] when they differ.
    pub fn check_user(&self, named: Option<&UserId>) -> Result<(), Problem> {
        match (&self.role, named) {
            (CallerRole::Visitor { verified: Some(user), .. }, Some(named)) if user != named => {
                Err(Problem::Forbidden("the token is for another user"))
            }
            _ => Ok(()),
        }
    }

    /// Lets only agents, admins and secret keys pass.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for everybody else.
    pub fn require_staff(&self) -> Result<(), Problem> {
        match self.role {
            CallerRole::Staff { .. } => Ok(()),
            _ => Err(Problem::Forbidden("an agent, an admin or a secret key is needed")),
        }
    }

    /// Lets only admins and secret keys pass.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for everybody else.
    pub fn require_admin(&self) -> Result<(), Problem> {
        match self.role {
            CallerRole::Staff { rank: StaffRank::Admin | StaffRank::Key, .. } => Ok(()),
            _ => Err(Problem::Forbidden("an admin or a secret key is needed")),
        }
    }
}
