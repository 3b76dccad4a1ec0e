//! A caller who may manage a tenant's webhooks: an admin, or the secret key.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use amoiq_actors::webhooks::WebhookEndpoint;

use crate::{
    access::auth::Principal,
    api::{problem::Problem, sessions::TenantRequest},
    http::authenticated::{ApiRequest, Authenticated},
};

/// A caller who may manage webhooks.
#[derive(Debug)]
pub struct WebhookAdmin<R = TenantRequest>(pub Authenticated<R>);

impl<R> WebhookAdmin<R> {
    /// The tenant's endpoint with this id, as it was when the request came.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], also for one of another tenant.
    pub fn endpoint(&self, id: &str) -> Result<WebhookEndpoint, Problem> {
        let Principal { tenant, tenant_id, .. } = &self.0.principal;
        let found = tenant.webhooks().find(|(known, _)| known.as_str() == id);
        let (id, webhook) = found.ok_or(Problem::WebhookNotFound)?;
        Ok(WebhookEndpoint { tenant: tenant_id.clone(), id: id.clone(), webhook: webhook.clone() })
    }

    /// The body, taken out.
    pub fn take_body(&mut self) -> R
    where
        R: Default,
    {
        std::mem::take(&mut self.0.body)
    }
}

impl<R: ApiRequest> FromRequest for WebhookAdmin<R> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Authenticated::from_request(request, payload);
        Box::pin(async move {
            let caller = caller.await?;
            caller.principal.require_admin()?;
            Ok(Self(caller))
        })
    }
}
