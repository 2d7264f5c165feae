//! The backend beside the engine's own in-memory one: the same calls, the same answers. And what ours adds.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::in_memory::InMemoryBackend;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, DeviceStore, LidPnMappingEntry, MsgSecretEntry,
    PendingInboundKey, PendingInboundRow, ProtocolStore, SignalStore, TcTokenEntry,
};

use super::SessionBackend;
use crate::clock::SystemClock;
use crate::engine::session_auth::SessionAuth;
use crate::store::group::GroupCommit;
use crate::store::{AuthState, AuthStore, MemoryStore, Tenure};
use crate::vault::{KeyRing, Vault};

const ALICE: &str = "5491100000001:3@s.whatsapp.net";
const BOB: &str = "100000000000002@lid";
const GROUP: &str = "120363000000000001@g.us";

struct World {
    store: Arc<MemoryStore>,
    auth: Arc<SessionAuth>,
    backend: SessionBackend,
}

async fn world() -> World {
    let store = Arc::new(MemoryStore::new());
    let clock = SystemClock::shared();
    let keys = KeyRing::parse("test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let vault =
        Vault::encrypted(Arc::new(keys), Arc::clone(&clock)).open_session("s", None).await.unwrap().vault;
    let shared: Arc<dyn crate::store::Store> = store.clone();
    let group = Arc::new(GroupCommit::new(shared, &clock, &tokio::runtime::Handle::current()));
    let auth = SessionAuth::new("s", Tenure::FIRST, group, vault, clock, AuthState::default());
    let auth = Arc::new(auth);
    World { store, backend: SessionBackend::new(Arc::clone(&auth)), auth }
}

fn mapping(lid: &str, phone: &str) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.into(),
        phone_number: phone.into(),
        created_at: 1,
        updated_at: 2,
        learning_source: "usync".into(),
    }
}

fn secret(byte: u8, expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: BOB.into(),
        sender: BOB.into(),
        msg_id: "M1".into(),
        secret: [byte; 32],
        expires_at,
        message_ts,
    }
}

