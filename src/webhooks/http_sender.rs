//! Sends one delivery, once, and reports the outcome. No retry, no redirect, no proxy, no cookies, no decompression,
//! HTTP/1.1 only. The caller sets the time limit and drops the future at its end; only connecting and the bodies of
//! failures have limits of their own here.
//!
//! | the receiver | the [`DeliveryOutcome`] |
//! |---|---|
//! | 2xx, its body read to the end | success; of a test the first KiB of its body |
//! | 2xx, a body of over 16 KiB, or without an end | success once 16 KiB were read; the connection is dropped |
//! | 2xx, a body that breaks off | its status, `the answer's body broke off` |
//! | 2xx, a body that drips | none before the deadline |
//! | 301, 302, 303, 307, 308 | its status, `HTTP 302: redirects are not followed` |
//! | any other status, 101 and 304 too | its status, `HTTP 500`; the first KiB of what arrived of the body within 16 KiB, a second and the deadline |
//! | 429 and 503 with `Retry-After` | beside that: the wait, at the most 24 hours |
//! | 1xx without an end, half a header, silence | none before the deadline |
//! | closes before the answer | `connection closed before the answer` |
//! | no HTTP/1, or headers without an end | `the answer cannot be read as HTTP/1` |
//! | a certificate that nobody vouches for, no TLS at all | `TLS: …` |
//! | an address of the refused networks in the URL | `refused address …; see webhooks.allowed_networks`, and no connection |
//! | a name with such an address | `refused address of this name; see webhooks.allowed_networks`, and no connection |
//! | a name without an address | `the name could not be resolved` |
//! | nobody listens | `connection refused` |

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use amoiq_actors::webhooks::{DeliveryOutcome, WebhookEndpoint, WebhookPayload, WebhookSender};
use amoiq_events::{Ambient, Timestamp};
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, DATE, RETRY_AFTER},
};
use rustls::{ClientConfig, RootCertStore};

use super::{
    certificate_authorities, custom_headers, delivery_body,
    destination_policy::DestinationPolicy,
    failure_texts, signature,
    vetting_resolver::{NameLookup, SystemLookup, VettingResolver, on_behalf_of},
};

/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 * 1_024;

/// The most bytes of an answer that are kept.
const KEPT_BYTES: usize = 1_024;

/// How long reading the body of a failure may take. The status is worth more than the body: if the caller's time
/// limit ended the attempt while the body drips, a 410 or a 429 would be lost.
const FAILURE_PATIENCE: Duration = Duration::from_secs(1);

/// How long connecting may take, over all addresses of a name. It is shorter than the time limit of the attempt, so
/// that a name with one dead address is still reached at another.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection without requests is kept. Common servers close theirs after five seconds, and a request that
/// is sent at that moment is lost.
const IDLE: Duration = Duration::from_secs(4);

/// How many idle connections to one host are kept.
const IDLE_CONNECTIONS: usize = 16;

/// The longest wait that an endpoint can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Why a sender cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SenderSetupError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client cannot be set up.
    #[error("the client for webhooks cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// Delivers over HTTP, with one client for all endpoints. Cheap to clone.
///
/// Connections live on the runtime that sends, so all attempts are made on one that outlives them.
#[derive(Clone)]
pub struct HttpSender {
    client: Client,
    destinations: DestinationPolicy,
    ambient: Ambient,
}

impl HttpSender {
    /// A sender that uses this machine's resolver and certificate authorities.
    ///
    /// # Errors
    /// [`SenderSetupError`]
    pub fn new(destinations: DestinationPolicy, ambient: Ambient) -> Result<Self, SenderSetupError> {
        Self::with(Arc::new(SystemLookup), certificate_authorities::of_system(), destinations, ambient)
    }

    /// A sender that resolves names with `lookup` and trusts `authorities`.
    ///
    /// # Errors
    /// [`SenderSetupError`]
    pub fn with(
        lookup: Arc<dyn NameLookup>,
        authorities: RootCertStore,
        destinations: DestinationPolicy,
        ambient: Ambient,
    ) -> Result<Self, SenderSetupError> {
        // Set here and not as the default of the process, which libraries share.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(VettingResolver::new(lookup, destinations.clone())))
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_PATIENCE)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!("amoiq/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, destinations, ambient })
    }

