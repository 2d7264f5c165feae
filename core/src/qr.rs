//! stub
#[derive(Debug, Clone)]
pub struct QrCode {
    text: String,
}
impl QrCode {
    pub fn new(t: &str) -> Self {
        Self { text: t.to_owned() }
    }
    pub fn text(&self) -> &str {
        &self.text
    }
}
