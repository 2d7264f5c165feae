//! A key provider written in Python: its coroutines run on the loop that the service was started on.

use async_trait::async_trait;
use centralita::vault::{KeyProvider, Zeroizing};
use centralita::{Error, ErrorKind, Result};
use pyo3::IntoPyObjectExt;

use crate::callback::{Callback, Failure};

/// Asks with `(method, context, data, reply)`.
pub(crate) struct PythonKeyProvider(pub(crate) Callback);

impl PythonKeyProvider {
    async fn ask(&self, method: &'static str, context: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let (context, data) = (context.to_vec(), data.to_vec());
        let answer = self.0.ask(move |py, reply| (method, context, data, reply).into_py_any(py)).await;
        answer.map_err(|failure| match failure {
            Failure::Raised { exception, away: true, .. } => {
                Error::new(ErrorKind::Unavailable, "the key provider cannot be reached").caused_by(exception)
            }
            Failure::Raised { exception, .. } => {
                Error::new(ErrorKind::Crypto, "the key provider refused").caused_by(exception)
            }
            Failure::Unanswered => Error::new(
                ErrorKind::Unavailable,
                "the key provider gave no answer; is the event loop that the service was started on running?",
            ),
        })
    }
}

#[async_trait]
impl KeyProvider for PythonKeyProvider {
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>> {
        self.ask("wrap", context, data_key).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let opened = Zeroizing::new(self.ask("unwrap", context, wrapped).await?);
        let mut data_key = Zeroizing::new([0; 32]);
        if opened.len() != data_key.len() {
            let message = "the key provider unwrapped a data key that has not 32 bytes";
            return Err(Error::new(ErrorKind::Crypto, message));
        }
        data_key.copy_from_slice(&opened);
        Ok(data_key)
    }

    /// A service that keeps keys rotates them itself.
    fn is_current(&self, _wrapped: &[u8]) -> bool {
        true
    }
}
