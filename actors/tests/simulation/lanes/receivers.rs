//! Receivers that do anything, and remember what they saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use amoiq_actors::webhooks::{DeliveryOutcome, WebhookEndpoint, WebhookPayload, WebhookSender};
use amoiq_events::{EventId, MessageId, Position, SessionId, TenantId, WebhookId};
use amoiq_testkit::stores::SeededDice;
use tokio::time::{Instant, sleep};

use super::EndpointName;

/// The longest time that recording takes.
pub(super) const INSTANT: Duration = Duration::from_millis(2);

/// What came to a receiver.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) event: EventId,
    pub(super) message: MessageId,
    pub(super) position: Position,
    pub(super) tenant: TenantId,
    pub(super) session: SessionId,
    pub(super) arrived_at: Instant,
    /// It accepted the message, whatever it answered.
    pub(super) is_taken: bool,
    /// It refused the message, and the service lived to get the answer.
    pub(super) refused_at: Option<Instant>,
    /// When it answered, if the service lived to get the answer.
    pub(super) heard_at: Option<Instant>,
    pub(super) life: usize,
}

/// All receivers; clones are the same ones.
#[derive(Clone)]
pub(super) struct Receivers(Arc<Mutex<Yard>>);

struct Yard {
    dice: SeededDice,
    /// How many of a hundred attempts fail, by endpoint.
    trouble: u64,
    /// When the service died, so often as it did.
    crashes: Vec<Instant>,
    arrivals: BTreeMap<EndpointName, Vec<Arrival>>,
    /// Their owners asked for repeats.
    asked_again: BTreeSet<EndpointName>,
    /// Their owners did not wait any more: of a session, or of all of them, up to a position.
    skipped: Vec<(EndpointName, Option<SessionId>, Position)>,
    /// One message in so many is refused for good; none when it is 0.
    refuses_one_in: u64,
}

/// What a receiver does.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Takes,
    Refuses(u16),
    Hangs,
    /// It works on it, and its answer is lost.
    TakesInVain,
}

impl Receivers {
    pub(super) fn new(dice: &SeededDice) -> Self {
        let yard = Yard {
            dice: dice.fork(),
            trouble: dice.pick(&[0, 10, 40, 80]),
            crashes: Vec::new(),
            arrivals: BTreeMap::new(),
            asked_again: BTreeSet::new(),
            skipped: Vec::new(),
            refuses_one_in: dice.pick(&[0, 0, 4, 10]),
        };
        Self(Arc::new(Mutex::new(yard)))
    }

    /// From here on everything is taken.
    pub(super) fn calm_down(&self) {
        let mut yard = self.yard();
        (yard.trouble, yard.refuses_one_in) = (0, 0);
    }

    /// The service died.
    pub(super) fn crashed(&self) {
        self.yard().crashes.push(Instant::now());
    }

    /// Whether a crash followed a moment so closely that an answer could not be recorded.
    pub(super) fn could_not_note(&self, heard_at: Instant, life: usize) -> bool {
        self.yard().crashes.get(life).is_some_and(|crash| *crash - heard_at <= INSTANT)
    }

    /// From here on an endpoint may see anything again.
    pub(super) fn asked_again(&self, tenant: &TenantId, webhook: &WebhookId) {
        self.yard().asked_again.insert((tenant.clone(), webhook.clone()));
    }

    pub(super) fn was_asked_again(&self, endpoint: &EndpointName) -> bool {
        self.yard().asked_again.contains(endpoint)
    }

    /// An owner skipped some of the waiting messages.
    pub(super) fn skipped(&self, endpoint: &EndpointName, session: Option<SessionId>, upto: Position) {
        self.yard().skipped.push((endpoint.clone(), session, upto));
    }

    /// Whether an owner may have let go of a delivery.
    pub(super) fn was_skipped(
        &self,
        endpoint: &EndpointName,
        session: &SessionId,
        position: Position,
    ) -> bool {
        self.yard().skipped.iter().any(|(of, some, upto)| {
            of == endpoint && some.as_ref().is_none_or(|some| some == session) && position <= *upto
        })
    }

