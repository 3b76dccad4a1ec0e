//! A request that changes something: who makes the change, and what the body says of it.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};

use super::Operator;
use crate::{
    api::problem::Problem,
    http::{body, fields::Fields},
};

/// Who makes a change, and the fields of the body: none for a request without one.
#[derive(Debug)]
pub struct Change {
    /// Who asks.
    pub operator: Operator,
    /// What is asked for.
    pub body: Fields,
}

impl FromRequest for Change {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let operator = Operator::extract(&request);
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let operator = operator.await?;
            let payload = payload.await.map_err(|_never| Problem::Internal)?;
            Ok(Self { operator, body: body::read_optional(&request, payload).await? })
        })
    }
}
