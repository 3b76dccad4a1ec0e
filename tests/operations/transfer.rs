//! `amoiq events export` and `import`: a log leaves one store and enters another.

use std::fs;

use serde_json::Value;

use crate::given::{Service, amoiq, new_file, printed, stopped, texts_of, verify};

#[test]
fn what_was_exported_and_imported_is_exported_the_same() {
    let data = stopped();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    printed(data.path(), &["events", "export", path]);
    let first = fs::read_to_string(&file).expect("lines");
    assert_eq!(first, printed(data.path(), &["events", "export"]), "to a file as to standard output");

    let other = tempfile::tempdir().expect("a directory");
    let imported = printed(other.path(), &["events", "import", path, "--json"]);
    let imported: Value = serde_json::from_str(&imported).expect("JSON");
    assert_eq!(imported["events"].as_u64(), Some(first.lines().count() as u64), "{imported}");
    let (code, result) = verify(other.path(), &[]);
    assert_eq!((code, result["events"].as_u64()), (0, Some(first.lines().count() as u64)), "{result}");
    assert!(first == printed(other.path(), &["events", "export"]), "not the same bytes");
    let service = Service::start(other.path());
    assert_eq!(service.texts("session-long"), Ok(texts_of("session-long")));
    assert_eq!(service.say("session-long", "and on").0, 200);
}

#[test]
fn an_import_is_whole_or_nothing() {
    let data = stopped();
    let lines = printed(data.path(), &["events", "export"]);
    let all: Vec<&str> = lines.lines().collect();
    let (_folder, file) = new_file();
    let path = file.to_str().expect("a path");
    let swapped = [&[all[1], all[0]], &all[2..]].concat().join("\n");
    let gap = [&all[..1], &all[2..]].concat().join("\n");
    let cut = lines[..lines.len() - 20].to_owned();
    for (text, why) in
        [(swapped, "line 2"), (gap, "line 2"), (cut, "line "), ("no event".to_owned(), "line 1")]
    {
        fs::write(&file, text).expect("written");
        let empty = tempfile::tempdir().expect("a directory");
        let output = amoiq(empty.path(), &["events", "import", path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
        assert!(!empty.path().join("log.db").exists());
    }
    fs::write(&file, &lines).expect("written");
    let output = amoiq(data.path(), &["events", "import", path]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is overwritten"), "{output:?}");
    let output = amoiq(data.path(), &["events", "export", path]);
    assert_eq!(output.status.code(), Some(1), "an export overwrites nothing: {output:?}");
}
