//! The READMEs' C programs, compiled and run as a newcomer would: scan what the terminal shows, ask, be answered; then
//! miss nothing over a crash.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

use centralita_end_to_end::programs::{Program, built};
use centralita_end_to_end::*;
use centralita_stand_in::{PhoneOptions, StandIn};

const QUICKSTART: &str = include_str!("../../../examples/c/quickstart.c");
const DURABLE: &str = include_str!("../../../examples/c/durable.c");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_readmes_show_the_programs_as_they_are_run() {
    for (program, readme) in [(QUICKSTART, "README.md"), (DURABLE, "ffi/README.md")] {
        let body = program.split_once("*/\n").expect("a first comment").1.trim();
        let text = std::fs::read_to_string(root().join(readme)).unwrap();
        assert!(text.contains(body), "{readme} shows another program than the one in examples/c");
    }
}

/// Compiles a program of `examples/c` into a folder, in which the library is, too.
fn compile(name: &str, folder: &Path) -> PathBuf {
    // Under its own name, as it is installed: that is what the program looks for.
    let library = folder.join("libcentralita.so.0");
    if !library.exists() {
        std::os::unix::fs::symlink(built("libcentralita_ffi.so"), &library).unwrap();
    }
    let program = folder.join(name);
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root().join("include"))
        .arg(root().join(format!("examples/c/{name}.c")))
        .arg("-o")
        .arg(&program)
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .status()
        .unwrap();
    assert!(compiled.success());
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_link_answer_and_miss_nothing() {
    show_logs();
    let stand_in = StandIn::start().await.unwrap();
    let server = stand_in.web_socket_url();
    let phone = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let contact = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let quickstart = compile("quickstart", folder.path());

    let mut running = Program::start(&quickstart, folder.path(), &server);
    let device = phone.scan_qr(&running.qr_code().await).unwrap();
    device.wait_connected(PATIENCE).await.unwrap();
    contact.send_text(&phone.phone_number(), "/ping").await.unwrap();
    contact.wait_for_count(PATIENCE, 1).await.unwrap();
    assert_eq!(contact.received()[0].text.as_deref(), Some("pong"));
    running.kill().await;

    // On the same database: no code any more. What it had printed when it was killed may come again, and nothing else.
    let durable = compile("durable", folder.path());
    let mut running = Program::start(&durable, folder.path(), &server);
    contact.send_text(&phone.phone_number(), "uno").await.unwrap();
    assert_eq!(running.line().await, "uno");
    running.kill().await;
    contact.send_text(&phone.phone_number(), "dos").await.unwrap();
    let mut running = Program::start(&durable, folder.path(), &server);
    let mut line = running.line().await;
    if line == "uno" {
        line = running.line().await;
    }
    assert_eq!(line, "dos");
    running.kill().await;
    assert_eq!(stand_in.accounting().lost_to(&device.jid), 0);
}
