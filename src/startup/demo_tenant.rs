//! The demo tenant, with which a new installation can be tried on the same machine.

use std::net::SocketAddr;

use amoiq_actors::tenants::{TenantRegistry, is_demo_tenant};
use amoiq_events::{
    TenantId,
    tenant::{DesiredTenant, KeyKind, ManagedBy, TenantSettings},
};

use crate::access::{auth, tenants::DEMO_TENANT};

/// The keys of the demo tenant, which everybody knows.
pub(super) const DEMO_KEYS: [(KeyKind, &str); 3] = [
    (KeyKind::Widget, "wk_demo_0000000000000000"),
    (KeyKind::Secret, "sk_demo_0000000000000000"),
    (KeyKind::Bot, "bk_demo_0000000000000000"),
];

/// Whether the demo tenant may exist. Everybody knows its keys, so it must only be reachable from this machine.
pub(super) fn is_allowed(bind: SocketAddr) -> bool {
    bind.ip().is_loopback()
}

/// The demo tenant as the log should have it.
pub(super) fn desired() -> DesiredTenant {
    let key = |(kind, key): (KeyKind, &str)| {
        let (id, hash) = auth::fingerprint(key);
        (id, (kind, hash))
    };
    let settings =
        TenantSettings { name: "Demo".to_owned(), origins: vec!["*".to_owned()], source: ManagedBy::Builtin };
    DesiredTenant {
        settings: Some(settings),
        keys: DEMO_KEYS.into_iter().map(key).collect(),
        ..DesiredTenant::default()
    }
}

/// Whether the demo tenant is served.
pub(super) fn is_served(registry: &TenantRegistry) -> bool {
    TenantId::parse(DEMO_TENANT)
        .is_ok_and(|demo| registry.current().tenant(&demo).is_some_and(|tenant| is_demo_tenant(tenant)))
}

/// The keys of the demo tenant, and three commands that use them.
pub(super) fn instructions(address: SocketAddr) -> String {
    let [(_, widget), (_, secret), (_, bot)] = DEMO_KEYS;
    format!(
        r#"
A demo tenant is available on this machine until you configure your own:

  tenant      {DEMO_TENANT}
  widget key  {widget}
  secret key  {secret}
  bot key     {bot}

A visitor writes, an agent answers, and the conversation is read back:

  curl -X POST http://{address}/webchat/message -H 'Authorization: Bearer {widget}' -H 'Content-Type: application/json' -d '{{"text":"Hello, I need help","sessionId":"session-demo-0123456789"}}'
  curl -X POST http://{address}/webchat/message -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' -d '{{"text":"How can I help?","sessionId":"session-demo-0123456789","senderName":"Ann"}}'
  curl 'http://{address}/api/chat/messages?tenantId={DEMO_TENANT}&sessionId=session-demo-0123456789' -H 'Authorization: Bearer {widget}'
"#
    )
}
