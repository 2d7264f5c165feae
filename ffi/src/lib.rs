//! The C ABI of centralita.
