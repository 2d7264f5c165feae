//! How the texts of options are read.

use std::time::Duration;

use centralita::service::options::PreloadChatsType;
use centralita::session::Rate;

use crate::error::{Outcome, invalid};

pub(super) fn flag(value: &str) -> Outcome<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid("use true or false")),
    }
}

pub(super) fn number<T: std::str::FromStr>(value: &str) -> Outcome<T> {
    value.parse().map_err(|_| invalid("use a whole number in digits, not larger than fits"))
}

pub(super) fn at_most(value: &str, most: usize) -> Outcome<usize> {
    let number = number(value)?;
    if number > most {
        return Err(invalid(format!("at most {most}")));
    }
    Ok(number)
}

pub(super) fn milliseconds(value: &str) -> Outcome<Duration> {
    number(value).map(Duration::from_millis)
}

pub(super) fn or_never(value: &str) -> Outcome<Option<Duration>> {
    if value == "never" { Ok(None) } else { milliseconds(value).map(Some) }
}

/// `60/10`: 60 a minute, 10 at once.
pub(super) fn rate(value: &str) -> Outcome<Rate> {
    let (per_minute, burst) = value.split_once('/').unwrap_or((value, "1"));
    Ok(Rate::per_minute(number(per_minute)?).burst(number(burst)?))
}

pub(super) fn chats(value: &str) -> Outcome<PreloadChatsType> {
    match value {
        "all" => Ok(PreloadChatsType::All),
        "contacts" => Ok(PreloadChatsType::Contacts),
        "groups" => Ok(PreloadChatsType::Groups),
        "none" => Ok(PreloadChatsType::None),
        _ => Err(invalid("use all, contacts, groups or none")),
    }
}

pub(super) fn version(value: &str) -> Outcome<(u32, u32, u32)> {
    let parts: Vec<u32> = value.split('.').map(number).collect::<Outcome<_>>()?;
    let [major, minor, patch] = parts[..] else { return Err(invalid("use three numbers with dots")) };
    Ok((major, minor, patch))
}
