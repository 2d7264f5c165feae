//! A WhatsApp server for tests.
