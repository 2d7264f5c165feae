//! Seals single strings of session records: a QR or pair code is the key to an account for a minute.
//!
//! Such a string lives beside no data key (a session has none before it is linked), so it carries its own: a
//! key of this process, wrapped once and cached, so that a KMS is asked once and not for every code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::sealed::{self, Key};
use super::{Encryption, Vault};
use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "centralita:sealed:1:";
const PURPOSE: &[u8] = b"centralita text";
const KEY_ID: &str = "text";

/// The context of record keys. No session id holds a NUL, so none is taken for it.
const CONTEXT: &[u8] = b"\0record key";

/// How many keys of other processes are remembered.
const MOST_OTHERS: usize = 64;

/// The key of this process, and those of others that were met.
#[derive(Default)]
pub(super) struct RecordKeys {
    own: tokio::sync::Mutex<Option<RecordKey>>,
    met: Mutex<HashMap<Vec<u8>, Arc<Key>>>,
}

#[derive(Clone)]
struct RecordKey {
    key: Arc<Key>,
    wrapped: Arc<Vec<u8>>,
}

fn crypto(why: &'static str) -> Error {
    Error::new(ErrorKind::Crypto, format!("a stored text {why}"))
}

impl Vault {
    /// Seals one string of a session's record. `field` is its name in the record.
    ///
    /// Asks the key provider the first time only.
    pub async fn seal_text(&self, session: &str, field: &str, text: &str) -> Result<String> {
        let Some(encryption) = &self.encryption else {
            return match text.starts_with(PREFIX) {
                false => Ok(text.to_owned()),
                true => Err(Error::new(ErrorKind::Invalid, "the text looks like a sealed one")),
            };
        };
        let seal = async {
            let RecordKey { key, wrapped } = encryption.own_record_key().await?;
            let place = place(session, field);
            let value = sealed::seal(&*encryption.clock, &key, KEY_ID, &place, text.as_bytes());
            let length = u16::try_from(wrapped.len()).map_err(|_| {
                Error::new(ErrorKind::Crypto, "the key provider wraps a key into more than 64 KiB")
            })?;
            let envelope = [&length.to_le_bytes(), wrapped.as_slice(), &value].concat();
            Ok(format!("{PREFIX}{}", STANDARD_NO_PAD.encode(envelope)))
        };
        seal.await.map_err(|error: Error| error.during("seal text").of_session(session))
    }

    /// Opens what [`seal_text`](Vault::seal_text) made for the same session and field; `None` stays `None`.
    ///
    /// `Crypto` if it was changed or moved, or is not sealed though encryption is on (or the other way round).
    pub async fn open_text(&self, session: &str, field: &str, text: Option<&str>) -> Result<Option<String>> {
        let Some(text) = text else { return Ok(None) };
        let open = async {
            match (&self.encryption, text.strip_prefix(PREFIX)) {
                (None, None) => Ok(text.to_owned()),
                (None, Some(_)) => Err(crypto(
                    "is encrypted, though encryption is off; start with the keys it was made with",
                )),
                (Some(_), None) => Err(crypto("is not encrypted, though encryption is on")),
                (Some(encryption), Some(envelope)) => {
                    encryption.open_envelope(session, field, envelope).await
                }
            }
        };
        open.await.map(Some).map_err(|error: Error| error.during("open text").of_session(session))
    }
}

fn place<'a>(session: &'a str, field: &'a str) -> [&'a [u8]; 3] {
    [PURPOSE, session.as_bytes(), field.as_bytes()]
}

impl Encryption {
    async fn own_record_key(&self) -> Result<RecordKey> {
        let mut own = self.record_keys.own.lock().await;
        if let Some(ready) = own.as_ref().filter(|ready| self.provider.is_current(&ready.wrapped)) {
            return Ok(ready.clone());
        }
        let key = self.random_key();
        let wrapped = self.provider.wrap(CONTEXT, &key).await?;
        let made = RecordKey { key: Arc::new(key), wrapped: Arc::new(wrapped) };
        self.remember(&made.wrapped, made.key.clone());
        *own = Some(made.clone());
        Ok(made)
    }

