//! What a call without an answer means for whoever reads or appends.

use crate::{
    postgres::CallFailure,
    store::{AppendError, ReadError},
};

impl From<CallFailure> for ReadError {
    fn from(failure: CallFailure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

impl From<CallFailure> for AppendError {
    fn from(failure: CallFailure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}
