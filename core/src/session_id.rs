//! stub
pub struct SessionId(String);
impl SessionId {
    pub fn new(t: &str) -> crate::Result<Self> {
        Ok(Self(t.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
