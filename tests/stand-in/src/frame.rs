//! From WebSocket bytes to frames: an optional routing prefix, `WA 06 03`, then length-prefixed frames.

use bytes::BytesMut;
use wacore_binary::consts::WA_CONN_HEADER;

/// Larger than anything a client has reason to send.
const LARGEST_HEADER: usize = 7 + 4096;

/// What the first bytes of a client were no start of.
#[derive(Debug, thiserror::Error)]
#[error("the client does not begin with WA 06 03")]
pub(crate) struct BadPrologue;

/// Collects bytes and gives whole frames; frames and WebSocket messages need not coincide.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
    begun: bool,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<BytesMut>, BadPrologue> {
        if !self.begun && !self.take_prologue()? {
            return Ok(None);
        }
        let Some(header) = self.buffer.get(..3) else {
            return Ok(None);
        };
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if self.buffer.len() < 3 + length {
            return Ok(None);
        }
        let _header = self.buffer.split_to(3);
        let frame = self.buffer.split_to(length);
        if self.buffer.is_empty() {
            // An idle connection keeps no buffer: thousands of them share this process.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    fn take_prologue(&mut self) -> Result<bool, BadPrologue> {
        let mut start = 0;
        if self.buffer.starts_with(b"ED") {
            let Some(header) = self.buffer.get(..7) else {
                return Ok(false);
            };
            start = 7 + (usize::from(header[4]) << 16 | usize::from(header[5]) << 8 | usize::from(header[6]));
            if start > LARGEST_HEADER {
                return Err(BadPrologue);
            }
        }
        let Some(magic) = self.buffer.get(start..start + 4) else {
            let begins = start > 0
                || self.buffer.is_empty()
                || WA_CONN_HEADER.starts_with(&self.buffer)
                || self.buffer.starts_with(b"E");
            return if begins { Ok(false) } else { Err(BadPrologue) };
        };
        if magic != WA_CONN_HEADER {
            return Err(BadPrologue);
        }
        let _prologue = self.buffer.split_to(start + 4);
        self.begun = true;
        Ok(true)
    }
}

/// The 3-byte length in front of a payload.
pub(crate) fn header(length: usize) -> [u8; 3] {
    [(length >> 16) as u8, (length >> 8) as u8, length as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_be_split_and_joined() {
        let mut frames = Frames::default();
        frames.push(b"WA");
        assert!(frames.next().expect("so far good").is_none());
        frames.push(&[6, 3, 0, 0, 2, 7, 8, 0, 0, 1, 9, 0]);
        assert_eq!(&frames.next().expect("ok").expect("first")[..], [7, 8]);
        assert_eq!(&frames.next().expect("ok").expect("second")[..], [9]);
        assert!(frames.next().expect("ok").is_none());
        frames.push(&[0, 1, 5]);
        assert_eq!(&frames.next().expect("ok").expect("third")[..], [5]);
    }

    #[test]
    fn routing_info_may_come_first() {
        let mut frames = Frames::default();
        frames.push(b"ED\x00\x01\x00\x00\x02xyWA\x06\x03\x00\x00\x01a");
        assert_eq!(&frames.next().expect("ok").expect("frame")[..], b"a");
    }

    #[test]
    fn anything_else_is_refused() {
        let mut frames = Frames::default();
        frames.push(b"GET / HTTP/1.1");
        assert!(frames.next().is_err());
    }
}
