//! Hands what libFuzzer makes up to `landfall_fuzz::image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_fuzz::image(data));
