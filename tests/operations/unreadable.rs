//! Events that cannot be read: one that no release decodes is kept and carried on.

use std::path::Path;

use amoiq_events::{
    Ambient, EventStore as _, NewEvent, SessionId, StreamName, TenantId,
    store::{Expected, sqlite::SqliteStore},
};
use serde_json::Value;

use crate::given::{amoiq, new_file, printed, stopped, verify};

/// Appends an event that no release decodes, and gives its position.
fn poison(data: &Path) -> u64 {
    let ambient = Ambient::system();
    let store = SqliteStore::open(data, &ambient).expect("the store");
    let session = SessionId::parse("poisoned").expect("an id");
    let stream = StreamName::session(&TenantId::parse("demo").expect("an id"), &session);
    let event = NewEvent {
        id: ambient.event_id(),
        kind: "message.created".into(),
        schema: 1,
        time: ambient.now(),
        causation: "request".into(),
        actor: "test".into(),
        data: b"{\"text\": ".as_slice().into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let appended = runtime.block_on(store.append(stream, Expected::Any, vec![event])).expect("appended");
    appended.position.as_u64()
}

#[test]
fn an_event_that_does_not_decode_goes_through_backup_restore_export_and_import() {
    let data = stopped();
    let position = poison(data.path());
    let (code, result) = verify(data.path(), &[]);
    assert_eq!((code, &result["counts"]), (1, &serde_json::json!({"codec": 1})), "{result}");
    let (_backups, backup) = new_file();
    let (_exports, export) = new_file();
    let (backup, export) = (backup.to_str().expect("a path"), export.to_str().expect("a path"));
    printed(data.path(), &["events", "export", export]);
    for (from, to) in
        [(&["backup", backup][..], &["restore", backup][..]), (&[], &["events", "import", export])]
    {
        let restored = tempfile::tempdir().expect("a directory");
        for (place, arguments) in [(data.path(), from), (restored.path(), to)] {
            if arguments.is_empty() {
                continue;
            }
            let output = amoiq(place, arguments);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("note: position {position} ")), "{arguments:?}: {said}");
        }
        let (code, result) = verify(restored.path(), &[]);
        assert_eq!((code, &result["problems"][0]["position"]), (1, &Value::from(position)), "{result}");
        assert_eq!(result["counts"], serde_json::json!({"codec": 1}), "{result}");
    }
}
