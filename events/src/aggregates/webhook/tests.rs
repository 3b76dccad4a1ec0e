//! Given an endpoint's history, when a command comes, then this event follows.

use super::*;

fn id() -> WebhookId {
    WebhookId::parse("wh-1").unwrap()
}

fn settings(url: &str) -> WebhookSettings {
    WebhookSettings {
        url: url.to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    }
}

fn register() -> WebhookCommand {
    WebhookCommand::Register {
        settings: settings("https://a.example"),
        secret: WebhookSecret::new("whsec_a".to_owned()),
        source: ManagedBy::Api,
    }
}

/// Carries a command out and says whether anything happened.
fn when(slot: &mut WebhookSlot, command: &WebhookCommand) -> Result<bool, WebhookRefusal> {
    let event = slot.decide(&id(), command)?;
    event.iter().for_each(|event| slot.apply(event, RecordedAt::default()));
    Ok(event.is_some())
}

fn disable(reason: &str) -> WebhookCommand {
    WebhookCommand::Disable { reason: reason.to_owned() }
}

fn status(slot: &WebhookSlot) -> Option<&WebhookStatus> {
    match slot {
        WebhookSlot::Present(webhook) => Some(&webhook.status),
        _ => None,
    }
}

#[test]
fn an_endpoint_is_made_once() {
    let mut slot = WebhookSlot::default();
    assert_eq!(when(&mut slot, &WebhookCommand::Pause), Err(WebhookRefusal::NotFound));
    assert_eq!(when(&mut slot, &register()), Ok(true));
    assert_eq!(when(&mut slot, &register()), Err(WebhookRefusal::Taken));
}

#[test]
fn a_deleted_endpoint_never_returns() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    assert_eq!(when(&mut slot, &WebhookCommand::Delete), Ok(true));
    assert_eq!(when(&mut slot, &register()), Err(WebhookRefusal::Taken));
    assert_eq!(when(&mut slot, &WebhookCommand::Resume), Err(WebhookRefusal::NotFound));
}

#[test]
fn pausing_and_disabling_end_with_resume() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    assert_eq!(when(&mut slot, &WebhookCommand::Resume), Ok(false));
    assert_eq!(when(&mut slot, &WebhookCommand::Pause), Ok(true));
    assert_eq!(when(&mut slot, &WebhookCommand::Resume), Ok(true));
    assert_eq!(when(&mut slot, &disable("410")), Ok(true));
    assert_eq!(status(&slot), Some(&WebhookStatus::Disabled { reason: "410".to_owned() }));
    assert_eq!(when(&mut slot, &WebhookCommand::Resume), Ok(true));
    assert_eq!(status(&slot), Some(&WebhookStatus::Enabled));
}

#[test]
fn a_paused_endpoint_is_disabled_and_a_disabled_one_keeps_its_reason() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    when(&mut slot, &WebhookCommand::Pause).unwrap();
    assert_eq!(when(&mut slot, &disable("410")), Ok(true));
    assert_eq!(when(&mut slot, &disable("moved")), Ok(false));
    assert_eq!(when(&mut slot, &WebhookCommand::Pause), Ok(false));
    assert_eq!(status(&slot), Some(&WebhookStatus::Disabled { reason: "410".to_owned() }));
}

#[test]
fn what_changes_nothing_is_no_event() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    assert_eq!(when(&mut slot, &WebhookCommand::Update(settings("https://a.example"))), Ok(false));
    assert_eq!(when(&mut slot, &WebhookCommand::Update(settings("https://b.example"))), Ok(true));
    let same = WebhookCommand::RotateSecret {
        secret: WebhookSecret::new("whsec_a".to_owned()),
        previous_until: None,
    };
    assert_eq!(when(&mut slot, &same), Ok(false));
    let other = WebhookCommand::RotateSecret {
        secret: WebhookSecret::new("whsec_b".to_owned()),
        previous_until: Some(Timestamp::from_millis(7)),
    };
    assert_eq!(when(&mut slot, &other), Ok(true));
}

#[test]
fn two_changes_of_different_settings_both_hold() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    let url = WebhookChange { url: Some("https://b.example".to_owned()), ..WebhookChange::default() };
    let said = WebhookChange { description: Some(Some("b".to_owned())), ..WebhookChange::default() };
    assert_eq!(when(&mut slot, &WebhookCommand::Change(url)), Ok(true));
    assert_eq!(when(&mut slot, &WebhookCommand::Change(said.clone())), Ok(true));
    assert_eq!(when(&mut slot, &WebhookCommand::Change(said)), Ok(false));
    let WebhookSlot::Present(webhook) = &slot else { panic!("it is there") };
    let both = WebhookSettings { description: Some("b".to_owned()), ..settings("https://b.example") };
    assert_eq!(webhook.settings, both);
    let removed = WebhookChange { description: Some(None), ..WebhookChange::default() };
    assert_eq!(when(&mut slot, &WebhookCommand::Change(removed)), Ok(true));
    let WebhookSlot::Present(webhook) = &slot else { panic!("it is there") };
    assert_eq!(webhook.settings, settings("https://b.example"));
}

#[test]
fn a_secret_is_not_printed() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    assert!(!format!("{slot:?}").contains("whsec_a"));
}

#[test]
fn the_secret_before_signs_as_long_as_the_rotation_says() {
    let mut slot = WebhookSlot::default();
    when(&mut slot, &register()).unwrap();
    let secret = |text: &str| WebhookSecret::new(text.to_owned());
    let mut rotate = |to: &str, previous_until| {
        let command = WebhookCommand::RotateSecret { secret: secret(to), previous_until };
        when(&mut slot, &command).unwrap();
        let WebhookSlot::Present(webhook) = &slot else { panic!("it is there") };
        webhook.previous.clone()
    };
    let until = Timestamp::from_millis(7);
    assert_eq!(rotate("whsec_b", Some(until)), Some((secret("whsec_a"), until)));
    assert_eq!(rotate("whsec_c", None), None, "a secret that leaked is gone at once");
}