    async fn open_envelope(&self, session: &str, field: &str, envelope: &str) -> Result<String> {
        let damaged = || crypto("is damaged");
        let envelope = STANDARD_NO_PAD.decode(envelope).map_err(|_| damaged())?;
        let (length, rest) = envelope.split_first_chunk().ok_or_else(damaged)?;
        let length = u16::from_le_bytes(*length).into();
        let (wrapped, value) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let key = self.record_key(wrapped).await?;
        let text = sealed::open(&key, &place(session, field), value).map_err(crypto)?;
        Ok(std::str::from_utf8(&text).map_err(|_| damaged())?.to_owned())
    }

    async fn record_key(&self, wrapped: &[u8]) -> Result<Arc<Key>> {
        if let Some(key) = self.met().get(wrapped) {
            return Ok(key.clone());
        }
        let key: Arc<Key> = Arc::new(Zeroizing::new(*self.provider.unwrap(CONTEXT, wrapped).await?));
        self.remember(wrapped, key.clone());
        Ok(key)
    }

    fn remember(&self, wrapped: &[u8], key: Arc<Key>) {
        let mut met = self.met();
        if met.len() >= MOST_OTHERS {
            met.clear();
        }
        met.insert(wrapped.to_vec(), key);
    }

    fn met(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Arc<Key>>> {
        self.record_keys.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::testing::ManualClock;
    use crate::vault::{KeyProvider, KeyRing};

    const QR: &str = "2@abc,def";

    struct CountingKms {
        ring: KeyRing,
        calls: AtomicUsize,
    }

    #[async_trait]
    impl KeyProvider for CountingKms {
        async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.ring.wrap(context, data_key).await
        }

        async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Key> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.ring.unwrap(context, wrapped).await
        }

        fn is_current(&self, wrapped: &[u8]) -> bool {
            self.ring.is_current(wrapped)
        }
    }

    fn kms() -> Arc<CountingKms> {
        let ring = KeyRing::parse(&format!("a:{}=", "A".repeat(43))).unwrap();
        Arc::new(CountingKms { ring, calls: AtomicUsize::new(0) })
    }

    fn vault(kms: &Arc<CountingKms>) -> Vault {
        // Not the manual clock: two vaults that play two processes must not draw the same keys.
        Vault::encrypted(kms.clone(), crate::clock::SystemClock::shared())
    }

    #[tokio::test]
    async fn a_text_opens_in_another_process_and_the_provider_is_asked_once_in_each() {
        let (kms, mut texts) = (kms(), Vec::new());
        let (writer, reader) = (vault(&kms), vault(&kms));
        for _ in 0..10 {
            texts.push(writer.seal_text("ventas", "qrCode", QR).await.unwrap());
        }
        assert_eq!(kms.calls.load(Ordering::Relaxed), 1);
        for text in &texts {
            assert!(!text.contains("abc"));
            assert_eq!(reader.open_text("ventas", "qrCode", Some(text)).await.unwrap().unwrap(), QR);
            assert_eq!(writer.open_text("ventas", "qrCode", Some(text)).await.unwrap().unwrap(), QR);
        }
        assert_eq!(kms.calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn moved_changed_and_foreign_texts_do_not_open() {
        let vault = vault(&kms());
        let text = vault.seal_text("ventas", "qrCode", QR).await.unwrap();
        let cut = &text[..text.len() - 4];
        for (session, field, text) in [
            ("soporte", "qrCode", text.as_str()),
            ("ventas", "name", &text),
            ("ventas", "qrCode", cut),
            ("ventas", "qrCode", PREFIX),
            ("ventas", "qrCode", "2@plain"),
        ] {
            let error = vault.open_text(session, field, Some(text)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Crypto);
        }
        assert_eq!(vault.open_text("ventas", "qrCode", None).await.unwrap(), None);
    }

    #[tokio::test]
    async fn without_encryption_texts_are_as_they_are_and_sealed_ones_are_refused() {
        let off = Vault::plaintext_dangerously();
        assert_eq!(off.seal_text("ventas", "qrCode", QR).await.unwrap(), QR);
        assert_eq!(off.open_text("ventas", "qrCode", Some(QR)).await.unwrap().unwrap(), QR);
        let ring = Arc::new(KeyRing::generate("a", ManualClock::new().shared()).unwrap());
        let on = Vault::encrypted(ring, ManualClock::new().shared());
        let sealed = on.seal_text("ventas", "qrCode", QR).await.unwrap();
        let error = off.open_text("ventas", "qrCode", Some(&sealed)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Crypto);
    }
}
