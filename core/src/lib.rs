//! WhatsApp sessions by the thousand.
