//! `centralita-server token`: mints tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use centralita::{Error, ErrorKind, Result};
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::scope::Scope;
use super::verifier::{Claims, secret};
use crate::config::{JwtAlgorithm, Options};

/// What a token shall say.
#[derive(Debug, Clone, Args)]
pub struct Mint {
    /// What it allows: read, send, admin
    #[arg(long, value_delimiter = ',', default_value = "read")]
    pub scope: Vec<String>,
    /// The only sessions that it is for [default: all]
    #[arg(long, value_delimiter = ',')]
    pub sessions: Vec<String>,
    /// Whom it is for
    #[arg(long)]
    pub subject: Option<String>,
    /// Hours until it ends
    #[arg(long, default_value_t = 24)]
    pub hours: u64,
}

/// A token signed with `JWT_SECRET`. `Invalid` for another algorithm than HS256: its private key is elsewhere.
pub fn mint(options: &Options, request: &Mint) -> Result<String> {
    if options.jwt_algorithm != JwtAlgorithm::Hs256 {
        return Err(Error::new(
            ErrorKind::Invalid,
            "tokens of this algorithm are minted where its private key is; this server only has the public key",
        ));
    }
    if request.hours == 0 {
        return Err(Error::new(ErrorKind::Invalid, "--hours must be at least 1"));
    }
    for scope in &request.scope {
        scope.parse::<Scope>()?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        sub: request.subject.clone(),
        exp: now.saturating_add(request.hours.saturating_mul(3_600)),
        iat: Some(now),
        scope: Some(request.scope.join(" ")),
        sessions: (!request.sessions.is_empty()).then(|| request.sessions.clone()),
    };
    let key = EncodingKey::from_secret(secret(options)?);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| Error::new(ErrorKind::Internal, "the token could not be signed").caused_by(error))
}
