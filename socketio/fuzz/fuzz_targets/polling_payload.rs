//! Fuzzes what is posted over HTTP long-polling: see `checks::polling_payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::polling_payload::check(data));
