//! stub
#[async_trait::async_trait]
pub trait MemoryProbe: Send + Sync {
    async fn memory_bytes(&self, session: &str) -> Option<u64>;
}
