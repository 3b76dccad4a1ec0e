//! The first steps of every route for clients: who is calling, what the request says, and which tenant it is about.

use std::{future::Future, net::IpAddr, pin::Pin, rc::Rc};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use amoiq_events::{TenantId, event::EventCause};
use serde::de::DeserializeOwned;

use super::body::{self, BodyRule};
use crate::{
    access::{
        auth::{
            Authenticator, Credential, Principal, TenantSelection,
            origin::{RequestSite, WidgetOrigins},
        },
        forwarded,
    },
    api::{
        field::{self, Field},
        messages::SendMessageRequest,
        problem::Problem,
        sessions::{TenantRequest, widget::WidgetRequest},
        tokens::{AnonymousTokenRequest, MintTokenRequest},
        webhooks::{
            deliveries::{ReplayRequest, SkipDeliveriesRequest},
            settings::{RotateSecretRequest, WebhookSettingsRequest},
        },
    },
};

/// The reason for refusing a header that is no text.
pub const NOT_UTF8: &str = "must be UTF-8";

/// What is known of every request that is counted; made once, by the middleware that counts it.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// `X-Request-Id`.
    pub request_id: Rc<str>,
    /// The client, behind trusted proxies.
    pub client: IpAddr,
    /// The credential, or why there is none.
    pub credential: Result<Credential, Problem>,
}

/// The body of a request that clients send.
pub trait ApiRequest: DeserializeOwned + 'static {
    /// Whether there is one.
    const BODY: BodyRule;

    /// The tenant that it names.
    fn tenant_id(&mut self) -> Field<TenantId>;
}

macro_rules! api_requests {
    ($($request:ty: $rule:ident),+ $(,)?) => {
        $(
            impl ApiRequest for $request {
                const BODY: BodyRule = BodyRule::$rule;

                fn tenant_id(&mut self) -> Field<TenantId> {
                    self.tenant_id.take()
                }
            }
        )+
    };
}

api_requests! {
    SendMessageRequest: Required,
    WidgetRequest: Required,
    AnonymousTokenRequest: Required,
    MintTokenRequest: Required,
    TenantRequest: Optional,
    WebhookSettingsRequest: Optional,
    RotateSecretRequest: Optional,
    SkipDeliveriesRequest: Optional,
    ReplayRequest: Optional,
}

/// A request whose body is not read.
#[derive(Debug, Default, serde::Deserialize)]
pub struct NoBody {}

impl ApiRequest for NoBody {
    const BODY: BodyRule = BodyRule::Ignored;

    fn tenant_id(&mut self) -> Field<TenantId> {
        Field::Absent
    }
}

/// A caller with a good credential, in the tenant that the request is about, and the body of the request.
#[derive(Debug)]
pub struct Authenticated<R = NoBody> {
    /// The caller.
    pub principal: Principal,
    /// The client's address.
    pub client: IpAddr,
    /// What the events of this request carry.
    pub cause: EventCause,
    /// The body.
    pub body: R,
    /// The rest of the request.
    pub request: HttpRequest,
}

impl<R> Authenticated<R> {
    /// Lets a widget key pass only from the tenant's sites. `body_origin` is what the body says of its page.
    ///
    /// # Errors
    /// [`Problem::OriginNotAllowed`].
    pub fn check_site(&self, body_origin: Option<&str>) -> Result<(), Problem> {
        let header = |name: &str| self.request.headers().get(name).and_then(|value| value.to_str().ok());
        let site =
            RequestSite { origin: header("origin"), website_origin: header("x-website-origin"), body_origin };
        provided::<WidgetOrigins>(&self.request)?.check(&self.principal, &site)
    }

    /// The parameters of the query.
    ///
    /// # Errors
    /// [`Problem::Internal`]: a defect.
    pub fn query<Q: DeserializeOwned>(&self) -> Result<Q, Problem> {
        field::query(self.request.query_string())
    }
}

impl<R: ApiRequest> FromRequest for Authenticated<R> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let context = request.extensions().get::<Rc<RequestContext>>().cloned();
            let context = context.ok_or(Problem::Internal)?;
            let credential = context.credential.as_ref().map_err(Clone::clone)?;
            let payload = payload.await.map_err(|_never| Problem::Internal)?;
            let mut body: R = body::request(&request, payload, R::BODY).await?;
            let selection = TenantSelection {
                tenants: named_tenants(&request, body.tenant_id())?,
                is_forwarded: forwarded::is_forwarded(request.headers()),
            };
            let principal = provided::<Authenticator>(&request)?.principal(credential, &selection)?;
            let cause =
                EventCause { causation: (&*context.request_id).into(), actor: principal.actor.clone() };
            Ok(Self { principal, client: context.client, cause, body, request })
        })
    }
}

/// Every tenant that a request names: in its header, query and body.
fn named_tenants(request: &HttpRequest, in_body: Field<TenantId>) -> Result<Vec<TenantId>, Problem> {
    let tenant = |field: &'static str, text: &str| {
        TenantId::parse(text).map_err(|error| Problem::field(field, error.to_string()))
    };
    let mut tenants = Vec::new();
    for value in request.headers().get_all("x-tenant-id").filter(|value| !value.is_empty()) {
        let text =
            str::from_utf8(value.as_bytes()).map_err(|_invalid| Problem::field("X-Tenant-ID", NOT_UTF8))?;
        tenants.push(tenant("X-Tenant-ID", text)?);
    }
    // Not one of the query's fields: a query can name several tenants, and they have to agree.
    for (name, value) in url::form_urlencoded::parse(request.query_string().as_bytes()) {
        if name == "tenantId" && !value.is_empty() {
            tenants.push(tenant("tenantId", &value)?);
        }
    }
    tenants.extend(in_body.value("tenantId")?);
    Ok(tenants)
}

/// A service that the application was given.
///
/// # Errors
/// [`Problem::Internal`] when it was not: a defect.
pub fn provided<T: 'static>(request: &HttpRequest) -> Result<&T, Problem> {
    request.app_data::<web::Data<T>>().map(|service| service.as_ref()).ok_or(Problem::Internal)
}
