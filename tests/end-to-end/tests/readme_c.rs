//! The README's C program, compiled and run as a newcomer would: scan what the terminal shows, ask, be answered.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;
use std::process::Command;

use centralita_end_to_end::programs::{Program, built};
use centralita_end_to_end::*;
use centralita_stand_in::{PhoneOptions, StandIn};

const PROGRAM: &str = include_str!("../../../examples/c/quickstart.c");

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_readme_shows_the_program_as_it_is_run() {
    let body = PROGRAM.split_once("*/\n").expect("a first comment").1.trim();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(body), "README.md shows another program than examples/c/quickstart.c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_links_and_answers() {
    show_logs();
    let stand_in = StandIn::start().await.unwrap();
    let phone = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let contact = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Under its own name, as it is installed: that is what the program looks for.
    let library = folder.path().join("libcentralita.so.0");
    std::os::unix::fs::symlink(built("libcentralita_ffi.so"), &library).unwrap();
    let program = folder.path().join("quickstart");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root().join("include"))
        .arg(root().join("examples/c/quickstart.c"))
        .arg("-o")
        .arg(&program)
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", folder.path().display()))
        .status()
        .unwrap();
    assert!(compiled.success());

    let mut running = Program::start(&program, folder.path(), &stand_in.web_socket_url());
    let device = phone.scan_qr(&running.qr_code().await).unwrap();
    device.wait_connected(PATIENCE).await.unwrap();
    contact.send_text(&phone.phone_number(), "/ping").await.unwrap();
    contact.wait_for_count(PATIENCE, 1).await.unwrap();
    assert_eq!(contact.received()[0].text.as_deref(), Some("pong"));
    running.kill().await;
    assert_eq!(stand_in.accounting().lost_to(&device.jid), 0);
}
