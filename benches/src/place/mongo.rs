//! A MongoDB database, read directly, past the proxy.

use std::net::SocketAddr;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};

use super::{AuthRow, LeaseRow, MessageRow, SessionRow};
use crate::Result;

#[derive(Debug)]
pub(super) struct Database {
    server: String,
    user: String,
    options: String,
    db: mongodb::Database,
}

impl Database {
    /// A database of a name of its own on the server.
    pub(super) async fn new(uri: &str) -> Result<Self> {
        let options = ClientOptions::parse(uri).await?;
        let [ServerAddress::Tcp { host, port }] = options.hosts.as_slice() else {
            return Err("name one server: the proxy that counts commands stands before it".into());
        };
        if options.tls.is_some() {
            return Err("the proxy that counts commands cannot read TLS; name a server without it".into());
        }
        let server = format!("{host}:{}", port.unwrap_or(27017));
        let rest = uri.trim_start_matches("mongodb://");
        let (authority, query) = match rest.split_once('?') {
            Some((before, query)) => (before, query),
            None => (rest, ""),
        };
        let user = match authority.rsplit_once('@') {
            Some((user, _)) => format!("{user}@"),
            None => String::new(),
        };
        let mut parts: Vec<&str> = query
            .split('&')
            .filter(|part| !part.is_empty() && !part.starts_with("directConnection"))
            .collect();
        // A replica set would send the driver to its members, past the proxy.
        parts.push("directConnection=true");
        if !user.is_empty() && !query.contains("authSource") {
            parts.push("authSource=admin");
        }
        let name = format!("bench_{}_{:08x}", std::process::id(), rand::random::<u32>());
        let db = mongodb::Client::with_options(options)?.database(&name);
        Ok(Self { server, user, options: parts.join("&"), db })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn uri_through(&self, proxy: SocketAddr) -> String {
        format!("mongodb://{}{proxy}/{}?{}", self.user, self.db.name(), self.options)
    }

    async fn all<T>(
        &self,
        collection: &str,
        fields: Document,
        read: impl Fn(&Document) -> T,
    ) -> Result<Vec<T>> {
        let found = self.db.collection::<Document>(collection).find(doc! {}).projection(fields).await?;
        Ok(found.map_ok(|document| read(&document)).try_collect().await?)
    }

    pub(super) async fn messages(&self) -> Result<Vec<MessageRow>> {
        let fields = doc! { "sessionId": 1, "messageId": 1, "direction": 1, "content": 1 };
        self.all("messages", fields, |message| MessageRow {
            session: text(message, "sessionId"),
            message_id: text(message, "messageId"),
            outgoing: text(message, "direction") == "out",
            text: message.get_document("content").ok().map(|content| text(content, "text")),
        })
        .await
    }

    pub(super) async fn sessions(&self) -> Result<Vec<SessionRow>> {
        let fields = doc! {
            "sessionId": 1, "messagesReceived": 1, "messagesSent": 1, "isConnected": 1, "status": 1,
        };
        self.all("sessions", fields, |session| SessionRow {
            session: text(session, "sessionId"),
            received: number(session, "messagesReceived").unsigned_abs(),
            sent: number(session, "messagesSent").unsigned_abs(),
            connected: session.get_bool("isConnected").unwrap_or(false),
            status: text(session, "status"),
        })
        .await
    }

    pub(super) async fn auth(&self) -> Result<Vec<AuthRow>> {
        let fields = doc! { "sessionId": 1, "type": 1, "id": 1, "generation": 1 };
        let row = |key: String, of: &Document| AuthRow {
            session: text(of, "sessionId"),
            key,
            generation: number(of, "generation"),
        };
        let mut rows = self
            .all("authkeys", fields.clone(), |key| {
                row(format!("{}/{}", text(key, "type"), text(key, "id")), key)
            })
            .await?;
        rows.extend(self.all("authstates", fields, |state| row("creds".to_owned(), state)).await?);
        Ok(rows)
    }

    pub(super) async fn leases(&self) -> Result<Vec<LeaseRow>> {
        let fields = doc! { "sessionId": 1, "owner": 1, "generation": 1, "fence": 1 };
        self.all("leases", fields, |lease| LeaseRow {
            session: text(lease, "sessionId"),
            owner: text(lease, "owner"),
            generation: number(lease, "generation"),
            fence: number(lease, "fence"),
        })
        .await
    }

    pub(super) async fn remove(self) -> Result<()> {
        Ok(self.db.drop().await?)
    }
}

fn text(document: &Document, field: &str) -> String {
    document.get_str(field).unwrap_or_default().to_owned()
}

fn number(document: &Document, field: &str) -> i64 {
    match document.get(field) {
        Some(Bson::Int32(value)) => i64::from(*value),
        Some(Bson::Int64(value)) => *value,
        Some(Bson::Double(value)) => *value as i64,
        _ => 0,
    }
}
