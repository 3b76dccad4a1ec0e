//! Tokens: JWTs that the service mints and verifies itself, HS256 and nothing else.
//!
//! There can be several keys. The `kid` header names the one that signed, so that a new key can sign while tokens of
//! the key before still verify.

use amoiq_events::{Ambient, KeyId, SessionId, TenantId, UserId};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hs256;
pub use crate::api::tokens::TokenRole;
use crate::{access::secret::Secret, api::problem::Problem};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaims {
    /// Who made it: this service.
    pub iss: String,
    /// For whom: this service.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The tenant.
    pub tid: TenantId,
    /// The only session it opens; visitors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
    /// What its holder is.
    pub role: TokenRole,
    /// To show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Made, in seconds since 1970.
    pub iat: i64,
    /// Ends, in seconds since 1970.
    pub exp: i64,
    /// Its own id, for logs.
    pub jti: String,
    /// The key that minted it, and that it dies with.
    pub key: KeyId,
    /// Whether a secret key vouched for `sub`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
    /// What it is for, unless it is for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<TokenType>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// A visitor's socket, and nothing else. A page uses it for as long as it is open.
    Ws,
}

/// What is wanted of a new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The user.
    pub user: UserId,
    /// The tenant.
    pub tenant: TenantId,
    /// The only session it opens.
    pub session: Option<SessionId>,
    /// What its holder is.
    pub role: TokenRole,
    /// To show.
    pub name: Option<String>,
    /// How long it is good.
    pub ttl_seconds: u32,
    /// The key that mints it.
    pub key: KeyId,
    /// Whether that key vouches for `user`.
    pub verified: bool,
    /// What it is for, unless it is for everything.
    pub typ: Option<TokenType>,
}

/// Who issues tokens, and for whom: `auth.issuer` and `auth.audience`.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
}

/// The keys that sign and verify.
pub struct TokenKeys {
    signing: EncodingKey,
    header: Header,
    /// By `kid`; the signing key's first.
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    issuer: String,
    audience: String,
    ambient: Ambient,
}

impl TokenKeys {
    /// Keys from secrets: the first signs, all verify.
    #[must_use]
    pub fn new(secret: &Secret, previous: &[Secret], settings: TokenSettings, ambient: Ambient) -> Self {
        hs256::install();
        let secrets = std::iter::once(secret).chain(previous);
        let verifying = secrets
            .map(|secret| (key_id(secret), DecodingKey::from_secret(secret.expose().as_bytes())))
            .collect();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The end is compared below, with the service's own clock.
        validation.validate_exp = false;
        Self {
            signing: EncodingKey::from_secret(secret.expose().as_bytes()),
            header: Header { kid: Some(key_id(secret)), ..Header::new(Algorithm::HS256) },
            verifying,
            validation,
            issuer: settings.issuer,
            audience: settings.audience,
            ambient,
        }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`Problem::Internal`] when it cannot be signed: a defect.
    pub fn mint(&self, mint: NewToken) -> Result<String, Problem> {
        let now = self.ambient.now().as_millis() / 1_000;
        let claims = TokenClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: mint.user,
            tid: mint.tenant,
            sid: mint.session,
            role: mint.role,
            name: mint.name,
            iat: now,
            exp: now + i64::from(mint.ttl_seconds),
            jti: self.ambient.uuid().to_string(),
            key: mint.key,
            verified: mint.verified,
            typ: mint.typ,
        };
        encode(&self.header, &claims, &self.signing).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Problem::Internal
        })
    }

    /// Signs a text that a client keeps for the service. `purpose` keeps one kind of text from being taken for
    /// another.
    #[must_use]
    pub fn seal(&self, purpose: &str, text: &str) -> String {
        let message = format!("{purpose}\0{text}");
        // HMAC takes every key and every message.
        crypto::sign(message.as_bytes(), &self.signing, Algorithm::HS256).unwrap_or_default()
    }

    /// Whether a text carries the seal that [`Self::seal`] gave it, under this or an earlier secret.
    #[must_use]
    pub fn is_sealed(&self, purpose: &str, text: &str, seal: &str) -> bool {
        let message = format!("{purpose}\0{text}");
        let matches = |(_, key): &(String, DecodingKey)| {
            crypto::verify(seal, message.as_bytes(), key, Algorithm::HS256).unwrap_or(false)
        };
        !seal.is_empty() && self.verifying.iter().any(matches)
    }

    /// Reads a token that this service made and that has not ended.
    ///
    /// # Errors
    /// [`Problem::InvalidJwtToken`] with the reason.
    pub fn verify(&self, token: &str) -> Result<TokenClaims, Problem> {
        let invalid = Problem::InvalidJwtToken;
        let header = decode_header(token).map_err(|_malformed| invalid("malformed"))?;
        let named = header.kid.ok_or(invalid("it names no key"))?;
        let known = self.verifying.iter().find(|(id, _)| *id == named);
        let (_, key) = known.ok_or(invalid("it is signed with an unknown key"))?;
        // The algorithm is the validation's, whatever the header says.
        let claims = decode::<TokenClaims>(token, key, &self.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => invalid("the signature is wrong"),
                _ => invalid("a claim is missing or wrong"),
            })?
            .claims;
        self.check_end(&claims)?;
        Ok(claims)
    }

    /// Checks that a token has not expired.
    ///
    /// # Errors
    /// [`Problem::InvalidJwtToken`].
    pub fn check_end(&self, claims: &TokenClaims) -> Result<(), Problem> {
        if claims.exp <= self.ambient.now().as_millis() / 1_000 {
            return Err(Problem::InvalidJwtToken("it has expired"));
        }
        Ok(())
    }
}

/// Names a secret without telling it.
fn key_id(secret: &Secret) -> String {
    let digest: [u8; 32] = Sha256::digest(secret.expose()).into();
    hex::encode(digest).chars().take(8).collect()
}
