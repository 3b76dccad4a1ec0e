//! Windows are as long as the monotonic clock says, whatever the wall clock does meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actix_web::{App, HttpResponse, middleware::from_fn, test, web};
use amoiq_actors::tenants::TenantRegistry;
use amoiq_events::{
    Ambient, Timestamp,
    ambient::{ManualClock, OsEntropy},
    store::memory::MemoryStore,
};

use super::*;
use crate::{access::auth::TokenKeys, access::secret::Secret, config::Config};

const START: Timestamp = Timestamp::from_millis(1_705_314_600_000);
const HOUR_MS: i64 = 3_600_000;

async fn gate(clock: &Arc<ManualClock>, most: u32) -> web::Data<Gate> {
    let config = Config::layered(None, HashMap::new()).unwrap();
    let ambient = Ambient::new(Arc::clone(clock) as _, Arc::new(OsEntropy));
    let registry = TenantRegistry::load(&MemoryStore::new(), true).await.unwrap();
    let secret = Secret::new("a secret of at least thirty-two bytes".to_owned());
    let tokens = TokenKeys::new(&secret, &[], &config.auth, ambient.clone());
    web::Data::new(Gate {
        authenticator: Authenticator::new(Arc::new(registry), tokens, ambient.clone()),
        requests: RateLimiter::new(),
        misses: RateLimiter::new(),
        refused_messages: AtomicU64::new(0),
        sockets: SocketCounts::default(),
        limits: config::RateLimitConfig { http_per_minute: most, ..config.rate_limit },
        policy: Policy { widget_key_reads_history: true, widget_origins: Vec::new() },
        proxies: TrustedProxies::new(Vec::new()),
        ambient,
    })
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
    let app = App::new()
        .app_data(gate(&clock, 1).await)
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

#[actix_web::test]
async fn guesses_at_sessions_are_refused_for_a_minute_whatever_the_wall_clock_does() {
    tokio::time::pause();
    let clock = Arc::new(ManualClock::new(START));
    let gate = gate(&clock, 100).await;
    let client = "10.0.0.1".parse().unwrap();
    for _ in 0..gate.limits.session_misses_per_minute {
        gate.count_miss(client);
    }
    clock.advance_millis(-HOUR_MS);
    let refused = gate.check_misses(client).unwrap_err();
    assert!(matches!(refused, Problem::RateLimited { retry_after_ms: 60_000 }), "{refused:?}");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(gate.check_misses(client).is_ok());
}
