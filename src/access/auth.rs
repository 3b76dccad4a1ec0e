//! Who is calling, and for which tenant. HTTP and sockets ask here and nowhere else.
//!
//! First the credential is recognised ([`Authenticator::credential`]), without knowing what is asked
//! for. Then it is held against the tenant that the request names ([`Authenticator::principal`]). A
//! tenant that it does not cover is refused before anything is looked up, so that nobody learns which
//! tenants exist.

use std::sync::Arc;

use amoiq_actors::tenants::{KeyGrant, TenantRegistry, is_demo_tenant};
use amoiq_events::{
    Ambient, KeyId, SessionId, TenantId, UserId,
    session::{MessageSender, SessionCaller},
    tenant::{KeyHash, KeyKind, Tenant},
};
use sha2::{Digest, Sha256};

use crate::{access::key_uses, api::problem::Problem};

pub mod origin;
pub mod token;

pub use token::{Claims, TokenKeys, TokenRole};

/// The shortest session id that a public credential may use to read: shorter ones can be guessed.
pub const CAPABILITY_BYTES: usize = 16;

/// A credential that is good, for whatever it covers.
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
    Token(Box<Claims>),
}

impl Credential {
    /// Who it is, for logs and the log's envelope: never the credential itself.
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
pub enum Role {
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
        rank: Rank,
    },
}

/// What staff may do, the later the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
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
    pub role: Role,
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
            Role::Visitor { verified: Some(user), .. } => SessionCaller::Verified(user.clone()),
            Role::WidgetKey | Role::Visitor { .. } => SessionCaller::Anonymous,
            Role::Bot | Role::Staff { .. } => SessionCaller::Staff,
        }
    }

    /// What the caller's messages are.
    #[must_use]
    pub fn sender(&self) -> MessageSender {
        match self.role {
            Role::WidgetKey | Role::Visitor { .. } => MessageSender::User,
            Role::Bot => MessageSender::Bot,
            Role::Staff { .. } => MessageSender::Agent,
        }
    }

    /// Lets only agents, admins and secret keys pass.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for everybody else.
    pub fn require_staff(&self) -> Result<(), Problem> {
        match self.role {
            Role::Staff { .. } => Ok(()),
            _ => Err(Problem::Forbidden("an agent, an admin or a secret key is needed")),
        }
    }

    /// Lets only admins and secret keys pass.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for everybody else.
    pub fn require_admin(&self) -> Result<(), Problem> {
        match self.role {
            Role::Staff { rank: Rank::Admin | Rank::Key, .. } => Ok(()),
            _ => Err(Problem::Forbidden("an admin or a secret key is needed")),
        }
    }
}

/// What a request says about itself, beside its credential.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The tenants it names, wherever it names them. They have to agree.
    pub tenants: Vec<TenantId>,
    /// Whether it came through a proxy (`X-Forwarded-For`, `Forwarded`).
    pub is_forwarded: bool,
}

/// Recognises credentials.
pub struct Authenticator {
    registry: Arc<TenantRegistry>,
    tokens: TokenKeys,
    ambient: Ambient,
}

impl Authenticator {
    /// An authenticator over the tenants of a registry.
    #[must_use]
    pub fn new(registry: Arc<TenantRegistry>, tokens: TokenKeys, ambient: Ambient) -> Self {
        Self { registry, tokens, ambient }
    }

    /// Mints tokens.
    #[must_use]
    pub fn tokens(&self) -> &TokenKeys {
        &self.tokens
    }

    /// Recognises a key or a token.
    ///
    /// # Errors
    /// [`Problem::InvalidApiKey`] or [`Problem::InvalidJwtToken`].
    pub fn credential(&self, text: Option<&str>) -> Result<Credential, Problem> {
        let text = text.filter(|text| !text.is_empty()).ok_or(Problem::InvalidApiKey)?;
        if text.split('.').count() == 3 { self.token(text) } else { self.key(text) }
    }

    fn key(&self, text: &str) -> Result<Credential, Problem> {
        let hash = KeyHash(Sha256::digest(text).into());
        let snapshot = self.registry.current();
        let grants = snapshot.grants(&hash);
        let first = grants.first().ok_or(Problem::InvalidApiKey)?;
        let today = key_uses::today(&self.ambient);
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
        grant.used.note(key_uses::today(&self.ambient));
        // Whoever has the signing secret still has no key that vouches for more.
        if (claims.verified || claims.role != TokenRole::Visitor) && grant.kind != KeyKind::Secret {
            return Err(Problem::InvalidJwtToken("its key may not mint such a token"));
        }
        Ok(Credential::Token(Box::new(claims)))
    }

    /// Looks again at a credential that was good when its connection was opened.
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

    /// Holds a credential against the tenant that a request is about.
    ///
    /// # Errors
    /// When the request's tenants disagree, none is named and none follows, or it is not covered.
    pub fn principal(&self, credential: &Credential, asked: &Asked) -> Result<Principal, Problem> {
        let named = asked.tenants.first();
        if asked.tenants.iter().any(|tenant| Some(tenant) != named) {
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
        if asked.is_forwarded && is_demo_tenant(&tenant) {
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

fn role_of_key(kind: KeyKind) -> Role {
    match kind {
        KeyKind::Widget => Role::WidgetKey,
        KeyKind::Bot => Role::Bot,
        KeyKind::Secret => Role::Staff { user: None, name: None, rank: Rank::Key },
    }
}

fn role_of_token(claims: &Claims) -> Role {
    match claims.role {
        TokenRole::Visitor => Role::Visitor {
            session: claims.sid.clone(),
            verified: claims.verified.then(|| claims.sub.clone()),
        },
        TokenRole::Agent => staff(claims, Rank::Agent),
        TokenRole::Admin => staff(claims, Rank::Admin),
    }
}

fn staff(claims: &Claims, rank: Rank) -> Role {
    Role::Staff { user: Some(claims.sub.clone()), name: claims.name.clone(), rank }
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
