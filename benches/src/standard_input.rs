//! Standard input, line by line, read by a thread of its own: a runtime's shutdown would wait for a read in it.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The lines as they come; the channel closes with the input.
pub(crate) fn lines() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
