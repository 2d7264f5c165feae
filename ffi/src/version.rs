//! What is loaded.

use std::ffi::{CStr, c_char};

/// Version of the ABI that this header describes: major << 16 | minor. A larger minor only adds.
pub const CENTRALITA_ABI_VERSION: u32 = 1;

/// Version of the library that this header came with: major << 16 | minor << 8 | patch.
pub const CENTRALITA_VERSION_NUMBER: u32 = 256;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!("centralita/", env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no NUL"),
    };

/// The ABI version of the library that is loaded. Compare with `CENTRALITA_ABI_VERSION`: the major part must be the
/// same, the minor part at least as large.
#[unsafe(no_mangle)]
pub extern "C" fn centralita_abi_version() -> u32 {
    CENTRALITA_ABI_VERSION
}

/// The version of the library that is loaded, as `CENTRALITA_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn centralita_version_number() -> u32 {
    CENTRALITA_VERSION_NUMBER
}

/// The same in words, such as `centralita/0.1.0`. Static: never free it.
#[unsafe(no_mangle)]
pub extern "C" fn centralita_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_cargos() {
        let part = |text: &str| text.parse::<u32>().unwrap();
        let number = part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
            | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
            | part(env!("CARGO_PKG_VERSION_PATCH"));
        assert_eq!(CENTRALITA_VERSION_NUMBER, number);
    }
}
