//! libFuzzer's entry to `fuzz::settlement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::settlement(data));
