//! Checks tokens: one algorithm, a signature, an expiry.

use std::collections::HashSet;
use std::sync::Arc;

use centralita::{Error, ErrorKind, Result};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use super::guard::Caller;
use super::scope::{Scope, Scopes};
use crate::config::{JwtAlgorithm, Options};

/// The shortest secret that is taken: shorter ones are guessed offline.
const MIN_SECRET_BYTES: usize = 16;
/// What HS256 deserves.
const GOOD_SECRET_BYTES: usize = 32;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Who it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub(crate) exp: u64,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    /// Words separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// The only sessions that it is for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<Vec<String>>,
}

/// Checks tokens.
pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    default_scopes: Scopes,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

impl Verifier {
    /// The verifier that the options ask for. `Invalid` says what is missing.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let (algorithm, key) = match options.jwt_algorithm {
            JwtAlgorithm::Hs256 => (Algorithm::HS256, DecodingKey::from_secret(secret(options)?)),
            JwtAlgorithm::Rs256 => {
                (Algorithm::RS256, DecodingKey::from_rsa_pem(&public_key(options)?).map_err(not_a_key)?)
            }
            JwtAlgorithm::EdDsa => {
                (Algorithm::EdDSA, DecodingKey::from_ed_pem(&public_key(options)?).map_err(not_a_key)?)
            }
        };
        // `Validation::new` pins the algorithm and requires `exp`.
        let mut validation = Validation::new(algorithm);
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.leeway = 5;
        for word in &options.jwt_default_scopes {
            word.parse::<Scope>().map_err(|error| error.during("CENTRALITA_JWT_DEFAULT_SCOPES"))?;
        }
        let default_scopes = Scopes::from_words(options.jwt_default_scopes.iter().map(String::as_str));
        Ok(Self { key, validation, default_scopes })
    }

    /// Who sent this token; `None` if it is not valid. Why is for the log, not for whoever tries.
    pub(crate) fn verify(&self, token: &str) -> Option<Caller> {
        let claims = match jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation) {
            Ok(data) => data.claims,
            Err(error) => {
                tracing::debug!(kind = ?error.kind(), "refused a token");
                return None;
            }
        };
        let scopes = match &claims.scope {
            Some(scope) => Scopes::from_words(scope.split_whitespace()),
            None => self.default_scopes,
        };
        let sessions = claims.sessions.map(|list| Arc::new(list.into_iter().collect::<HashSet<_>>()));
        Some(Caller { scopes, sessions, expires_at_s: claims.exp, key: Caller::key_of(token) })
    }
}

/// The secret of HS256, checked.
pub(super) fn secret(options: &Options) -> Result<&[u8]> {
    let secret = options.jwt_secret.as_deref().unwrap_or_default().as_bytes();
    if secret.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "JWT_SECRET is not set and there is no default; set it to 32 random bytes or more (openssl rand -base64 32)",
        ));
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(Error::new(
            ErrorKind::Invalid,
            "JWT_SECRET is shorter than 16 bytes and can be guessed; take 32 random bytes (openssl rand -base64 32)",
        ));
    }
    if secret.len() < GOOD_SECRET_BYTES {
        tracing::warn!("JWT_SECRET is shorter than the 32 bytes that HS256 deserves");
    }
    Ok(secret)
}

fn public_key(options: &Options) -> Result<Vec<u8>> {
    let Some(file) = &options.jwt_public_key_file else {
        return Err(Error::new(
            ErrorKind::Invalid,
            "CENTRALITA_JWT_PUBLIC_KEY_FILE is not set; RS256 and EdDSA need the public key",
        ));
    };
    std::fs::read(file).map_err(|error| {
        Error::new(ErrorKind::Invalid, "cannot read CENTRALITA_JWT_PUBLIC_KEY_FILE").caused_by(error)
    })
}

fn not_a_key(error: jsonwebtoken::errors::Error) -> Error {
    Error::new(
        ErrorKind::Invalid,
        "CENTRALITA_JWT_PUBLIC_KEY_FILE holds no public key in PEM for this algorithm",
    )
    .caused_by(error)
}
