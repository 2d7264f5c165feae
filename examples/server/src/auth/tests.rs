use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::one_time::OneTimeCode;
use super::token::{Mint, mint};
use super::verifier::Claims;
use super::{Scope, Verifier};
use crate::config::{Cli, Options};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const LATE: u64 = 4_000_000_000;

fn options(arguments: &[&str]) -> Options {
    let all = ["centralita-server", "--jwt-secret", SECRET];
    Cli::try_parse_from(all.iter().chain(arguments)).unwrap().options
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &impl serde::Serialize) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn claims(exp: u64, scope: Option<&str>) -> Claims {
    Claims { sub: None, exp, iat: None, scope: scope.map(str::to_owned), sessions: None }
}

#[test]
fn what_is_minted_is_accepted_with_its_scopes_and_sessions() {
    let options = options(&[]);
    let request = Mint {
        scope: vec!["read".into(), "send".into()],
        sessions: vec!["ventas".into()],
        subject: Some("crm".into()),
        hours: 1,
    };
    let caller = Verifier::new(&options).unwrap().verify(&mint(&options, &request).unwrap()).unwrap();
    assert!(caller.may(Scope::Read) && caller.may(Scope::Send) && !caller.may(Scope::Admin));
    assert!(caller.sees("ventas") && !caller.sees("soporte"));
    let wrong = Mint { scope: vec!["root".into()], ..request };
    assert!(mint(&options, &wrong).is_err());
}

#[test]
fn anything_else_is_refused() {
    let verifier = Verifier::new(&options(&[])).unwrap();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = sign(Algorithm::HS256, &key, &claims(LATE, Some("admin")));
    assert!(verifier.verify(&good).is_some());
    let other_key = EncodingKey::from_secret(b"another secret of a good length!");
    let no_expiry = serde_json::json!({ "scope": "admin" });
    // {"alg":"none"}.{"exp":4000000000,"scope":"admin"}.
    let unsigned = "eyJhbGciOiJub25lIn0.eyJleHAiOjQwMDAwMDAwMDAsInNjb3BlIjoiYWRtaW4ifQ.";
    for (what, token) in [
        ("another key", sign(Algorithm::HS256, &other_key, &claims(LATE, Some("admin")))),
        ("another algorithm", sign(Algorithm::HS384, &key, &claims(LATE, Some("admin")))),
        ("expired", sign(Algorithm::HS256, &key, &claims(1_000, Some("admin")))),
        ("no expiry", sign(Algorithm::HS256, &key, &no_expiry)),
        ("unsigned", unsigned.to_owned()),
        ("cut", good[..good.len() - 2].to_owned()),
        ("empty", String::new()),
    ] {
        assert!(verifier.verify(&token).is_none(), "{what}");
    }
}

#[test]
fn a_token_without_scopes_allows_nothing_unless_told() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = sign(Algorithm::HS256, &key, &claims(LATE, None));
    let caller = Verifier::new(&options(&[])).unwrap().verify(&token).unwrap();
    assert!(!caller.may(Scope::Read));
    let told = options(&["--jwt-default-scopes", "read,send"]);
    let caller = Verifier::new(&told).unwrap().verify(&token).unwrap();
    assert!(caller.may(Scope::Send) && !caller.may(Scope::Admin));
    assert!(Verifier::new(&options(&["--jwt-default-scopes", "all"])).is_err());
}

#[test]
fn tokens_by_public_key() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("key.pem");
    // Of RFC 8410, section 10.
    std::fs::write(
        &pem,
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let file = pem.to_str().unwrap();
    let verifier =
        Verifier::new(&options(&["--jwt-algorithm", "EdDSA", "--jwt-public-key-file", file])).unwrap();
    let key = EncodingKey::from_ed_pem(private.as_bytes()).unwrap();
    assert!(verifier.verify(&sign(Algorithm::EdDSA, &key, &claims(LATE, Some("read")))).is_some());
    // The public key is no secret: a token signed with it by HMAC must not pass.
    let hmac = EncodingKey::from_secret(&std::fs::read(&pem).unwrap());
    assert!(verifier.verify(&sign(Algorithm::HS256, &hmac, &claims(LATE, Some("admin")))).is_none());
    assert!(Verifier::new(&options(&["--jwt-algorithm", "RS256", "--jwt-public-key-file", file])).is_err());
    assert!(Verifier::new(&options(&["--jwt-algorithm", "RS256"])).is_err());
}

#[test]
fn a_one_time_code_works_once() {
    let code = OneTimeCode::default();
    code.put("right", "token".into());
    assert_eq!(code.take("wrong"), None);
    assert_eq!(code.take("right").as_deref(), Some("token"));
    assert_eq!(code.take("right"), None);
}

#[test]
fn no_secret_no_start() {
    for secret in ["", "short"] {
        let mut options = options(&[]);
        options.jwt_secret = Some(secret.to_owned()).filter(|secret| !secret.is_empty());
        assert!(Verifier::new(&options).unwrap_err().message().contains("JWT_SECRET"));
    }
}