/// Calls what the engine calls and writes down what it is told. Debug text compares types that have no equality.
async fn transcript(backend: &dyn Backend) -> Vec<String> {
    let mut told = Vec::new();
    macro_rules! tell {
        ($call:expr) => {
            told.push(format!("{}: {:?}", stringify!($call), $call.await.unwrap()))
        };
    }
    tell!(backend.load_identity(ALICE));
    backend.put_identity(ALICE, [1; 32]).await.unwrap();
    backend.put_identities_batch(&[(BOB.into(), [2; 32]), (ALICE.into(), [3; 32])]).await.unwrap();
    tell!(backend.load_identity(ALICE));
    tell!(backend.has_signal_state_for_user("5491100000001"));
    tell!(backend.has_signal_state_for_user("549110000000"));
    backend.delete_identity(ALICE).await.unwrap();
    tell!(backend.load_identity(ALICE));

    backend.put_session(ALICE, b"one").await.unwrap();
    let batch: [(Arc<str>, Bytes); 2] = [(ALICE.into(), "two".into()), (BOB.into(), "three".into())];
    backend.put_sessions_batch(&batch).await.unwrap();
    tell!(backend.get_session(ALICE));
    tell!(backend.has_session("5491100000001@s.whatsapp.net"));
    tell!(backend.has_signal_state_for_user("5491100000001"));
    backend.delete_session(ALICE).await.unwrap();
    tell!(backend.get_session(ALICE));
    tell!(backend.has_signal_state_for_user("5491100000001"));

    tell!(backend.get_max_prekey_id());
    backend.store_prekey(7, b"seven", false).await.unwrap();
    backend.store_prekeys_batch(&[(9, "nine".into()), (8, "eight".into())], false).await.unwrap();
    tell!(backend.get_max_prekey_id());
    backend.remove_prekey(8).await.unwrap();
    // A consumed key stays consumed.
    backend.mark_prekeys_uploaded(&[7, 8, 9]).await.unwrap();
    tell!(backend.load_prekey(8));
    tell!(backend.load_prekeys_batch(&[7, 8, 9, 10]));
    backend.store_signed_prekey(1, b"signed").await.unwrap();
    tell!(backend.load_signed_prekey(1));
    tell!(backend.load_all_signed_prekeys());
    backend.remove_signed_prekey(1).await.unwrap();
    tell!(backend.load_all_signed_prekeys());

    let name = format!("{GROUP}::{BOB}");
    backend.put_sender_key(&name, b"sender").await.unwrap();
    backend.put_sender_keys_batch(&[(name.as_str().into(), "newer".into())]).await.unwrap();
    tell!(backend.get_sender_key(&name));
    backend.delete_sender_key(&name).await.unwrap();
    tell!(backend.get_sender_key(&name));

    tell!(backend.get_latest_sync_key_id());
    let key = AppStateSyncKey { key_data: vec![1; 32], fingerprint: vec![2], timestamp: 3 };
    backend.set_sync_key(b"k1", key.clone()).await.unwrap();
    backend.set_sync_key(b"k2", key).await.unwrap();
    tell!(backend.get_latest_sync_key_id());
    tell!(backend.get_sync_key(b"k1"));
    tell!(backend.get_version("regular"));
    let mut version = backend.get_version("regular").await.unwrap();
    version.version = 5;
    backend.set_version("regular", version).await.unwrap();
    tell!(backend.get_version("regular"));
    let macs = [[1_u8; 32], [2; 32]]
        .map(|mac| AppStateMutationMAC { index_mac: mac.into(), value_mac: vec![9; 32] });
    backend.put_mutation_macs("regular", 5, &macs).await.unwrap();
    backend.put_mutation_macs("regular_low", 1, &macs).await.unwrap();
    backend.delete_mutation_macs("regular", &[vec![1; 32]]).await.unwrap();
    tell!(backend.get_mutation_macs("regular", &[[1; 32], [2; 32]]));
    backend.clear_mutation_macs("regular").await.unwrap();
    tell!(backend.get_mutation_mac("regular", &[2; 32]));
    tell!(backend.get_mutation_mac("regular_low", &[2; 32]));

    backend.put_lid_mapping(&mapping("1", "549")).await.unwrap();
    // The LID has another number now: the old one must not lead to it any more.
    backend.put_lid_mappings(&[mapping("1", "550"), mapping("2", "551")]).await.unwrap();
    tell!(backend.get_pn_mapping("549"));
    tell!(backend.get_pn_mapping("550"));
    tell!(backend.get_lid_mapping("2"));
    let mut all = backend.get_all_lid_mappings().await.unwrap();
    all.sort_by(|one, other| one.lid.cmp(&other.lid));
    told.push(format!("{all:?}"));

    backend.set_sender_key_status(GROUP, &[(ALICE, true), (BOB, true)]).await.unwrap();
    backend.set_sender_key_status(GROUP, &[(BOB, false)]).await.unwrap();
    backend.delete_sender_key_device_rows(&[ALICE]).await.unwrap();
    tell!(backend.get_sender_key_devices(GROUP));
    backend.clear_all_sender_key_devices().await.unwrap();
    tell!(backend.get_sender_key_devices(GROUP));

    backend.save_base_key(ALICE, "M", b"base").await.unwrap();
    tell!(backend.has_same_base_key(ALICE, "M", b"base"));
    tell!(backend.has_same_base_key(ALICE, "M", b"other"));
    backend.delete_base_key(ALICE, "M").await.unwrap();
    tell!(backend.has_same_base_key(ALICE, "M", b"base"));

    let devices = vec![DeviceInfo::new(0, None), DeviceInfo::new(3, Some(1))];
    let list = DeviceListRecord { user: "549".into(), devices, timestamp: 1, phash: None, raw_id: Some(4) };
    backend.update_device_lists(vec![list]).await.unwrap();
    tell!(backend.get_devices("549"));
    backend.delete_devices("549").await.unwrap();
    tell!(backend.get_devices("549"));
    backend.put_group_metadata(GROUP, b"blob").await.unwrap();
    tell!(backend.get_group_metadata(GROUP));

    backend.touch_tc_token_sender_timestamp(BOB, 50).await.unwrap();
    backend.store_received_tc_token(BOB, b"real", 40).await.unwrap();
    backend.touch_tc_token_sender_timestamp(BOB, 30).await.unwrap();
    backend.store_received_tc_token(BOB, b"stale", 39).await.unwrap();
    tell!(backend.get_tc_token(BOB));
    let dead = TcTokenEntry { token: Vec::new(), token_timestamp: 1, sender_timestamp: None };
    backend.put_tc_token(ALICE, &dead).await.unwrap();
    tell!(backend.delete_expired_tc_tokens(10, 10));
    tell!(backend.get_all_tc_token_jids());

    backend.store_sent_message(BOB, "M1", b"payload").await.unwrap();
    tell!(backend.take_sent_message(BOB, "M1"));
    tell!(backend.take_sent_message(BOB, "M1"));

    let row = |id: &'static str| PendingInboundRow { chat: BOB, sender: ALICE, id, message: b"message" };
    backend.store_pending_inbound_batch(&[row("1"), row("2")]).await.unwrap();
    tell!(backend.get_pending_inbound(BOB, ALICE, "2"));
    backend
        .delete_pending_inbound_batch(&[PendingInboundKey { chat: BOB, sender: ALICE, id: "2" }])
        .await
        .unwrap();
    tell!(backend.get_pending_inbound(BOB, ALICE, "2"));
    tell!(backend.get_pending_inbound(BOB, ALICE, "1"));

    tell!(backend.put_msg_secrets(vec![secret(1, 100, 10)]));
    tell!(backend.put_msg_secrets(vec![secret(1, 90, 0)]));
    tell!(backend.get_msg_secret_with_ts(BOB, BOB, "M1"));
    tell!(backend.delete_expired_msg_secrets(99));
    tell!(backend.delete_expired_msg_secrets(100));
    tell!(backend.get_msg_secret(BOB, BOB, "M1"));
    told
}

