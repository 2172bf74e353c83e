#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shardwright_fuzz::event_field::run(bytes));
