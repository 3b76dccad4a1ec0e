//! The erasure of a session, or of every session of a user, as the operator asks for it.

use amoiq_events::{SessionId, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    field::{Field, Validation},
    problem::Problem,
    schema::IdSchema,
};

/// Erases a session, or every session of a user.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["tenant"]))]
pub struct EraseRequest {
    /// The tenant.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub tenant: Field<TenantId>,
    /// The session. Either this or `user` is required.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub session: Field<SessionId>,
    /// The user whose sessions are erased.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub user: Field<UserId>,
    /// Whether nothing is erased, and the answer lists what would be.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub dry_run: Field<bool>,
}

/// Whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureSubject {
    /// One session.
    Session(SessionId),
    /// Every session of a user.
    User(UserId),
}

impl EraseRequest {
    /// The tenant, whose data is erased, and whether the request is a dry run.
    ///
    /// # Errors
    /// [`Problem::Validation`].
    pub fn validated(self) -> Result<(TenantId, ErasureSubject, bool), Problem> {
        let mut validation = Validation::new();
        let tenant = validation.required("tenant", self.tenant);
        let session = validation.optional("session", self.session);
        let user = validation.optional("user", self.user);
        let is_dry_run = validation.optional("dryRun", self.dry_run).unwrap_or_default();
        let subject = match (session, user) {
            (Some(session), None) => Some(ErasureSubject::Session(session)),
            (None, Some(user)) => Some(ErasureSubject::User(user)),
            _ => {
                validation.refuse("session", "is required, or `user`, and not both");
                None
            }
        };
        validation.finish()?;
        let (tenant, subject) = tenant.zip(subject).ok_or(Problem::Internal)?;
        Ok((tenant, subject, is_dry_run))
    }
}

/// The sessions that were erased or, in a dry run, would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EraseResponse {
    /// The tenant.
    #[schemars(with = "IdSchema")]
    pub tenant: TenantId,
    /// The sessions.
    #[schemars(with = "Vec<IdSchema>")]
    pub sessions: Vec<SessionId>,
}
