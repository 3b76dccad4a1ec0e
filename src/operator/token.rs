//! The token of the operator's interface: whoever can read the data directory has it, nobody else.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use amoiq_events::Ambient;
use subtle::ConstantTimeEq;

use super::Refusal;
use crate::{http::context, problem::Problem, secret::Secret};

/// What a request has to bring as `Authorization: Bearer`.
#[derive(Debug, Clone)]
pub struct OperatorToken(Secret);

impl OperatorToken {
    /// A new one.
    #[must_use]
    pub fn generate(ambient: &Ambient) -> Self {
        let text = ambient.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(Secret::new(text))
    }

    /// The text, for the file that the command line reads.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    fn opens_for(&self, request: &HttpRequest) -> bool {
        let given = context::bearer(request).unwrap_or_default();
        self.expose().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Lets only those pass who have the token, before anything is told, also not which routes there are.
///
/// # Errors
/// What fails inside; a request without the token is an answer.
pub async fn authorise<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let token = request.app_data::<web::Data<OperatorToken>>().cloned().ok_or(Problem::Internal)?;
    if token.opens_for(request.request()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(request.into_response(Refusal::Token.error_response()))
}
