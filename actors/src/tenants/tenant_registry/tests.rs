//! A snapshot that was changed step by step has the same grants as one that was built from the same tenants at once.

use std::time::Instant;

use amoiq_events::{
    envelope::RecordedAt,
    tenant::{TenantEvent, TenantSettings},
};

use super::*;

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn hash(number: u32) -> KeyHash {
    let mut hash = [7; 32];
    // Two of three keys share the half of the hash by which they are found.
    hash[..4].copy_from_slice(&(number / 2).to_le_bytes());
    hash[28..].copy_from_slice(&number.to_le_bytes());
    KeyHash(hash)
}

fn key(number: u32) -> KeyIssued {
    let key_id = KeyId::parse(&format!("key-{number}")).unwrap();
    KeyIssued { key_id, kind: KeyKind::Secret, hash: hash(number), source: ManagedBy::Operator, name: None }
}

fn tenant(source: ManagedBy, keys: impl IntoIterator<Item = u32>) -> Tenant {
    let mut tenant = Tenant::default();
    let settings = TenantSettings { name: "A".to_owned(), origins: Vec::new(), source };
    tenant.apply(&TenantEvent::Created(settings), RecordedAt::default());
    for number in keys {
        tenant.apply(&TenantEvent::KeyIssued(key(number)), RecordedAt::default());
    }
    tenant
}

fn granted(snapshot: &TenantSnapshot) -> Vec<(u32, Vec<String>)> {
    let of = |number| {
        let grants = snapshot.grants(&hash(number)).iter().map(|grant| grant.tenant.to_string());
        let mut grants: Vec<_> = grants.collect();
        grants.sort();
        for grant in &grants {
            assert!(snapshot.grant_of(&key(number).key_id, &id(grant)).is_some());
        }
        (number, grants)
    };
    (0..12).map(of).filter(|(_, grants)| !grants.is_empty()).collect()
}

#[test]
fn a_changed_snapshot_grants_what_a_new_one_does() {
    let steps = [
        ("demo", tenant(ManagedBy::Builtin, [0, 1])),
        ("acme", tenant(ManagedBy::Operator, [2, 3, 4])),
        ("acme", tenant(ManagedBy::Operator, [3, 5])),
        // The same key for another tenant.
        ("other", tenant(ManagedBy::Operator, [3, 6])),
        ("acme", tenant(ManagedBy::Operator, [])),
        ("demo", tenant(ManagedBy::Builtin, [1, 7])),
        // A customer's tenant takes the demo's name.
        ("demo", tenant(ManagedBy::Operator, [1, 8])),
    ];
    let mut snapshot = TenantSnapshot::new(true);
    let mut all: std::collections::BTreeMap<&str, Tenant> = std::collections::BTreeMap::new();
    for (name, tenant) in steps {
        all.insert(name, tenant.clone());
        snapshot = snapshot.with(&id(name), Arc::new(tenant));
        let fresh = all.iter().rev().fold(TenantSnapshot::new(true), |fresh, (name, tenant)| {
            fresh.with(&id(name), Arc::new(tenant.clone()))
        });
        assert_eq!(granted(&snapshot), granted(&fresh), "{name}");
    }
    assert_eq!(granted(&snapshot).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3, 6, 8]);
}

#[test]
fn the_demo_is_served_until_there_is_a_customer() {
    let demo = TenantSnapshot::new(true).with(&id("demo"), Arc::new(tenant(ManagedBy::Builtin, [0])));
    assert_eq!(demo.grants(&hash(0)).len(), 1);
    let both = demo.with(&id("acme"), Arc::new(tenant(ManagedBy::Operator, [])));
    assert!(both.grants(&hash(0)).is_empty() && both.tenant(&id("demo")).is_none());
    let elsewhere = TenantSnapshot::new(false).with(&id("demo"), Arc::new(tenant(ManagedBy::Builtin, [0])));
    assert!(elsewhere.grants(&hash(0)).is_empty());
}

#[test]
fn the_last_use_of_a_key_stays_when_another_one_is_issued() {
    let before = TenantSnapshot::new(true).with(&id("acme"), Arc::new(tenant(ManagedBy::Operator, [1])));
    before.grants(&hash(1))[0].used.note(20_000);
    let after = before.with(&id("acme"), Arc::new(tenant(ManagedBy::Operator, [1, 2])));
    after.grants(&hash(1))[0].used.note(19_000);
    assert_eq!(after.uses().collect::<Vec<_>>(), [(&key(1).key_id, 20_000)]);
}

#[test]
fn a_key_costs_the_same_however_many_there_are() {
    let least = |keys: u32| {
        let mut now = tenant(ManagedBy::Operator, 0..keys);
        let mut snapshot = TenantSnapshot::new(true).with(&id("acme"), Arc::new(now.clone()));
        let mut issue = |number| {
            now.apply(&TenantEvent::KeyIssued(key(number)), RecordedAt::default());
            let since = Instant::now();
            snapshot = snapshot.with(&id("acme"), Arc::new(now.clone()));
            since.elapsed()
        };
        // The quickest of many: others use the machine, too.
        (keys..keys + 50).map(&mut issue).min().unwrap()
    };
    let (few, many) = (least(100), least(20_000));
    // A copy of all of them takes 200 times as long.
    assert!(many < few * 20, "{few:?} with 100 keys, {many:?} with 20,000");
}
