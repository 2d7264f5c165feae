//! Fields of JSON in which bytes are `{"type": "Buffer", "data": …}`, base64 or numbers, as Baileys' `BufferJSON` and
//! JavaScript itself write them. Errors name fields, never their values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};

use crate::error::{Error, ErrorKind, Result};

/// How libsignal marks a public key in front of its 32 bytes.
const PUBLIC_KEY_TYPE: u8 = 5;

/// The error of a value that is not what it should be.
pub(super) fn malformed(kind: &str, field: &str, wanted: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "{field} of a value of type {kind} that Baileys stored is not {wanted}; link the session anew"
        ),
    )
}

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    kind: &'a str,
    name: &'a str,
    value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn new(kind: &'a str, value: &'a Value) -> Self {
        Self { kind, name: "the value", value }
    }

    pub(super) fn wrong(&self, wanted: &str) -> Error {
        malformed(self.kind, self.name, wanted)
    }

    /// A field that may be absent or null.
    pub(super) fn optional(&self, name: &'a str) -> Option<Field<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Field { name, value, ..*self })
    }

    pub(super) fn field(&self, name: &'a str) -> Result<Field<'a>> {
        self.optional(name).ok_or_else(|| malformed(self.kind, name, "there"))
    }

    /// The fields of an object, each under its name.
    pub(super) fn entries(&self) -> Result<impl Iterator<Item = (&'a str, Field<'a>)> + use<'a>> {
        let Value::Object(fields) = self.value else { return Err(self.wrong("an object")) };
        let outer = *self;
        Ok(fields.iter().map(move |(name, value)| (name.as_str(), Field { value, ..outer })))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Field<'a>> + use<'a>> {
        let Value::Array(items) = self.value else { return Err(self.wrong("a list")) };
        let outer = *self;
        Ok(items.iter().map(move |value| Field { value, ..outer }))
    }

    pub(super) fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// A whole number; JavaScript's may come as `3.0`, Long's as text or as two halves.
    pub(super) fn integer(&self) -> Result<i64> {
        let whole = match self.value {
            Value::Number(number) => number.as_i64().or_else(|| {
                let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < MAX_SAFE)?;
                Some(float as i64)
            }),
            Value::String(text) => text.parse().ok(),
            Value::Object(_) => {
                let half = |name| self.value.get(name).and_then(Value::as_i64);
                half("high").zip(half("low")).map(|(high, low)| (high << 32) | (low & 0xffff_ffff))
            }
            _ => None,
        };
        whole.ok_or_else(|| self.wrong("a whole number"))
    }

    pub(super) fn u32(&self) -> Result<u32> {
        u32::try_from(self.integer()?).map_err(|_| self.wrong("a number of 32 bits"))
    }

    /// Bytes in any of the forms; plain text is base64.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let bytes = match self.value {
            Value::String(text) => STANDARD.decode(text).ok(),
            Value::Array(items) => numbers(items.iter()),
            Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "Buffer") => {
                match fields.get("data") {
                    Some(Value::String(text)) => STANDARD.decode(text).ok(),
                    Some(Value::Array(items)) => numbers(items.iter()),
                    _ => None,
                }
            }
            // A `Uint8Array` that JavaScript wrote: `{"0": 5, "1": 17}`, whose order is that of the numbers.
            Value::Object(fields) => (0..fields.len())
                .map(|index| fields.get(&index.to_string()))
                .collect::<Option<Vec<_>>>()
                .and_then(|items| numbers(items.into_iter())),
            _ => None,
        };
        bytes.ok_or_else(|| self.wrong("bytes"))
    }

    pub(super) fn exactly<const N: usize>(&self) -> Result<[u8; N]> {
        self.bytes()?.try_into().map_err(|_| self.wrong(&format!("{N} bytes long")))
    }

    /// A public key: 32 bytes, with or without the type in front.
    pub(super) fn public_key(&self) -> Result<[u8; 32]> {
        let bytes = self.bytes()?;
        let key = match bytes.split_first() {
            Some((&PUBLIC_KEY_TYPE, key)) if key.len() == 32 => key,
            _ => &bytes,
        };
        key.try_into().map_err(|_| self.wrong("a public key"))
    }

    /// `{public, private}`.
    pub(super) fn key_pair(&self) -> Result<KeyPair> {
        let public = PublicKey::from_djb_public_key_bytes(&self.field("public")?.public_key()?);
        let private = PrivateKey::deserialize(&self.field("private")?.exactly::<32>()?);
        match (public, private) {
            (Ok(public), Ok(private)) => Ok(KeyPair::new(public, private)),
            _ => Err(self.wrong("an X25519 key pair")),
        }
    }
}

/// Above it JavaScript's numbers have gaps.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

fn numbers<'a>(items: impl Iterator<Item = &'a Value>) -> Option<Vec<u8>> {
    items.map(|item| item.as_u64().and_then(|number| u8::try_from(number).ok())).collect()
}
