//! What the linker must know of the shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The ABI's major version: programs keep running with a library that only added things.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcentralita.so.0");
        // Its threads run until the process ends: `dlclose` must not take the code from under them.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
