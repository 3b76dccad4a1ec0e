//! Who is calling, and for which tenant. HTTP and sockets both decide it here.
//!
//! [`Authenticator::credential`] recognises the credential, whatever the request is. [`Authenticator::principal`] then
//! compares it with the tenant that the request names. A tenant that the credential does not cover is refused before
//! anything is looked up, so nobody learns which tenants exist.

use std::sync::Arc;

use amoiq_actors::tenants::{KeyGrant, TenantNews, TenantRegistry, is_demo_tenant};
use amoiq_events::{
    Ambient, KeyId, SessionId, TenantId, UserId,
    session::{MessageSender, SessionCaller},
    tenant::{KeyHash, KeyKind, Tenant},
};
use sha2::{Digest, Sha256};

use crate::api::problem::Problem;

mod credential_use;
mod hs256;

pub mod origin;
pub mod token;

pub use credential_use::CredentialUse;
pub use token::{TokenClaims, TokenKeys, TokenRole, TokenSettings, TokenType};

/// A good credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    Key {
        /// Its public id.
        id: KeyId,
        /// What it may do.
        kind: KeyKind,
        /// Whose it is; all of one kind.
        grants: Vec<KeyGrant>,
    },
    /// A token that verified, and whose key is not revoked.
    Token(Box<TokenClaims>),
}

impl Credential {
    /// The caller, for logs and for the envelopes of events: never the credential itself.
    #[must_use]
    pub fn public_id(&self) -> String {
        match self {
            Self::Key { id, .. } => format!("key:{id}"),
            Self::Token(claims) => format!("token:{}", claims.jti),
        }
    }
}

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

/// The tenants that a request names, and the way on which it came.
#[derive(Debug, Clone, Default)]
pub struct TenantSelection {
    /// The tenants, wherever it names them. They have to agree.
    pub tenants: Vec<TenantId>,
    /// Whether it came through a proxy (`X-Forwarded-For`, `Forwarded`).
    pub is_forwarded: bool,
}

/// Recognises credentials.
pub struct Authenticator {
    registry: Arc<TenantRegistry>,
    tokens: TokenKeys,
    ambient: Ambient,
    /// What other nodes change.
    news: Option<Arc<TenantNews>>,
}

impl Authenticator {
    /// An authenticator over the tenants of a registry.
    #[must_use]
    pub fn new(registry: Arc<TenantRegistry>, tokens: TokenKeys, ambient: Ambient) -> Self {
        Self { registry, tokens, ambient, news: None }
    }

    /// The same, where other nodes may make keys.
    #[must_use]
    pub fn with_news(self, news: Option<Arc<TenantNews>>) -> Self {
        Self { news, ..self }
    }

    /// Mints tokens.
    #[must_use]
    pub fn tokens(&self) -> &TokenKeys {
        &self.tokens
    }

    /// Recognises a key or a token.
    ///
    /// # Errors
    /// [`Problem::InvalidApiKey`] or [`Problem::InvalidJwtToken`]; [`Problem::Forbidden`] for one that is for something else.
    pub fn credential(&self, text: Option<&str>, usage: CredentialUse) -> Result<Credential, Problem> {
        let text = text.filter(|text| !text.is_empty()).ok_or(Problem::InvalidApiKey)?;
        let credential = if text.split('.').count() == 3 { self.token(text) } else { self.key(text) };
        usage.allow(credential?)
    }

    /// Recognises a key or a token that was refused, if another node has just made the key: the log has it, and this node has
    /// not read it yet.
    ///
    /// # Errors
    /// As [`Self::credential`].
    pub async fn recognise_again(
        &self,
        text: Option<&str>,
        usage: CredentialUse,
        refused: Problem,
    ) -> Result<Credential, Problem> {
        let is_token = |text: &&str| text.split('.').count() == 3;
        // A token that does not verify is not of a key that was made just now.
        let may_be_new =
            |text: &&str| !text.is_empty() && (!is_token(text) || self.tokens.verify(text).is_ok());
        match (&self.news, text.filter(may_be_new)) {
            (Some(news), Some(text)) => {
                news.arrive().await;
                self.credential(Some(text), usage)
            }
            _ => Err(refused),
        }
    }

    fn key(&self, text: &str) -> Result<Credential, Problem> {
        let hash = KeyHash(Sha256::digest(text).into());
        let snapshot = self.registry.current();
        let grants = snapshot.grants(&hash);
        let first = grants.first().ok_or(Problem::InvalidApiKey)?;
        let today = self.ambient.now().day();
        grants.iter().for_each(|grant| grant.used.note(today));
        Ok(Credential::Key { id: first.key_id.clone(), kind: first.kind, grants: grants.to_vec() })
    }

