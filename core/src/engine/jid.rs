//! Chats as people name them, and their JIDs.

use whatsapp_rust::Jid;
use whatsapp_rust::wacore_binary::JidExt;

use crate::error::{Error, ErrorKind, Result};

/// Parses the JID of a chat.
pub(super) fn parse_jid(jid: &str) -> Result<Jid> {
    jid.parse().map_err(|_| not_a_chat())
}

/// The JID of a chat from what users write.
pub(crate) fn chat_id(to: &str) -> Result<String> {
    let to = to.trim();
    if to.contains('@') {
        let jid = parse_jid(to)?;
        let known = jid.is_pn() || jid.is_lid() || jid.is_group();
        return if known && !jid.user.is_empty() { Ok(jid.to_non_ad_string()) } else { Err(not_a_chat()) };
    }
    let digits: String = to.chars().filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')' | '.')).collect();
    if (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(format!("{digits}@s.whatsapp.net"))
    } else {
        Err(not_a_chat())
    }
}

fn not_a_chat() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "not a chat; use a phone number of 5 to 15 digits in international form, or a JID ending in @s.whatsapp.net, @lid or @g.us",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them_and_jids_become_chats() {
        for to in [
            "5491155550000",
            "+54 9 11 5555-0000",
            "(54) 911.5555.0000",
            "5491155550000@s.whatsapp.net",
            "5491155550000:7@s.whatsapp.net",
        ] {
            assert_eq!(chat_id(to).unwrap(), "5491155550000@s.whatsapp.net", "{to}");
        }
        assert_eq!(chat_id("120363021033254949@g.us").unwrap(), "120363021033254949@g.us");
        assert_eq!(chat_id("100000012345678@lid").unwrap(), "100000012345678@lid");
    }

    #[test]
    fn anything_else_is_refused() {
        for to in [
            "",
            "   ",
            "123",
            "1234567890123456",
            "hola",
            "@s.whatsapp.net",
            "x@example.com",
            "status@broadcast",
            "54\u{0}911",
            "１２３４５６７８",
        ] {
            assert_eq!(chat_id(to).unwrap_err().kind(), ErrorKind::Invalid, "{to:?}");
        }
    }
}
