use serde_json::json;
use whatsapp_rust::wacore::libsignal::protocol::{SenderKeyRecord, SessionRecord};

use super::*;
use crate::error::ErrorKind;

/// A key of 32 bytes that is as good as any for X25519.
fn key(seed: u8) -> [u8; 32] {
    let mut key = [seed; 32];
    key[31] = 0x40;
    key
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn buffer(bytes: &[u8]) -> Value {
    json!({ "type": "Buffer", "data": base64(bytes) })
}

fn pair(seed: u8) -> Value {
    json!({ "public": buffer(&key(seed)), "private": buffer(&key(seed + 100)) })
}

fn creds() -> Value {
    json!({
        "me": { "id": "5491155550000:7@s.whatsapp.net", "lid": "100000000000001:7@lid", "name": "Ventas" },
        "noiseKey": pair(1), "signedIdentityKey": pair(2), "registrationId": 77,
        "signedPreKey": { "keyPair": pair(3), "keyId": 1, "signature": buffer(&[9; 64]) },
        "advSecretKey": base64(&[4; 32]), "nextPreKeyId": 31, "firstUnuploadedPreKeyId": 31,
        "account": {
            "details": buffer(b"d"), "accountSignatureKey": buffer(&key(5)),
            "accountSignature": buffer(&[6; 64]), "deviceSignature": buffer(&[7; 64]),
        },
    })
}

fn typed(seed: u8) -> String {
    base64(&[&[5][..], &key(seed)].concat())
}

/// A session as libsignal-node writes it: one chain to send on, `receiving` to receive on.
fn session(closed: i64, used: i64, receiving: &[u8]) -> Value {
    let mut chains = serde_json::Map::new();
    let chain = |kind: u8, counter: i64| {
        json!({
            "chainKey": { "counter": counter, "key": base64(&[11; 32]) }, "chainType": kind,
            "messageKeys": { "2": base64(&[12; 32]) },
        })
    };
    chains.insert(typed(20), chain(1, -1));
    for seed in receiving {
        chains.insert(typed(*seed), chain(2, 4));
    }
    json!({
        "registrationId": 5,
        "currentRatchet": {
            "ephemeralKeyPair": { "pubKey": typed(20), "privKey": base64(&key(21)) },
            "lastRemoteEphemeralKey": typed(*receiving.first().unwrap()), "previousCounter": -1,
            "rootKey": base64(&[13; 32]),
        },
        "indexInfo": {
            "baseKey": typed(22), "baseKeyType": 2, "closed": closed, "used": used, "created": used,
            "remoteIdentityKey": typed(23),
        },
        "_chains": chains,
    })
}

fn converted(rows: &[(&str, &str, Value)]) -> Result<Converted> {
    let rows = rows.iter().map(|(kind, id, value)| (*kind, *id, value));
    convert(&creds(), rows, Timestamp::from_unix_ms(1_000))
}

#[test]
fn the_account_and_its_keys_find_their_place() {
    let all = converted(&[
        ("pre-key", "30", pair(8)),
        ("lid-mapping", "5491155551111", json!("100000000000002")),
        ("lid-mapping", "100000000000002_reverse", json!("5491155551111")),
        ("device-list", "5491155551111", json!(["0"])),
        ("app-state-sync-key", "AAAA", json!({ "keyData": buffer(&[1; 32]), "timestamp": "1700000000000" })),
        (
            "app-state-sync-version",
            "regular",
            json!({
                "version": 3, "hash": buffer(&[2; 128]),
                "indexValueMap": { (base64(&[3; 32])): { "valueMac": buffer(&[4; 32]) } },
            }),
        ),
    ])
    .unwrap();
    let device = &all.device;
    assert_eq!(device.pn.as_ref().unwrap().to_string(), "5491155550000:7@s.whatsapp.net");
    assert_eq!(device.lid.as_ref().unwrap().to_string(), "100000000000001:7@lid");
    assert_eq!((device.registration_id, device.next_pre_key_id, device.server_has_prekeys), (77, 31, true));
    assert_eq!(device.identity_key.public_key.public_key_bytes(), key(2));
    assert_eq!(all.phone().as_deref(), Some("5491155550000"));
    assert_eq!(all.lid_mappings.len(), 1);
    assert_eq!(all.sync_keys[0].1.timestamp, 1_700_000_000_000);
    assert_eq!((all.versions[0].1.version, all.versions[0].2.len()), (3, 1));
    assert_eq!((all.taken["lid-mapping"], all.left["device-list"]), (2, 1));
}

#[test]
fn a_ratchet_goes_on_with_the_next_message_and_keeps_the_keys_of_late_ones() {
    let record = json!({ "version": "v1", "_sessions": {
        "a": session(1_000, 9, &[24]), "b": session(-1, 1, &[25, 26]), "c": session(2_000, 11, &[27]),
    } });
    let all = converted(&[("session", "100000000000002_1.3", record)]).unwrap();
    let (address, bytes) = &all.sessions[0];
    assert_eq!(&**address, "100000000000002:3@lid.0");
    assert_eq!(all.identities[address], key(23), "Baileys 6 keeps it nowhere else");
    let components = SessionRecord::deserialize(bytes).unwrap().into_components().unwrap();
    let current = components.current_session.unwrap();
    assert_eq!(current.receiver_chains.len(), 2);
    let newest = current.receiver_chains.last().unwrap();
    assert_eq!(newest.sender_ratchet_key.as_deref().unwrap()[1..], key(25));
    assert_eq!(newest.chain_key.as_ref().unwrap().index, Some(5));
    assert_eq!(newest.message_keys[0].index, 2);
    let sending = current.sender_chain.unwrap();
    assert_eq!(sending.chain_key.unwrap().index, Some(0));
    assert!(sending.message_keys.is_empty(), "an own message key is of the past or of a chain that is not");
    let archived: Vec<_> = components
        .previous_sessions
        .iter()
        .map(|session| session.receiver_chains[0].sender_ratchet_key.as_deref().unwrap()[1])
        .collect();
    assert_eq!(archived, [27, 24], "as they were used last");
}

#[test]
fn the_newest_sender_key_comes_first() {
    // As Baileys does: JSON text in bytes, in which bytes are arrays of numbers.
    let numbers = |bytes: &[u8]| json!({ "type": "Buffer", "data": bytes });
    let state = |id: u32| {
        json!({
            "senderKeyId": id, "senderChainKey": { "iteration": 3, "seed": numbers(&[7; 32]) },
            "senderSigningKey": { "public": numbers(&key(30)), "private": numbers(&[]) },
            "senderMessageKeys": [],
        })
    };
    let text = serde_json::to_vec(&json!([state(1), state(2)])).unwrap();
    let all =
        converted(&[("sender-key", "120363021033254949@g.us::5491155551111::0", buffer(&text))]).unwrap();
    let (name, bytes) = &all.sender_keys[0];
    assert_eq!(&**name, "120363021033254949@g.us:5491155551111@c.us.0");
    let states = SenderKeyRecord::deserialize(bytes).unwrap().into_components().unwrap().states;
    assert_eq!(states.iter().map(|state| state.key_id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(states[0].chain_key.iteration, 3);
}

#[test]
fn bytes_come_in_four_forms() {
    for value in [
        json!({ "type": "Buffer", "data": "AQL/" }),
        json!({ "type": "Buffer", "data": [1, 2, 255] }),
        json!({ "0": 1, "1": 2, "2": 255 }),
        json!("AQL/"),
    ] {
        assert_eq!(Field::new("x", &value).bytes().unwrap(), [1, 2, 255], "{value}");
    }
    for value in [json!(1), json!({ "type": "Buffer" }), json!([256]), json!("?"), json!({ "1": 1 })] {
        assert!(Field::new("x", &value).bytes().is_err(), "{value}");
    }
}

#[test]
fn what_cannot_be_understood_is_named_but_not_shown() {
    let bad = [
        ("pre-key", "x", pair(8)),
        ("pre-key", "1", json!({ "public": "secret!", "private": "secret!" })),
        ("session", "5491155551111", json!({ "_sessions": { "a": session(-1, 1, &[24]) } })),
        ("session", "5491155551111.0", json!({ "_sessions": { "a": { "secret!": 1 } } })),
        ("sender-key", "group::user", buffer(b"[]")),
        ("app-state-sync-version", "regular", json!({ "version": 1, "hash": buffer(&[1; 3]) })),
    ];
    for row in bad {
        let kind = row.0;
        let error = converted(std::slice::from_ref(&row)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{kind}");
        assert!(error.message().contains(kind) && !error.message().contains("secret!"), "{error}");
    }
    let unlinked = convert(&json!({ "noiseKey": pair(1) }), std::iter::empty(), Timestamp::from_unix_ms(1));
    assert_eq!(unlinked.unwrap_err().kind(), ErrorKind::InvalidState);
}
