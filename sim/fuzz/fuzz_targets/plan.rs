//! Hands what libFuzzer makes up to `landfall_fuzz::plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| landfall_fuzz::plan(data));
