//! What a credential is used for.

use super::{Credential, TokenType};
use crate::api::problem::Problem;

/// What a caller wants to do with its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialUse {
    /// Make a request over HTTP.
    Http,
    /// Open a socket.
    Socket,
}

impl CredentialUse {
    /// Refuses a credential that is for something else.
    pub(super) fn allow(self, credential: Credential) -> Result<Credential, Problem> {
        match (&credential, self) {
            (Credential::Token(claims), Self::Http) if claims.typ == Some(TokenType::Ws) => {
                Err(Problem::Forbidden("the token opens a socket and nothing else"))
            }
            _ => Ok(credential),
        }
    }
}
