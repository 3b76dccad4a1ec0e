//! Fuzzes what comes over a websocket: see `checks::frame_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::frame_stream::check(data));
