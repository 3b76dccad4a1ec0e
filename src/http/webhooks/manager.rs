//! Whoever may manage a tenant's endpoints: an admin, or the secret key.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use amoiq_actors::webhooks::WebhookEndpoint;
use amoiq_events::event::EventCause;

use crate::{
    access::auth::Principal,
    api::problem::Problem,
    http::{access, body, context::Caller, fields::Fields, limits::Gate},
};

/// A caller who may manage endpoints, with the fields of the body.
#[derive(Debug)]
pub struct Manager {
    /// The caller, in its tenant.
    pub principal: Principal,
    /// What the events of this request carry.
    pub cause: EventCause,
    /// None for a request without a body.
    pub body: Fields,
}

impl Manager {
    /// The tenant's endpoint with this id, as it was when the request came.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], also for one of another tenant.
    pub fn endpoint(&self, id: &str) -> Result<WebhookEndpoint, Problem> {
        let Principal { tenant, tenant_id, .. } = &self.principal;
        let found = tenant.webhooks().find(|(known, _)| known.as_str() == id);
        let (id, webhook) = found.ok_or(Problem::WebhookNotFound)?;
        Ok(WebhookEndpoint { tenant: tenant_id.clone(), id: id.clone(), webhook: webhook.clone() })
    }
}

impl FromRequest for Manager {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let caller = Caller::extract(&request);
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let Caller(context) = caller.await?;
            context.credential.as_ref().map_err(Clone::clone)?;
            let gate = request.app_data::<web::Data<Gate>>().ok_or(Problem::Internal)?;
            let payload = payload.await.map_err(|_never| Problem::Internal)?;
            let mut body = body::read_optional(&request, payload).await?;
            let principal = access::principal(gate, &context, &request, &mut body)?;
            principal.require_admin()?;
            let cause = context.cause(&principal.actor);
            Ok(Self { principal, cause, body })
        })
    }
}
