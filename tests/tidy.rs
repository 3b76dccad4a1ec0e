//! The house rules that no compiler checks, and the pages that have to agree with the code.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use amoiq_events::event::CATALOGUE;
use serde_json::Value;

const MAX_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project with an extension. What is installed or built beside the sources is not the project's.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_foreign = name.starts_with('.') || name == "target" || name == "node_modules";
            if path.is_dir() && !is_foreign {
                folders.push(path);
            } else if path.extension().is_some_and(|other| other == extension) {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "the files were not found");
    files
}

fn offenders(breaks_rule: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a file");
    files("rs").into_iter().filter(|path| breaks_rule(path, &read(path))).collect()
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

/// Whether a file is compiled: a root that cargo finds by its place, or a module that the file above it declares.
fn is_compiled(path: &Path) -> bool {
    let folder = path.parent().expect("a folder");
    let name = path.file_stem().expect("a name").to_string_lossy();
    let is_root = matches!(&*name, "main" | "lib" | "build")
        || ["tests", "benches", "examples", "fuzz_targets"].iter().any(|place| folder.ends_with(place));
    let above = [folder.with_extension("rs"), folder.join("main.rs"), folder.join("lib.rs")];
    let declaration = format!("mod {name};");
    let mut texts = above.iter().filter_map(|file| fs::read_to_string(file).ok());
    is_root || texts.any(|text| text.lines().any(|line| line.ends_with(&declaration)))
}

/// The compiler does not see a file that no module declares, and the tests in it do not run.
#[test]
fn every_file_is_compiled() {
    assert_eq!(offenders(|path, _| !is_compiled(path)), Vec::<PathBuf>::new());
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

/// The lines of a page outside of its code blocks.
fn prose(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page");
    let mut is_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    text.lines().filter(is_prose).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let is_kept = |char: &char| char.is_alphanumeric() || matches!(char, '-' | '_');
    let anchor = |heading: &str| {
        heading.trim().to_lowercase().replace(' ', "-").chars().filter(is_kept).collect::<String>()
    };
    let lines = prose(page).into_iter().filter(|line| line.starts_with('#'));
    lines.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Every link of a page that leads to a place in this repository.
fn local_links(page: &Path) -> Vec<String> {
    let text = prose(page).join("\n");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.contains("://")).map(str::to_owned).collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut dead = Vec::new();
    for page in files("md") {
        for link in local_links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            let is_found = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !is_found {
                dead.push(format!(
                    "{}: {link}",
                    page.strip_prefix(root()).expect("a page of ours").display()
                ));
            }
        }
    }
    assert_eq!(dead, Vec::<String>::new());
}

/// What a pattern with alternatives names: `src/{a,b}.rs` is two files.
fn alternatives(pattern: &str) -> Vec<String> {
    let braces = pattern.split_once('{').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('}')?;
        inside.contains(',').then_some((before, inside, after))
    });
    match braces {
        Some((before, inside, after)) => {
            inside.split(',').flat_map(|one| alternatives(&format!("{before}{one}{after}"))).collect()
        }
        None => vec![pattern.to_owned()],
    }
}

/// The files and folders of the project that a page names in its prose.
fn named_paths(page: &Path) -> Vec<String> {
    let is_ours = |name: &&str| {
        let folder =
            name.split_once('/').map(|(folder, _)| folder).filter(|folder| !matches!(*folder, "" | "."));
        folder.is_some_and(|folder| root().join(folder).is_dir()) && !name.contains([' ', '…'])
    };
    let quoted = |line: String| {
        line.split('`').skip(1).step_by(2).filter(is_ours).flat_map(alternatives).collect::<Vec<_>>()
    };
    prose(page).into_iter().flat_map(quoted).collect()
}

#[test]
fn every_file_that_a_page_names_exists() {
    // These tell of a time, and what they name may have gone since.
    let is_dated = |page: &PathBuf| {
        let page = page.strip_prefix(root()).expect("a page of ours");
        page.starts_with("docs/decisions")
            || page.starts_with("docs/performance")
            || page == Path::new("CHANGELOG.md")
    };
    let mut missing = Vec::new();
    let mut count = 0;
    for page in files("md").into_iter().filter(|page| !is_dated(page)) {
        let named = named_paths(&page);
        count += named.len();
        // The page of a crate names what is in the crate.
        let folders: Vec<_> =
            page.ancestors().skip(1).take_while(|folder| folder.starts_with(root())).collect();
        let is_missing = |path: &String| !folders.iter().any(|folder| folder.join(path).exists());
        missing.extend(named.into_iter().filter(is_missing));
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(count > 50, "the names were not found: {count}");
}

/// The texts of the program: its files, without the breaks that a long text has in them.
fn product_texts() -> String {
    let is_product = |path: &PathBuf| !path.components().any(|part| part.as_os_str() == "tests");
    let read = |path: PathBuf| fs::read_to_string(path).expect("a file");
    let texts: String = files("rs").into_iter().filter(is_product).map(read).collect();
    let mut lines = texts.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    first + &lines.map(str::trim_start).collect::<String>()
}

#[test]
fn every_message_that_the_runbook_explains_is_one_of_the_program() {
    let page = prose(&root().join("docs/operations/runbook.md")).join("\n");
    let messages = page.split("## Messages of the service").nth(1).expect("its section");
    let messages = messages.split("\n## ").next().expect("its end");
    let headings: Vec<_> =
        messages.lines().filter_map(|line| line.strip_prefix("**")?.split("**").next()).collect();
    assert!(headings.len() > 10, "the messages were not found");
    let texts = product_texts();
    let quoted = headings.iter().flat_map(|heading| heading.split('`').skip(1).step_by(2));
    let parts = quoted.flat_map(|text| text.split('…')).map(str::trim);
    let unknown: Vec<_> = parts.filter(|part| !texts.contains(part)).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn every_type_of_the_glossary_is_one_of_the_program() {
    let texts = product_texts();
    let lines = prose(&root().join("docs/GLOSSARY.md"));
    let rows: Vec<_> = lines.iter().filter(|line| line.starts_with("| **")).collect();
    assert_eq!(rows.len(), 43, "one row for each term");
    let columns = rows.iter().filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let names = columns.flat_map(|column| column.split('`').skip(1).step_by(2));
    let is_declared = |name: &str| {
        ["struct", "enum", "trait"].iter().any(|kind| {
            let is_end = |char: char| !char.is_alphanumeric() && char != '_';
            texts.split(&format!("{kind} {name}")).skip(1).any(|rest| rest.starts_with(is_end))
        })
    };
    let unknown: Vec<_> = names.filter(|name| !is_declared(name)).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

/// What `tests/house/measure` counts. It needs Python, as `tests/run` does.
fn measured() -> Value {
    let output = Command::new("python3").arg(root().join("tests/house/measure")).arg("--json").output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_type_name_says_what_it_is_and_stands_for_one_type() {
    let measured = measured();
    let figure = |name: &str| measured[name].as_f64().unwrap_or_else(|| panic!("{name} is not measured"));
    assert_eq!(figure("public names that exist twice"), 0.0);
    assert!(figure("that share their name, %") <= 10.0);
    assert!(figure("of one word, %") <= 30.0);
}

#[test]
fn modules_beside_each_other_use_one_another_in_one_direction_only() {
    assert_eq!(measured()["cycles between sibling modules"], 0, "tests/house/measure --cycles lists them");
}

#[test]
fn a_folder_has_at_most_12_siblings() {
    assert_eq!(measured()["folders with over 12 siblings"], 0, "tests/house/measure --folders lists them");
}