    fn token(&self, text: &str) -> Result<Credential, Problem> {
        let claims = self.tokens.verify(text)?;
        let snapshot = self.registry.current();
        // A token dies with the key that minted it.
        let grant = snapshot
            .grant_of(&claims.key, &claims.tid)
            .ok_or(Problem::InvalidJwtToken("the key that minted it is revoked"))?;
        grant.used.note(self.ambient.now().day());
        // Whoever has the signing secret still has no key that vouches for more.
        if (claims.verified || claims.role != TokenRole::Visitor) && grant.kind != KeyKind::Secret {
            return Err(Problem::InvalidJwtToken("its key may not mint such a token"));
        }
        Ok(Credential::Token(Box::new(claims)))
    }

    /// Checks a credential again that was good when its connection was opened.
    ///
    /// # Errors
    /// [`Problem::InvalidApiKey`] or [`Problem::InvalidJwtToken`] when it is not any more.
    pub fn review(&self, credential: &Credential, principal: &Principal) -> Result<(), Problem> {
        let snapshot = self.registry.current();
        let is_granted = snapshot.grant_of(&principal.key_id, &principal.tenant_id).is_some()
            && snapshot.tenant(&principal.tenant_id).is_some();
        match credential {
            Credential::Key { .. } if !is_granted => Err(Problem::InvalidApiKey),
            Credential::Token(_) if !is_granted => {
                Err(Problem::InvalidJwtToken("the key that minted it is revoked"))
            }
            Credential::Token(claims) if claims.role != TokenRole::Visitor => self.tokens.check_end(claims),
            Credential::Key { .. } | Credential::Token(_) => Ok(()),
        }
    }

    /// Compares a credential with the tenant that a request is about.
    ///
    /// # Errors
    /// When the request's tenants disagree, none is named and none follows, or it is not covered.
    pub fn principal(
        &self,
        credential: &Credential,
        selection: &TenantSelection,
    ) -> Result<Principal, Problem> {
        let named = selection.tenants.first();
        if selection.tenants.iter().any(|tenant| Some(tenant) != named) {
            return Err(Problem::field("tenantId", "the request names different tenants"));
        }
        let (tenant_id, role, key_id) = match credential {
            Credential::Key { id, kind, grants } => {
                (tenant_of(grants, named)?, role_of_key(*kind), id.clone())
            }
            Credential::Token(claims) if named.is_none_or(|tenant| *tenant == claims.tid) => {
                (claims.tid.clone(), role_of_token(claims), claims.key.clone())
            }
            Credential::Token(_) => return Err(NOT_COVERED),
        };
        let snapshot = self.registry.current();
        let tenant = Arc::clone(snapshot.tenant(&tenant_id).ok_or(Problem::TenantNotFound)?);
        if selection.is_forwarded && is_demo_tenant(&tenant) {
            return Err(Problem::Forbidden("the demo tenant is not for use behind a proxy"));
        }
        let actor = credential.public_id().into();
        Ok(Principal { tenant_id, tenant, role, actor, key_id })
    }
}

const NOT_COVERED: Problem = Problem::Forbidden("the credential does not cover this tenant");

/// The tenant that a key is used for.
fn tenant_of(grants: &[KeyGrant], named: Option<&TenantId>) -> Result<TenantId, Problem> {
    match (named, grants) {
        (Some(named), _) => {
            let covers = |grant: &KeyGrant| grant.tenant == *named || grant.tenant.is_every();
            grants.iter().any(covers).then(|| named.clone()).ok_or(NOT_COVERED)
        }
        (None, [only]) if !only.tenant.is_every() => Ok(only.tenant.clone()),
        (None, _) => Err(Problem::MissingTenantId),
    }
}

fn role_of_key(kind: KeyKind) -> CallerRole {
    match kind {
        KeyKind::Widget => CallerRole::WidgetKey,
        KeyKind::Bot => CallerRole::Bot,
        KeyKind::Secret => CallerRole::Staff { user: None, name: None, rank: StaffRank::Key },
    }
}

fn role_of_token(claims: &TokenClaims) -> CallerRole {
    match claims.role {
        TokenRole::Visitor => CallerRole::Visitor {
            session: claims.sid.clone(),
            verified: claims.verified.then(|| claims.sub.clone()),
        },
        TokenRole::Agent => staff(claims, StaffRank::Agent),
        TokenRole::Admin => staff(claims, StaffRank::Admin),
    }
}

fn staff(claims: &TokenClaims, rank: StaffRank) -> CallerRole {
    CallerRole::Staff { user: Some(claims.sub.clone()), name: claims.name.clone(), rank }
}

/// The credential of an `Authorization` header of the form `Bearer …`.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, credential) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// A key's hash and the public id that follows from it: the same key has the same id everywhere.
///
/// # Panics
/// Never: a prefix and hexadecimal digits are an id.
#[must_use]
#[expect(clippy::expect_used, reason = "a prefix and hexadecimal digits are within every rule of an id")]
pub fn fingerprint(key: &str) -> (KeyId, KeyHash) {
    let hash = KeyHash(Sha256::digest(key).into());
    let hex = String::from(hash);
    let short: String = hex.chars().take(12).collect();
    (KeyId::parse(&format!("key-{short}")).expect("made within the rules"), hash)
}
