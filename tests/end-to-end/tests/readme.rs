//! The README's example, run as a newcomer would: scan what the terminal shows, ask, be answered, pull the plug,
//! start again.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;

use centralita_end_to_end::programs::{Program, built};
use centralita_end_to_end::*;
use centralita_stand_in::{PhoneOptions, StandIn};

const EXAMPLE: &str = include_str!("../../../core/examples/ping.rs");

#[test]
fn the_readmes_show_the_example_as_it_is_run() {
    let body = EXAMPLE.split_once("\n\n").expect("a first comment").1.trim();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for readme in ["README.md", "README.es.md"] {
        let text = std::fs::read_to_string(root.join(readme)).unwrap();
        assert!(text.contains(body), "{readme} shows another example than core/examples/ping.rs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_links_answers_survives_a_kill_and_answers_again() {
    show_logs();
    let stand_in = StandIn::start().await.unwrap();
    let phone = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let contact = stand_in.add_phone(PhoneOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let example = built("examples/ping");

    let mut program = Program::start(&example, folder.path(), &stand_in.web_socket_url());
    let device = phone.scan_qr(&program.qr_code().await).unwrap();
    device.wait_connected(PATIENCE).await.unwrap();
    contact.send_text(&phone.phone_number(), "/ping").await.unwrap();
    contact.wait_for_count(PATIENCE, 1).await.unwrap();
    program.kill().await;
    device.wait_disconnected(PATIENCE).await.unwrap();

    contact.send_text(&phone.phone_number(), "/ping").await.unwrap();
    let program = Program::start(&example, folder.path(), &stand_in.web_socket_url());
    contact.wait_for_count(PATIENCE, 2).await.unwrap();
    assert_eq!(contact.received()[1].text.as_deref(), Some("pong"));
    let printed = program.kill().await;
    assert!(printed.iter().all(|line| line.trim().is_empty()), "it asked for a QR code again");
    assert_eq!(phone.devices().len(), 1);
    assert_eq!(stand_in.accounting().lost_to(&device.jid), 0);
}
