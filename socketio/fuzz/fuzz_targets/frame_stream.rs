//! Fuzzes the bytes of a websocket: see `checks::frame_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::frame_stream::check(data));
