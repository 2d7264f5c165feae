//! What a message says: from the engine's protobufs to our types, and back for sending.

use whatsapp_rust::Jid;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::proto_helpers::{MessageBuilderExt, MessageExt};
use whatsapp_rust::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::{MessageCategory, MessageInfo};
use whatsapp_rust::waproto::whatsapp as wa;

use crate::clock::Timestamp;
use crate::store::{Direction, MessageChange, MessageKey, MessageKind, MessageStatus, StoredMessage};

/// What an inbound message means for the store.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A message of its own.
    Message(Box<StoredMessage>),
    /// A change to an earlier one.
    Change(MessageKey, MessageChange),
    /// Between devices, or a key of a group: no business of the user's, and partly secret.
    Internal,
}

/// Reads one decrypted message. `own` is the account's own JID, without device.
pub(crate) fn read_inbound(inbound: &InboundMessage, own: &str) -> Inbound {
    let info = &inbound.info;
    if info.category == MessageCategory::Peer {
        return Inbound::Internal;
    }
    let chat_id = chat_of(info);
    let sender = if info.source.is_from_me { own.to_owned() } else { sender_of(info) };
    let timestamp = Timestamp::from_unix_ms(info.timestamp.timestamp_millis());
    let message = inbound.message.get_base_message();
    if let Some(protocol) = message.protocol_message.as_option() {
        return read_protocol(protocol, &chat_id, &sender, own, timestamp);
    }
    let Some(content) = read_content(message, &chat_id, own, &sender) else { return Inbound::Internal };
    let key = MessageKey { chat_id, sender, message_id: info.id.to_string() };
    let direction = if info.source.is_from_me { Direction::Out } else { Direction::In };
    let mut stored = StoredMessage::new(key, direction, timestamp, content);
    if info.source.is_from_me {
        // Written on the phone or another device: WhatsApp has it already.
        stored.status = MessageStatus::Sent;
    } else if !info.push_name.is_empty() {
        stored.sender_name = Some(info.push_name.clone());
    }
    Inbound::Message(Box::new(stored))
}

fn read_protocol(
    protocol: &wa::message::ProtocolMessage,
    chat_id: &str,
    sender: &str,
    own: &str,
    timestamp: Timestamp,
) -> Inbound {
    use wa::message::protocol_message::Type;
    let Some(target) = protocol.key.as_option() else { return Inbound::Internal };
    let Some(message_id) = target.id.clone() else { return Inbound::Internal };
    // An author edits and takes back his own; in a group an admin may take back another's, whom the key names.
    let author = match (&target.participant, target.from_me) {
        (Some(participant), _) => bare(participant),
        (None, _) => sender.to_owned(),
    };
    let key = MessageKey { chat_id: chat_id.to_owned(), sender: author, message_id };
    match protocol.r#type {
        Some(Type::REVOKE) => Inbound::Change(key, MessageChange::Revoked { at: timestamp }),
        Some(Type::MESSAGE_EDIT) => {
            let edited = protocol.edited_message.as_option().map(MessageExt::get_base_message);
            match edited.and_then(|message| read_content(message, chat_id, own, sender)) {
                Some(content) => {
                    let at =
                        protocol.timestamp_ms.filter(|ms| *ms > 0).map_or(timestamp, Timestamp::from_unix_ms);
                    Inbound::Change(key, MessageChange::Edited { content, at })
                }
                None => Inbound::Internal,
            }
        }
        _ => Inbound::Internal,
    }
}

/// The chat's JID: by phone number where both that and the LID are known, since users know numbers.
pub(crate) fn chat_of(info: &MessageInfo) -> String {
    let source = &info.source;
    if source.is_group || !source.chat.is_lid() {
        return source.chat.to_non_ad_string();
    }
    let alternative =
        if source.is_from_me { source.recipient_alt.as_ref() } else { source.sender_alt.as_ref() };
    alternative.filter(|jid| jid.is_pn()).unwrap_or(&source.chat).to_non_ad_string()
}

fn sender_of(info: &MessageInfo) -> String {
    let source = &info.source;
    let by_number = source.sender_alt.as_ref().filter(|jid| source.sender.is_lid() && jid.is_pn());
    by_number.unwrap_or(&source.sender).to_non_ad_string()
}

/// A JID without its device, or the text itself if it is none.
pub(crate) fn bare(jid: &str) -> String {
    jid.parse::<Jid>().map_or_else(|_| jid.to_owned(), |jid| jid.to_non_ad_string())
}

