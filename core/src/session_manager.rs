//! stub
use crate::Result;
use crate::session::status::*;
use crate::store::*;
use std::sync::Arc;
#[derive(Clone)]
pub struct SessionManager;
#[derive(Default)]
pub struct SessionData;
#[derive(Clone, Default)]
pub struct StatusUpdate {
    pub detail: Option<Option<StatusDetail>>,
}
impl StatusUpdate {
    pub fn detail(_: StatusDetail) -> Self {
        todo!()
    }
    pub fn starting() -> Self {
        todo!()
    }
    pub fn stopped() -> Self {
        todo!()
    }
    pub fn connected() -> Self {
        todo!()
    }
    pub fn code(_: &str, _: Option<StatusDetail>) -> Self {
        todo!()
    }
    pub fn because(self, _: String) -> Self {
        self
    }
    pub fn without_code(self) -> Self {
        self
    }
    pub fn failed_attempt(self) -> Self {
        self
    }
    pub fn named(self, _: String, _: Option<String>) -> Self {
        self
    }
    pub fn client(self, _: String, _: String) -> Self {
        self
    }
}
impl SessionManager {
    pub fn new(_: Arc<dyn Store>, _: crate::vault::Vault, _: crate::clock::SharedClock) -> Self {
        todo!()
    }
    pub async fn apply_status(&self, _: &str, _: StatusEvent, _: StatusUpdate) -> Result<SessionRecord> {
        todo!()
    }
    pub async fn get_session(&self, _: &str) -> Result<SessionRecord> {
        todo!()
    }
    pub async fn create_or_update_session(&self, _: &str, _: SessionData) -> Result<SessionRecord> {
        todo!()
    }
    pub async fn delete_session(&self, _: &str, _: Option<Tenure>) -> Result<()> {
        todo!()
    }
}
