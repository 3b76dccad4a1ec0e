//! What an endpoint is to be, as its owner writes it.

use std::collections::{BTreeMap, BTreeSet};

use amoiq_events::webhook::{WebhookChange, WebhookSettings};
use serde_json::Value;

use crate::{
    api::problem::Problem,
    http::fields::Fields,
    webhooks::{DestinationPolicy, custom_headers::extra_headers},
};

/// The types that an endpoint can ask for; without a wish it gets the first.
const EVENTS: [&str; 1] = ["message.created"];

/// The longest description, and the longest reason.
const NOTE_CHARACTERS: usize = 1_000;

/// How many headers of its own an endpoint has, and how long a value is, in bytes.
const MAX_HEADERS: usize = 20;
const HEADER_BYTES: usize = 1_024;

/// The highest rate: above it a limit limits nothing.
const MAX_RATE: u32 = 1_000;

/// A new endpoint's settings.
///
/// # Errors
/// [`Problem::Validation`].
pub fn settings(body: &mut Fields, destinations: &DestinationPolicy) -> Result<WebhookSettings, Problem> {
    let change = read(body, destinations);
    let url = body.required("url", change.url);
    body.check()?;
    Ok(WebhookSettings {
        url: url.ok_or(Problem::Internal)?,
        events: change.events.unwrap_or_else(default_events),
        description: change.description.flatten(),
        headers: change.headers.unwrap_or_default(),
        rate_per_second: change.rate_per_second.flatten(),
    })
}

/// A change of settings; `null` gives one back that need not be there.
///
/// # Errors
/// [`Problem::Validation`].
pub fn change(body: &mut Fields, destinations: &DestinationPolicy) -> Result<WebhookChange, Problem> {
    let change = read(body, destinations);
    body.check()?;
    Ok(change)
}

fn read(body: &mut Fields, destinations: &DestinationPolicy) -> WebhookChange {
    if body.is_null("url") {
        body.refuse("url", "is required");
    }
    let url = body.parsed("url", |text| destinations.parse(text));
    WebhookChange {
        url: url.map(String::from),
        events: given(body, "events", events).map(|events| events.unwrap_or_else(default_events)),
        description: given(body, "description", |body| note(body, "description")),
        headers: given(body, "headers", own_headers).map(Option::unwrap_or_default),
        rate_per_second: given(body, "ratePerSecond", rate),
    }
}

/// Nothing for a field that is absent, `Some(None)` for one that is null.
fn given<T>(
    body: &mut Fields,
    name: &'static str,
    read: impl FnOnce(&mut Fields) -> Option<T>,
) -> Option<Option<T>> {
    if body.is_null(name) { Some(None) } else { read(body).map(Some) }
}

fn default_events() -> Vec<String> {
    EVENTS.iter().take(1).map(|&event| event.to_owned()).collect()
}

fn events(body: &mut Fields) -> Option<Vec<String>> {
    let Value::Array(listed) = body.value("events")? else {
        body.refuse("events", "must be a list of event types");
        return None;
    };
    let wanted: BTreeSet<_> = listed.iter().map(Value::as_str).collect();
    if wanted.is_empty() || !wanted.iter().all(|event| event.is_some_and(|event| EVENTS.contains(&event))) {
        body.refuse("events", format!("must name at least one of: {}", EVENTS.join(", ")));
        return None;
    }
    Some(wanted.into_iter().flatten().map(str::to_owned).collect())
}

/// A text for people.
pub fn note(body: &mut Fields, name: &'static str) -> Option<String> {
    let text = body.text(name)?;
    if text.chars().count() > NOTE_CHARACTERS {
        body.refuse(name, format!("must be at most {NOTE_CHARACTERS} characters"));
    }
    if text.contains('\0') {
        body.refuse(name, "must not contain NUL or a lone surrogate");
    }
    Some(text)
}

fn own_headers(body: &mut Fields) -> Option<BTreeMap<String, String>> {
    let Value::Object(listed) = body.value("headers")? else {
        body.refuse("headers", "must be an object of texts");
        return None;
    };
    let mut headers = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (name, value) in listed {
        // A value is never shown: it may be a password.
        let Value::String(value) = value else {
            body.refuse("headers", "must be an object of texts");
            return None;
        };
        if value.len() > HEADER_BYTES || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let reason = format!("`{name}` must be at most {HEADER_BYTES} visible ASCII characters");
            body.refuse("headers", reason);
        }
        if !names.insert(name.to_ascii_lowercase()) {
            body.refuse("headers", format!("`{name}` is named twice"));
        }
        headers.insert(name, value);
    }
    if headers.len() > MAX_HEADERS {
        body.refuse("headers", format!("must be at most {MAX_HEADERS}"));
    }
    if let Err(bad) = extra_headers(&headers) {
        body.refuse("headers", bad.to_string());
    }
    Some(headers)
}

fn rate(body: &mut Fields) -> Option<u32> {
    let rate = body.number("ratePerSecond")?;
    if !(1..=MAX_RATE).contains(&rate) {
        body.refuse("ratePerSecond", format!("must be 1 to {MAX_RATE}"));
    }
    Some(rate)
}
