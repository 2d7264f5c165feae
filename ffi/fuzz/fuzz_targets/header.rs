//! Calls every function of the header with arguments that are made from the input; see `tests/c/random_input.c.in`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    unsafe extern "C" {
        fn centralita_fuzz(data: *const u8, size: usize);
    }
    // SAFETY: it reads `size` bytes and keeps none.
    unsafe { centralita_fuzz(data.as_ptr(), data.len()) }
});
