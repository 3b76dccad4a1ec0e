//! What a session knows of its visitor.

use super::VisitorIdentified;
use crate::{ShortText, UserId};

/// The visitor as last identified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct VisitorProfile {
    pub(super) user_id: Option<UserId>,
    /// The verified user who used the session first; it has belonged to them since.
    pub(super) owner: Option<UserId>,
    /// Another user's name that they claim.
    pub(super) claimed: Option<UserId>,
    pub(super) user_info: Option<String>,
    pub(super) fingerprint: Option<ShortText>,
}

impl VisitorProfile {
    pub(super) fn texts_bytes(&self) -> usize {
        let users =
            [&self.user_id, &self.owner, &self.claimed].into_iter().flatten().map(|user| user.as_str().len());
        let info = self.user_info.as_ref().map_or(0, String::len);
        let fingerprint = self.fingerprint.as_ref().map_or(0, |text| text.as_str().len());
        users.sum::<usize>() + info + fingerprint
    }

    pub(super) fn learn(&mut self, told: &VisitorIdentified) {
        if let Some(user) = &told.user_id {
            (self.user_id, self.claimed) = (Some(user.clone()), None);
            if told.verified {
                self.owner.get_or_insert_with(|| user.clone());
            }
        }
        if let Some(user) = &told.claimed_user_id {
            (self.user_id, self.claimed) = (None, Some(user.clone()));
        }
        if let Some(info) = &told.user_info {
            self.user_info = Some(info.get().to_owned());
        }
        if let Some(fingerprint) = &told.fingerprint {
            self.fingerprint = Some(fingerprint.clone());
        }
    }
}
