//! The monotonic clock measures a window, whatever the wall clock does meanwhile.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, middleware::from_fn, test, web};
use amoiq_actors::tenants::TenantRegistry;
use amoiq_events::{
    Ambient, Timestamp,
    ambient::{ManualClock, OsEntropy},
    store::memory::MemoryStore,
};

use super::*;
use crate::{
    access::{
        auth::{TokenKeys, TokenSettings},
        rate_limit::RateLimitSettings,
        secret::Secret,
    },
    config::Config,
};

const START: Timestamp = Timestamp::from_millis(1_705_314_600_000);
const HOUR_MS: i64 = 3_600_000;

async fn authenticator(ambient: &Ambient) -> Authenticator {
    let registry = TenantRegistry::load(&MemoryStore::new(), true).await.unwrap();
    let secret = Secret::new("a secret of at least thirty-two bytes".to_owned());
    let settings = TokenSettings { issuer: "amoiq".to_owned(), audience: "amoiq".to_owned() };
    let tokens = TokenKeys::new(&secret, &[], settings, ambient.clone());
    Authenticator::new(Arc::new(registry), tokens, ambient.clone())
}

/// The status, `Retry-After` and `X-RateLimit-Reset` of a request.
macro_rules! ask {
    ($app:expr) => {{
        let request = test::TestRequest::get().uri("/api/any").peer_addr("10.0.0.1:1".parse().unwrap());
        let answer = test::call_service(&$app, request.to_request()).await;
        let number = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        let told: (Option<i64>, Option<i64>) = (number("retry-after"), number("x-ratelimit-reset"));
        (answer.status().as_u16(), told.0, told.1)
    }};
}

#[actix_web::test]
async fn a_step_of_the_wall_clock_makes_no_window_longer_or_shorter() {
    tokio::time::pause();
    let clock = Arc::new(ManualClock::new(START));
    let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(OsEntropy));
    let defaults = Config::layered(None, HashMap::new()).unwrap().rate_limit;
    let settings = RateLimitSettings { http_per_minute: 1, ..defaults };
    let app = App::new()
        .app_data(web::Data::new(authenticator(&ambient).await))
        .app_data(web::Data::new(RequestLimiter::new(&settings)))
        .app_data(web::Data::new(TrustedProxies::default()))
        .app_data(web::Data::new(ambient))
        .route("/api/any", web::get().to(HttpResponse::Ok))
        .wrap(from_fn(limits));
    let app = test::init_service(app).await;
    let seconds = START.as_millis() / 1_000;
    assert_eq!(ask!(app), (200, None, Some(seconds + 60)));

    clock.advance_millis(-HOUR_MS);
    assert_eq!(ask!(app), (429, Some(60), Some(seconds - 3_600 + 60)), "an hour back");
    clock.advance_millis(25 * HOUR_MS);
    assert_eq!(ask!(app), (429, Some(60), Some(seconds + 24 * 3_600 + 60)), "a day forward");
    clock.advance_millis(-24 * HOUR_MS);
    assert_eq!(ask!(app), (429, Some(60), Some(seconds + 60)), "right again");

    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(ask!(app).0, 429, "the minute is not over, although the wall clock stands still");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask!(app).0, 200, "the minute is over");
}