/// `None` for what is no content: a group key, a bare context.
pub(crate) fn read_content(
    message: &wa::Message,
    chat_id: &str,
    own: &str,
    author: &str,
) -> Option<MessageKind> {
    if let Some(reaction) = message.reaction_message.as_option() {
        let target = key_of(reaction.key.as_option()?, chat_id, own, author)?;
        return Some(MessageKind::Reaction { target, emoji: reaction.text.clone().unwrap_or_default() });
    }
    if let Some(text) = &message.conversation {
        return Some(MessageKind::Text { text: text.clone(), quoted: None });
    }
    if let Some(extended) = message.extended_text_message.as_option() {
        let quoted = extended.context_info.as_option().and_then(|context| quoted_key(context, chat_id));
        return Some(MessageKind::Text { text: extended.text.clone().unwrap_or_default(), quoted });
    }
    if let Some(media) = read_media(message) {
        return Some(media);
    }
    other_name(message).map(|name| MessageKind::Other { name: name.to_owned() })
}

fn read_media(message: &wa::Message) -> Option<MessageKind> {
    let media =
        |media: &str, caption: &Option<String>, mime_type: &Option<String>, size_bytes: Option<u64>| {
            Some(MessageKind::Media {
                media: media.to_owned(),
                caption: caption.clone(),
                mime_type: mime_type.clone(),
                size_bytes,
            })
        };
    if let Some(image) = message.image_message.as_option() {
        return media("image", &image.caption, &image.mimetype, image.file_length);
    }
    if let Some(video) = message.video_message.as_option() {
        return media("video", &video.caption, &video.mimetype, video.file_length);
    }
    if let Some(audio) = message.audio_message.as_option() {
        return media("audio", &None, &audio.mimetype, audio.file_length);
    }
    if let Some(document) = message.document_message.as_option() {
        return media("document", &document.caption, &document.mimetype, document.file_length);
    }
    if let Some(sticker) = message.sticker_message.as_option() {
        return media("sticker", &None, &sticker.mimetype, sticker.file_length);
    }
    None
}

/// Names what we do not take apart yet. A message that only carries keys has no name.
fn other_name(message: &wa::Message) -> Option<&'static str> {
    let named = [
        (message.contact_message.is_set(), "contact_message"),
        (message.contacts_array_message.is_set(), "contacts_array_message"),
        (message.location_message.is_set(), "location_message"),
        (message.live_location_message.is_set(), "live_location_message"),
        (message.poll_creation_message.is_set(), "poll_creation_message"),
        (message.poll_creation_message_v2.is_set(), "poll_creation_message"),
        (message.poll_creation_message_v3.is_set(), "poll_creation_message"),
        (message.poll_update_message.is_set(), "poll_update_message"),
        (message.list_message.is_set(), "list_message"),
        (message.list_response_message.is_set(), "list_response_message"),
        (message.buttons_message.is_set(), "buttons_message"),
        (message.buttons_response_message.is_set(), "buttons_response_message"),
        (message.template_message.is_set(), "template_message"),
        (message.interactive_message.is_set(), "interactive_message"),
        (message.interactive_response_message.is_set(), "interactive_response_message"),
        (message.group_invite_message.is_set(), "group_invite_message"),
        (message.product_message.is_set(), "product_message"),
        (message.order_message.is_set(), "order_message"),
        (message.pin_in_chat_message.is_set(), "pin_in_chat_message"),
        (message.keep_in_chat_message.is_set(), "keep_in_chat_message"),
        (message.event_message.is_set(), "event_message"),
        (message.album_message.is_set(), "album_message"),
        (message.ptv_message.is_set(), "ptv_message"),
    ];
    if let Some((_, name)) = named.into_iter().find(|(set, _)| *set) {
        return Some(name);
    }
    let only_keys = message.sender_key_distribution_message.is_set()
        || message.fast_ratchet_key_sender_key_distribution_message.is_set()
        || message == &wa::Message::default();
    (!only_keys).then_some("unknown")
}

fn quoted_key(context: &wa::ContextInfo, chat_id: &str) -> Option<MessageKey> {
    let message_id = context.stanza_id.clone()?;
    let chat_id = context.remote_jid.as_deref().map_or_else(|| chat_id.to_owned(), bare);
    let sender = context.participant.as_deref().map_or_else(|| chat_id.clone(), bare);
    Some(MessageKey { chat_id, sender, message_id })
}

fn key_of(key: &wa::MessageKey, chat_id: &str, own: &str, author: &str) -> Option<MessageKey> {
    let message_id = key.id.clone()?;
    // `from_me` is seen from the one who wrote the reaction.
    let sender = match (&key.participant, key.from_me) {
        (Some(participant), _) => bare(participant),
        (None, Some(true)) => author.to_owned(),
        (None, _) if author == own => chat_id.to_owned(),
        (None, _) => own.to_owned(),
    };
    Some(MessageKey { chat_id: chat_id.to_owned(), sender, message_id })
}

