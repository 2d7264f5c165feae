//! `include/centralita.h` and `ffi/symbols.txt` are what the sources say. `CENTRALITA_BLESS=1` makes them anew.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file, by its path below `ffi/src`.
fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Those that declare something for C, in the order in which a reader wants to meet them; each brings its folder along.
const ORDER: &[&str] = &[
    "version",
    "text",
    "status",
    "error",
    "config/mod",
    "service/mod",
    "operation/mod",
    "session/mod",
    "link",
    "outgoing",
    "event",
    "subscription",
    "durable/mod",
    "manager/mod",
    "cleanup",
    "log",
    "metrics",
];

fn generated_header() -> String {
    let config = cbindgen::Config::from_file(root().join("ffi/cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in ORDER {
        builder = builder.with_src(root().join(format!("ffi/src/{name}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().expect("cbindgen understands the sources").write(&mut text);
    String::from_utf8(text).unwrap()
}

/// Every `extern "C"` function, by the sources alone.
fn exported_functions() -> Vec<String> {
    let mut names = Vec::new();
    for path in sources_below(&root().join("ffi/src")) {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line == "#[unsafe(no_mangle)]" {
                let definition = lines.find(|line| line.starts_with("pub ")).unwrap();
                let name = definition.split_once(" fn ").unwrap().1.split_once('(').unwrap().0;
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names
}

fn compare(path: &str, current: &str) {
    let path = root().join(path);
    if std::env::var_os("CENTRALITA_BLESS").is_some() {
        std::fs::write(&path, current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "{} is not what the sources say; run CENTRALITA_BLESS=1 cargo test --workspace --all-features --test header",
        path.display()
    );
}

#[test]
fn the_header_is_current() {
    compare("include/centralita.h", &generated_header());
}

#[test]
fn the_list_of_symbols_is_current() {
    compare("ffi/symbols.txt", &(exported_functions().join("\n") + "\n"));
}

/// A function that the header lacks could not be called; one that it has beyond the library could not be linked.
#[test]
fn the_header_declares_every_function_once() {
    let header = generated_header();
    for name in exported_functions() {
        let call = format!("{name}(");
        let declares = |line: &&str| !line.trim_start().starts_with('*') && line.contains(&call);
        let declared = header.lines().filter(declares).count();
        assert!(declared == 1, "{name} is {declared} times in the header");
    }
}
