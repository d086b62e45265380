//! libFuzzer's entry to `fuzz::gateway_document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::gateway_document(data));
