//! The calls are made from the header by `tests/c/generate.py`; the library is the one in the folder `FUZZ_LIBRARY`.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/run/fuzz"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    let (generated, library) = (PathBuf::from(variable("OUT_DIR")), variable("FUZZ_LIBRARY"));
    let status = Command::new("python3")
        .args([root.join("tests/c/generate.py"), root.join("include/centralita.h"), generated.clone()])
        .status()
        .expect("python3 runs");
    assert!(status.success(), "generate.py failed");
    cc::Build::new()
        .files([generated.join("random_input.c"), root.join("tests/c/world.c")])
        .includes([root.join("include"), root.join("tests/c")])
        .define("CENTRALITA_FUZZ", None)
        .define("_GNU_SOURCE", None)
        .compile("centralita_fuzz");
    println!("cargo::rustc-link-search={library}");
    println!("cargo::rustc-link-lib=dylib=centralita");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{library}");
    println!("cargo::rerun-if-env-changed=FUZZ_LIBRARY");
    for source in ["include/centralita.h", "tests/c"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
}
