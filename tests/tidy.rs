//! The house rules that no compiler checks, and the pages that have to agree with the code.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use amoiq_events::event::CATALOGUE;

const MAX_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<_> = ["src", "actors", "events", "tests", "fuzz/src", "fuzz/fuzz_targets"]
        .iter()
        .map(|folder| root().join(folder))
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the files were not found");
    files
}

fn offenders(breaks_rule: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a file");
    sources().into_iter().filter(|path| breaks_rule(path, &read(path))).collect()
}

#[test]
fn every_file_says_first_what_it_is() {
    assert_eq!(offenders(|_, text| !text.starts_with("//! ")), Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_over_400_lines() {
    assert_eq!(offenders(|_, text| text.lines().count() > MAX_LINES), Vec::<PathBuf>::new());
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!("), concat!("#[ign", "ore")];
    assert_eq!(offenders(|_, text| marks.iter().any(|mark| text.contains(mark))), Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_called_mod() {
    assert_eq!(offenders(|path, _| path.ends_with("mod.rs")), Vec::<PathBuf>::new());
}

#[test]
fn the_events_page_lists_the_catalogue() {
    let page = fs::read_to_string(root().join("docs/EVENTS.md")).expect("the page");
    let catalogue = page.split("## Catalogue").nth(1).expect("the catalogue's section");
    let rows: Vec<_> = catalogue.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = CATALOGUE
        .iter()
        .map(|event| format!("| `{}` | {} | `{}:` |", event.name, event.schema, event.stream))
        .collect();
    assert_eq!(rows.len(), expected.len(), "the page has another number of events");
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected), "the page says {row}, the code says {expected}");
    }
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for page in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/EVENTS.md",
        "docs/OPERATIONS.md",
        "docs/PERFORMANCE.md",
        "docs/WEBHOOKS.md",
    ] {
        let path = root().join(page);
        let text = fs::read_to_string(&path).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_local = !link.starts_with("http") && !link.starts_with('#');
            let target = path.parent().expect("a folder").join(link);
            assert!(!is_local || target.exists(), "{page}: {link} leads nowhere");
        }
    }
}