    async fn attempt(&self, endpoint: &WebhookEndpoint, payload: &WebhookPayload) -> DeliveryOutcome {
        match self.request(endpoint, payload).await {
            Ok(response) => {
                let answer = answer(response, self.ambient.now()).await;
                let is_test = matches!(payload, WebhookPayload::Test { .. });
                // Only a test shows the body of a success.
                let body = if answer.is_success() && !is_test { Vec::new() } else { answer.body };
                DeliveryOutcome {
                    status: answer.status,
                    error: answer.error,
                    retry_after: answer.retry_after,
                    body,
                }
            }
            Err(error) => DeliveryOutcome { error: Some(error), ..DeliveryOutcome::default() },
        }
    }

    /// Sends the request. The error explains to the endpoint's owner why there is no answer.
    async fn request(
        &self,
        endpoint: &WebhookEndpoint,
        payload: &WebhookPayload,
    ) -> Result<Response, String> {
        let webhook = &endpoint.webhook;
        let url = self.destinations.parse(&webhook.settings.url).map_err(|refused| refused.to_string())?;
        let extra =
            custom_headers::extra_headers(&webhook.settings.headers).map_err(|bad| bad.to_string())?;
        let Ok(body) = delivery_body::body(endpoint, payload) else {
            return Err("the delivery cannot be written".to_owned());
        };
        let (id, now) = (delivery_body::id(payload).to_string(), self.ambient.now());
        let signatures = signature::signatures(&webhook.secret, webhook.previous.as_ref(), &id, now, &body)
            .map_err(|bad| format!("nothing can be signed: {bad}"))?;
        let request = self
            .client
            .post(url)
            .headers(extra)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", signature::seconds(now))
            .header("webhook-signature", signatures)
            .body(body);
        request.send().await.map_err(|error| failure_texts::explain(&error))
    }
}

impl WebhookSender for HttpSender {
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        payload: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send + 'static>> {
        let sender = self.clone();
        let tenant = endpoint.tenant.clone();
        Box::pin(on_behalf_of(tenant, async move { sender.attempt(&endpoint, &payload).await }))
    }
}

async fn answer(mut response: Response, now: Timestamp) -> DeliveryOutcome {
    let status = response.status();
    let mut answer = DeliveryOutcome { status: Some(status.as_u16()), ..DeliveryOutcome::default() };
    let mut body = Vec::new();
    if status.is_success() {
        if read(&mut response, &mut body).await.is_err() {
            answer.error = Some("the answer's body broke off".to_owned());
        }
        answer.body = body;
        return answer;
    }
    answer.error = Some(match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => format!("HTTP {}: redirects are not followed", status.as_u16()),
        status => format!("HTTP {status}"),
    });
    answer.retry_after = retry_after(&response, now);
    // Whether the body was read to its end makes no difference.
    let _ended = tokio::time::timeout(FAILURE_PATIENCE, read(&mut response, &mut body)).await;
    answer.body = body;
    answer
}

/// Reads a body to its end, or to the limit, and keeps its beginning.
async fn read(response: &mut Response, kept: &mut Vec<u8>) -> Result<(), reqwest::Error> {
    let mut bytes = 0;
    while bytes < MAX_ANSWER_BYTES
        && let Some(chunk) = response.chunk().await?
    {
        bytes += chunk.len();
        kept.extend(chunk.iter().take(KEPT_BYTES.saturating_sub(kept.len())));
    }
    Ok(())
}

/// How long the endpoint asks not to be called: a number of seconds, or a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    // The date is by the receiver's clock, which the answer shows.
    let date =
        response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let answered = since.and_then(|since| i64::try_from(since.as_millis()).ok()).map(Timestamp::from_millis);
    wait(response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim(), answered.unwrap_or(now))
}

fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is more than a day.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let now = Duration::from_millis(u64::try_from(now.as_millis()).ok()?);
        date.checked_sub(now)?
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_at_the_most_a_day() {
        let now = Timestamp::from_millis(1_705_314_600_000);
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("Mon, 15 Jan 2024 10:30:07 GMT", Some(7)),
            ("Monday, 15-Jan-24 10:30:07 GMT", Some(7)),
            ("Wed, 15 Jan 2025 10:30:07 GMT", Some(86_400)),
            ("Mon, 15 Jan 2024 10:29:59 GMT", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