    /// One of the messages that an endpoint saw.
    pub(super) fn any_message(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
        dice: &SeededDice,
    ) -> Option<MessageId> {
        let arrivals = self.arrivals(&(tenant.clone(), webhook.clone()));
        let index = usize::try_from(dice.below(arrivals.len() as u64)).ok()?;
        arrivals.get(index).map(|arrival| arrival.message)
    }

    pub(super) fn arrivals(&self, endpoint: &EndpointName) -> Vec<Arrival> {
        self.yard().arrivals.get(endpoint).cloned().unwrap_or_default()
    }

    /// Everything that came, in order.
    pub(super) fn digest(&self) -> String {
        let mut digest = String::new();
        for ((tenant, webhook), arrivals) in &self.yard().arrivals {
            for arrival in arrivals {
                let Arrival { event, is_taken, life, .. } = arrival;
                writeln!(digest, "{tenant} {webhook} {event} {is_taken} {life}").expect("a text");
            }
        }
        digest
    }

    fn yard(&self) -> MutexGuard<'_, Yard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrive(&self, endpoint: &EndpointName, arrival: Arrival) -> usize {
        let mut yard = self.yard();
        let arrivals = yard.arrivals.entry(endpoint.clone()).or_default();
        arrivals.push(arrival);
        arrivals.len() - 1
    }

    fn refuse(&self, endpoint: &EndpointName, index: usize) {
        if let Some(arrival) = self.yard().arrivals.get_mut(endpoint).and_then(|all| all.get_mut(index)) {
            arrival.refused_at = Some(Instant::now());
        }
    }

    fn hear(&self, endpoint: &EndpointName, index: usize) {
        if let Some(arrival) = self.yard().arrivals.get_mut(endpoint).and_then(|all| all.get_mut(index)) {
            arrival.heard_at = Some(Instant::now());
        }
    }
}

impl Yard {
    /// What it does with a message. What it refuses for good is the same at every attempt.
    fn mood(&self, event: EventId) -> Mood {
        let number = u64::from(event.as_bytes().last().copied().unwrap_or_default());
        if self.refuses_one_in > 0 && number.is_multiple_of(self.refuses_one_in) {
            return Mood::Refuses(422);
        }
        if !self.dice.percent(self.trouble) {
            return Mood::Takes;
        }
        self.dice.pick(&[
            Mood::Refuses(500),
            Mood::Refuses(404),
            Mood::Refuses(429),
            Mood::Refuses(503),
            Mood::Hangs,
            Mood::TakesInVain,
        ])
    }
}

impl WebhookSender for Receivers {
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        content: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send + 'static>> {
        let WebhookPayload::Message(announcement) = content else { panic!("nobody asked for a test") };
        let (mood, there, back, life, asks) = {
            let yard = self.yard();
            let (there, back) = (yard.dice.millis_below(30), yard.dice.millis_below(30));
            (yard.mood(announcement.event_id), there, back, yard.crashes.len(), yard.dice.one_in(2))
        };
        let receivers = self.clone();
        Box::pin(async move {
            sleep(there).await;
            let name = (endpoint.tenant.clone(), endpoint.id.clone());
            let arrival = Arrival {
                event: announcement.event_id,
                message: announcement.message.message_id,
                position: announcement.position,
                tenant: announcement.tenant.clone(),
                session: announcement.session.clone(),
                arrived_at: Instant::now(),
                is_taken: matches!(mood, Mood::Takes | Mood::TakesInVain),
                refused_at: None,
                heard_at: None,
                life,
            };
            let index = receivers.arrive(&name, arrival);
            sleep(back).await;
            match mood {
                Mood::Takes => {
                    receivers.hear(&name, index);
                    DeliveryOutcome { status: Some(200), ..DeliveryOutcome::default() }
                }
                Mood::Refuses(status) => {
                    if matches!(status, 404 | 422) {
                        receivers.refuse(&name, index);
                    }
                    DeliveryOutcome {
                        status: Some(status),
                        error: Some(format!("HTTP {status}")),
                        retry_after: (asks && matches!(status, 429 | 503))
                            .then_some(Duration::from_millis(150)),
                        body: Vec::new(),
                    }
                }
                Mood::TakesInVain => {
                    DeliveryOutcome { error: Some("reset".to_owned()), ..DeliveryOutcome::default() }
                }
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}