/// What goes out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outbound {
    /// Text, perhaps in answer to a message.
    Text { text: String, quoted: Option<(MessageKey, Option<String>)> },
    /// An emoji on a message, empty to take it back. `from_me`: the message is ours.
    Reaction { target: MessageKey, from_me: bool, emoji: String },
    /// New text for one of our messages.
    Edit { target: MessageKey, text: String },
    /// Takes a message back, ours or (as a group's admin) another's.
    Revoke { target: MessageKey, from_me: bool },
}

/// The protobuf to send.
pub(crate) fn write_content(outbound: &Outbound, sent_at_ms: i64) -> wa::Message {
    match outbound {
        Outbound::Text { text, quoted: None } => wa::Message::text(text),
        Outbound::Edit { target, text } => wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(wire_key(target, true)),
                r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
                edited_message: MessageField::some(wa::Message::text(text)),
                timestamp_ms: Some(sent_at_ms),
                ..Default::default()
            }),
            ..Default::default()
        },
        Outbound::Text { text, quoted: Some((key, quoted_text)) } => {
            let quoted = quoted_text.as_deref().map(wa::Message::text);
            let context = wa::ContextInfo {
                stanza_id: Some(key.message_id.clone()),
                participant: Some(key.sender.clone()),
                quoted_message: quoted.map(MessageField::some).unwrap_or_default(),
                ..Default::default()
            };
            wa::Message::text_with_context(text, context)
        }
        Outbound::Reaction { target, from_me, emoji } => wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: MessageField::some(wire_key(target, *from_me)),
                text: Some(emoji.clone()),
                sender_timestamp_ms: Some(sent_at_ms),
                ..Default::default()
            }),
            ..Default::default()
        },
        Outbound::Revoke { target, from_me } => wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(wire_key(target, *from_me)),
                r#type: Some(wa::message::protocol_message::Type::REVOKE),
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

fn wire_key(key: &MessageKey, from_me: bool) -> wa::MessageKey {
    let in_group = key.chat_id.ends_with("@g.us");
    wa::MessageKey {
        remote_jid: Some(key.chat_id.clone()),
        from_me: Some(from_me),
        id: Some(key.message_id.clone()),
        participant: (in_group && !from_me).then(|| key.sender.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "5491100000001@s.whatsapp.net";
    const PEER: &str = "5491100000002@s.whatsapp.net";

    fn key(sender: &str) -> MessageKey {
        MessageKey { chat_id: PEER.into(), sender: sender.into(), message_id: "3EB0AA".into() }
    }

    #[test]
    fn text_and_replies_come_back_as_they_went() {
        let plain = Outbound::Text { text: "hola".into(), quoted: None };
        assert_eq!(
            read_content(&write_content(&plain, 0), PEER, OWN, OWN),
            Some(MessageKind::Text { text: "hola".into(), quoted: None })
        );
        let reply = Outbound::Text { text: "sí".into(), quoted: Some((key(PEER), Some("¿hay?".into()))) };
        assert_eq!(
            read_content(&write_content(&reply, 0), PEER, OWN, OWN),
            Some(MessageKind::Text { text: "sí".into(), quoted: Some(key(PEER)) })
        );
    }

    #[test]
    fn a_reaction_names_the_author_of_its_target_whoever_reads_it() {
        let to_theirs =
            write_content(&Outbound::Reaction { target: key(PEER), from_me: false, emoji: "👍".into() }, 1);
        let to_ours =
            write_content(&Outbound::Reaction { target: key(OWN), from_me: true, emoji: "👍".into() }, 1);
        let author_of = |message: &wa::Message, chat: &str, reader: &str| match read_content(
            message, chat, reader, OWN,
        ) {
            Some(MessageKind::Reaction { target, .. }) => target.sender,
            other => panic!("not a reaction: {other:?}"),
        };
        // On another device of ours, and at the peer, for whom the chat is us.
        assert_eq!(author_of(&to_theirs, PEER, OWN), PEER);
        assert_eq!(author_of(&to_theirs, OWN, PEER), PEER);
        assert_eq!(author_of(&to_ours, PEER, OWN), OWN);
        assert_eq!(author_of(&to_ours, OWN, PEER), OWN);
    }

    #[test]
    fn a_message_that_only_carries_keys_is_no_content() {
        assert_eq!(read_content(&wa::Message::default(), PEER, OWN, PEER), None);
    }
}
