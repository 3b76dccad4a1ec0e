//! Replays the committed corpus of the fuzz targets: the seeds, and what fuzzing found worth keeping.

use std::{fs, panic::catch_unwind, path::Path};

use super::checks::{frame_stream, polling_payload};

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("an input");
        assert!(catch_unwind(|| check(&input)).is_ok(), "{} fails: see above", path.display());
        inputs += 1;
    }
    assert!(inputs >= 20, "only {inputs} inputs in {}", folder.display());
}

#[test]
fn the_corpus_of_frame_streams_passes() {
    replay("frame_stream", frame_stream::check);
}

#[test]
fn the_corpus_of_polling_payloads_passes() {
    replay("polling_payload", polling_payload::check);
}