#[tokio::test]
async fn it_answers_as_the_engines_own_backend_does() {
    let ours = transcript(&world().await.backend).await;
    let theirs = transcript(&InMemoryBackend::new()).await;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[tokio::test]
async fn it_answers_the_same_with_and_without_what_was_read_ahead() {
    let ahead = world().await;
    let from_store = world().await;
    from_store.auth.drop_read_ahead();
    assert_eq!(transcript(&ahead.backend).await, transcript(&from_store.backend).await);
}

#[tokio::test]
async fn the_device_comes_back_whole_and_sealed() {
    let world = world().await;
    assert!(!world.backend.exists().await.unwrap());
    let mut device = Device::new();
    device.push_name = "Ventas".into();
    device.login_counter = 3;
    world.backend.save(&device).await.unwrap();
    for _ in 0..2 {
        let loaded = world.backend.load().await.unwrap().unwrap();
        assert_eq!((loaded.push_name.as_str(), loaded.login_counter), ("Ventas", 3));
        assert_eq!(loaded.registration_id, device.registration_id);
        assert_eq!(loaded.adv_secret_key, device.adv_secret_key);
        world.auth.drop_read_ahead();
    }
    let stored = world.store.load_creds("s", Tenure::FIRST).await.unwrap().unwrap();
    assert!(!stored.windows(6).any(|window| window == b"Ventas"));
}

#[tokio::test]
async fn no_row_names_anybody() {
    let world = world().await;
    transcript(&world.backend).await;
    let state = world.store.load_auth("s", Tenure::FIRST, &[]).await.unwrap();
    assert!(!state.entries.is_empty());
    for entry in state.entries {
        let row = format!("{:?}", entry.key);
        for name in ["54911", "10000000", "12036300", "whatsapp.net"] {
            assert!(!row.contains(name), "{row}");
        }
    }
}

#[tokio::test]
async fn what_the_engine_flushes_at_once_is_one_command() {
    let world = world().await;
    let keys: Vec<(u32, Bytes)> = (1..=812).map(|id| (id, Bytes::from_static(b"pre-key"))).collect();
    let before = world.store.commands();
    world.backend.store_prekeys_batch(&keys, false).await.unwrap();
    assert_eq!(world.store.commands() - before, 1);
}

#[tokio::test]
async fn a_stale_owner_is_refused_and_its_socket_is_cut_first() {
    let world = world().await;
    world.backend.put_session(ALICE, b"ours").await.unwrap();
    let newer = Tenure { generation: 2, fence: 2 };
    world.store.fence_auth("s", newer).await.unwrap();
    assert!(world.backend.put_session(ALICE, b"late").await.is_err());
    assert!(world.auth.cut().is_cancelled());
    assert_eq!(world.auth.failure().unwrap().kind(), crate::ErrorKind::Conflict);
    // And nothing is tried again.
    let before = world.store.commands();
    assert!(world.backend.put_session(BOB, b"later").await.is_err());
    assert_eq!(world.store.commands(), before);
}

#[tokio::test]
async fn a_message_row_is_written_only_with_a_ratchet_that_passed_it() {
    let world = world().await;
    let rows = async || {
        let rows = world.store.list_auth("s", Tenure::FIRST, crate::engine::keyspace::PENDING_INBOUND);
        rows.await.unwrap().len()
    };
    let row = |id: &'static str| PendingInboundRow { chat: BOB, sender: ALICE, id, message: b"message" };
    let key = |id: &'static str| PendingInboundKey { chat: BOB, sender: ALICE, id };
    let before = world.store.commands();
    world.backend.store_pending_inbound_batch(&[row("1"), row("2")]).await.unwrap();
    world.backend.delete_pending_inbound_batch(&[key("1")]).await.unwrap();
    assert_eq!(world.store.commands(), before, "committed in time: nothing is written");
    // What moves no ratchet takes nothing along.
    world.backend.put_identity(ALICE, [1; 32]).await.unwrap();
    assert_eq!(rows().await, 0);
    let before = world.store.commands();
    world.backend.put_session(ALICE, b"has passed message 2").await.unwrap();
    assert_eq!(world.store.commands() - before, 1);
    assert_eq!(rows().await, 1);
    // A redelivery finds it, whether or not it was written.
    assert!(world.backend.get_pending_inbound(BOB, ALICE, "2").await.unwrap().is_some());
    assert!(world.backend.get_pending_inbound(BOB, ALICE, "1").await.unwrap().is_none());

    world.backend.delete_pending_inbound_batch(&[key("2")]).await.unwrap();
    assert!(world.backend.get_pending_inbound(BOB, ALICE, "2").await.unwrap().is_none());
    assert_eq!(rows().await, 1, "its deletion rides along later");
    world.auth.write_held().await.unwrap();
    assert_eq!(rows().await, 0);
}
