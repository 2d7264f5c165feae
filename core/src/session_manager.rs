//! stub
#![allow(missing_docs, missing_debug_implementations)]
use crate::store::*; use crate::session::status::*; use std::sync::Arc; use crate::Result; use crate::{Error,ErrorKind};
use crate::clock::SharedClock;
#[derive(Clone)] pub struct SessionManager { store: Arc<dyn Store>, clock: SharedClock }
impl std::fmt::Debug for SessionManager { fn fmt(&self, f:&mut std::fmt::Formatter<'_>)->std::fmt::Result{f.write_str("x")} }
#[derive(Default)] pub struct SessionData;
#[derive(Clone, Default)] pub struct StatusUpdate { pub detail: Option<Option<StatusDetail>>, p: SessionPatch }
impl StatusUpdate { pub fn detail(d:StatusDetail)->Self{Self{detail:Some(Some(d)),p:SessionPatch::default()}} 
pub fn starting()->Self{Self{detail:Some(None),..Default::default()}} pub fn stopped()->Self{Self{detail:Some(None),..Default::default()}.without_code()} pub fn connected()->Self{let mut s=Self::stopped(); s.p.connection_attempts=Some(session::Counter::Set(0)); s}
pub fn code(c:&str,d:Option<StatusDetail>)->Self{let mut s=Self{detail:Some(d),..Default::default()}; s.p.qr_code=Some(Some(format!("x{c}"))); s} pub fn because(mut self,r:String)->Self{self.p.last_disconnect_reason=Some(Some(r));self} pub fn without_code(mut self)->Self{self.p.qr_code=Some(None);self} pub fn failed_attempt(mut self)->Self{self.p.connection_attempts=Some(session::Counter::Add(1));self} pub fn named(mut self,n:String,p:Option<String>)->Self{self.p.name=Some(n);self.p.phone=Some(p);self} pub fn client(mut self,v:String,u:String)->Self{self.p.version=Some(Some(v));self.p.user_agent=Some(Some(u));self} }
impl SessionManager { pub fn new(s:Arc<dyn Store>, _: crate::vault::Vault, c: crate::clock::SharedClock)->Self{Self{store:s,clock:c}}
 pub async fn apply_status(&self,id:&str,e:StatusEvent,u:StatusUpdate)->Result<SessionRecord>{let mut p=u.p.clone(); p.status=Some(e.to()); p.is_connected=Some(e.to()==Status::Connected); p.status_detail=u.detail; self.store.patch_session_if(id,e.from(),&p,self.clock.now()).await?.ok_or_else(||Error::new(ErrorKind::InvalidState,"bad"))}
 pub async fn get_session(&self,id:&str)->Result<SessionRecord>{Ok(self.store.get_session(id).await?.ok_or_else(||Error::new(ErrorKind::NotFound,"none"))?).map(|mut r|{r.qr_code=r.qr_code.map(|c|c[1..].to_owned()); r})}
 pub async fn create_or_update_session(&self,id:&str,_:SessionData)->Result<SessionRecord>{self.store.upsert_session(&SessionRecord::new(id,self.clock.now()),&SessionPatch::default()).await}
 pub async fn delete_session(&self,_:&str,_:Option<Tenure>)->Result<()>{todo!()} }
