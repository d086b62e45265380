//! libFuzzer's entry to `fuzz::cache_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::cache_key(data));
