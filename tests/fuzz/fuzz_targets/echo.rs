#![no_main]

// One choice of a model world is one byte.
libfuzzer_sys::fuzz_target!(|input: &[u8]| urecho::serve::uring::echo::model::fuzz(input));
