//! The routes of `/api/webhooks`.

use super::{BODY, CALLER, STAFF, STORE};
use crate::{
    api::{
        openapi::Operation,
        problem::ErrorCode,
        sessions::TenantRequest,
        webhooks::{
            WebhookResponse, WebhookWithStatusResponse, WebhooksResponse, WithSecret,
            deliveries::{
                DeliveriesResponse, DeliveryChangedResponse, ListDeliveriesQuery, ReplayRequest,
                ReplayResponse, SkipDeliveriesRequest, SkippedResponse, WebhookTestResponse,
            },
            settings::{RotateSecretRequest, WebhookSettingsRequest},
        },
    },
    http::{
        endpoint::Endpoint,
        webhooks::{deliveries, endpoints, replay, test},
    },
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = webhooks();
    all.extend(switches());
    all.extend(deliveries());
    all
}

/// A read of a webhook, or of the list of them.
fn read(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, summary, "webhooks").security(STAFF).errors(&[CALLER, BODY, STORE].concat())
}

/// An operation on one webhook.
fn one(id: &'static str, summary: &'static str) -> Operation {
    read(id, summary).errors(&[ErrorCode::WebhookNotFound])
}

fn webhooks() -> Vec<Endpoint> {
    let list = read("listWebhooks", "Lists the tenant's webhooks.").response::<WebhooksResponse>(200);
    let create = read("createWebhook", "Creates a webhook and tells its secret, once.")
        .body_with_fields::<WebhookSettingsRequest>(&["url"])
        .response::<WithSecret<WebhookResponse>>(201)
        .errors(&[ErrorCode::WebhookLimitReached]);
    let show = one("readWebhook", "Shows a webhook, and how its deliveries are getting on.")
        .response::<WebhookWithStatusResponse>(200);
    let change = one("changeWebhook", "Changes the settings that the body names.")
        .body::<WebhookSettingsRequest>()
        .response::<WebhookResponse>(200)
        .errors(&[ErrorCode::WebhookConfigured]);
    let delete = one("deleteWebhook", "Deletes a webhook, with the deliveries that wait.")
        .no_content()
        .errors(&[ErrorCode::WebhookConfigured]);
    vec![
        Endpoint::at("/api/webhooks").get(endpoints::list, list).post(endpoints::create, create),
        Endpoint::at("/api/webhooks/{webhook}")
            .get(endpoints::read, show)
            .patch(endpoints::change, change)
            .delete(endpoints::delete, delete),
    ]
}

fn switches() -> Vec<Endpoint> {
    let pause = one("pauseWebhook", "Pauses deliveries; none is lost.")
        .optional_body::<TenantRequest>()
        .response::<WebhookResponse>(200);
    let resume = one("resumeWebhook", "Resumes deliveries from where they stopped.")
        .optional_body::<TenantRequest>()
        .response::<WebhookResponse>(200);
    let test = one("testWebhook", "Sends a signed test and tells the endpoint's answer.")
        .optional_body::<TenantRequest>()
        .response::<WebhookTestResponse>(200);
    let rotate = one("rotateWebhookSecret", "Replaces the secret and tells the new one, once.")
        .optional_body::<RotateSecretRequest>()
        .response::<WithSecret<WebhookResponse>>(200)
        .errors(&[ErrorCode::WebhookConfigured]);
    vec![
        Endpoint::at("/api/webhooks/{webhook}/pause").post(endpoints::pause, pause),
        Endpoint::at("/api/webhooks/{webhook}/resume").post(endpoints::resume, resume),
        Endpoint::at("/api/webhooks/{webhook}/test").post(test::test, test),
        Endpoint::at("/api/webhooks/{webhook}/rotate-secret").post(endpoints::rotate_secret, rotate),
    ]
}

fn deliveries() -> Vec<Endpoint> {
    let list = one("listDeliveries", "Lists deliveries, the newest message first.")
        .query::<ListDeliveriesQuery>()
        .response::<DeliveriesResponse>(200);
    let redeliver = one("redeliver", "Delivers a message again.")
        .optional_body::<TenantRequest>()
        .response::<DeliveryChangedResponse>(202)
        .errors(&[ErrorCode::NotFound]);
    let skip = one("skipDelivery", "Skips the delivery of a message.")
        .optional_body::<TenantRequest>()
        .response::<DeliveryChangedResponse>(200)
        .errors(&[ErrorCode::NotFound, ErrorCode::DeliveryInFlight, ErrorCode::DeliverySettled]);
    let skip_many = one("skipDeliveries", "Skips the deliveries that wait, or some of them.")
        .body::<SkipDeliveriesRequest>()
        .response::<SkippedResponse>(200);
    let progress = one("readReplay", "Shows the replay that runs, or the last one.")
        .response::<ReplayResponse>(200)
        .errors(&[ErrorCode::NotFound]);
    let start = one("startReplay", "Delivers a part of the log again.")
        .body::<ReplayRequest>()
        .response::<ReplayResponse>(202)
        .errors(&[ErrorCode::NotFound, ErrorCode::ReplayRunning]);
    let cancel =
        one("cancelReplay", "Ends the replay that runs.").no_content().errors(&[ErrorCode::NotFound]);
    vec![
        Endpoint::at("/api/webhooks/{webhook}/deliveries").get(deliveries::list, list),
        Endpoint::at("/api/webhooks/{webhook}/deliveries/{message}/redeliver")
            .post(deliveries::redeliver, redeliver),
        Endpoint::at("/api/webhooks/{webhook}/deliveries/{message}/skip").post(deliveries::skip, skip),
        Endpoint::at("/api/webhooks/{webhook}/deliveries/skip").post(deliveries::skip_many, skip_many),
        Endpoint::at("/api/webhooks/{webhook}/replay")
            .get(replay::progress, progress)
            .post(replay::start, start)
            .delete(replay::cancel, cancel),
    ]
}
