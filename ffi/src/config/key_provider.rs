//! Master keys that a host keeps elsewhere: in a key management service or an HSM.

use std::ffi::c_void;
use std::sync::Arc;

use async_trait::async_trait;
use centralita::vault::{KeyProvider, Zeroizing};
use centralita::{Error, ErrorKind};

use super::{Keys, centralita_config};
use crate::boundary::{call, get};
use crate::callback::{self, UserData};
use crate::error::{Outcome, centralita_error, invalid};
use crate::exit;
use crate::sized::{self, Sized_};
use crate::status::{CENTRALITA_OK, CENTRALITA_TIMEOUT, CENTRALITA_UNAVAILABLE};
use crate::text::centralita_str;

/// Room for a wrapped data key, in bytes.
pub const CENTRALITA_WRAPPED_KEY_MAX: usize = 16384;
/// Bytes of a data key.
pub const CENTRALITA_DATA_KEY_LEN: usize = 32;

/// Wraps and unwraps the data keys of sessions with a master key that the library never sees. Start from
/// `CENTRALITA_KEY_PROVIDER_INIT`.
///
/// The functions are called on threads of the library, several at once, and may block. Each answers `CENTRALITA_OK`;
/// `CENTRALITA_UNAVAILABLE` or `CENTRALITA_TIMEOUT` if it cannot be reached, and is then asked again while the session
/// waits; anything else is a refusal, which ends the session. They must not call back into the library. `context` is a
/// session's id, or, for the key of what all sessions share, bytes that begin with a zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_key_provider {
    /// `sizeof(centralita_key_provider)`.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Given to the functions below.
    pub user_data: *mut c_void,
    /// Wraps the `CENTRALITA_DATA_KEY_LEN` bytes at `data_key`, bound to `context`: writes at most `capacity`
    /// (`CENTRALITA_WRAPPED_KEY_MAX`) bytes to `wrapped` and their number to `len`.
    pub wrap: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            context: centralita_str,
            data_key: *const u8,
            wrapped: *mut u8,
            capacity: usize,
            len: *mut usize,
        ) -> i32,
    >,
    /// Writes to `data_key` the `CENTRALITA_DATA_KEY_LEN` bytes that `wrap` was given with this `context`, now or
    /// under an older master key.
    pub unwrap: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            context: centralita_str,
            wrapped: *const u8,
            len: usize,
            data_key: *mut u8,
        ) -> i32,
    >,
    /// 1 if `wrapped` was made with the current master key, 0 if `centralita_service_rewrap_keys` is to renew it. NULL:
    /// always 1.
    pub is_current:
        Option<unsafe extern "C" fn(user_data: *mut c_void, wrapped: *const u8, len: usize) -> i32>,
    /// Releases `user_data`: called exactly once, after the last call, or at once if setting the provider fails. May be
    /// NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_key_provider {
    const NAME: &'static str = "centralita_key_provider";
    const FIRST_SIZE: usize = 48;
}

/// Has a provider of the host's hold the master keys, in the place of the options `keys` and `key_file`. It is released
/// with the service, or with `config` if no service is opened with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_config_set_key_provider(
    config: *mut centralita_config,
    provider: *const centralita_key_provider,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let provider = sized::read_required(provider)?;
            let user = UserData::new(provider.user_data, provider.drop);
            let functions = Functions::of(&provider)?;
            get(config, "config")?;
            (*config).keys = Some(Keys::Provider(Arc::new(HostKeys(Arc::new(Host { user, functions })))));
            Ok(())
        })
    }
}

type Wrap = unsafe extern "C" fn(*mut c_void, centralita_str, *const u8, *mut u8, usize, *mut usize) -> i32;
type Unwrap = unsafe extern "C" fn(*mut c_void, centralita_str, *const u8, usize, *mut u8) -> i32;
type IsCurrent = unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32;

#[derive(Clone, Copy)]
struct Functions {
    wrap: Wrap,
    unwrap: Unwrap,
    is_current: Option<IsCurrent>,
}

impl Functions {
    fn of(provider: &centralita_key_provider) -> Outcome<Self> {
        Ok(Self {
            wrap: provider.wrap.ok_or_else(|| invalid("wrap is NULL"))?,
            unwrap: provider.unwrap.ok_or_else(|| invalid("unwrap is NULL"))?,
            is_current: provider.is_current,
        })
    }
}

struct Host {
    functions: Functions,
    user: UserData,
}

struct HostKeys(Arc<Host>);

impl HostKeys {
    /// The host's functions may wait for a network: not on a thread that runs sessions.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Host) -> centralita::Result<T> + Send + 'static,
    ) -> centralita::Result<T> {
        let host = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || {
            if exit::is_exiting() {
                return Err(Error::new(ErrorKind::Closed, "the process is ending"));
            }
            callback::inside(|| ask(&host))
        });
        asked.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the service was shut down")))
    }
}

#[async_trait]
impl KeyProvider for HostKeys {
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> centralita::Result<Vec<u8>> {
        let (session, data_key) = (text(context), Zeroizing::new(*data_key));
        self.ask(move |Host { functions, user }| {
            let mut wrapped = vec![0; CENTRALITA_WRAPPED_KEY_MAX];
            let mut len = 0;
            let session = centralita_str::of(Some(&session));
            // SAFETY: a function of the host's with his data; all memory lives during the call.
            let status = unsafe {
                (functions.wrap)(
                    user.ptr(),
                    session,
                    data_key.as_ptr(),
                    wrapped.as_mut_ptr(),
                    wrapped.len(),
                    &raw mut len,
                )
            };
            answered(status)?;
            if len == 0 || len > wrapped.len() {
                return Err(Error::new(
                    ErrorKind::Crypto,
                    "the key provider gave a wrapped key without or beyond its length",
                ));
            }
            wrapped.truncate(len);
            Ok(wrapped)
        })
        .await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> centralita::Result<Zeroizing<[u8; 32]>> {
        let (session, wrapped) = (text(context), wrapped.to_vec());
        self.ask(move |Host { functions, user }| {
            let mut data_key = Zeroizing::new([0; CENTRALITA_DATA_KEY_LEN]);
            let session = centralita_str::of(Some(&session));
            // SAFETY: as above.
            let status = unsafe {
                (functions.unwrap)(
                    user.ptr(),
                    session,
                    wrapped.as_ptr(),
                    wrapped.len(),
                    data_key.as_mut_ptr(),
                )
            };
            answered(status)?;
            Ok(data_key)
        })
        .await
    }

    fn is_current(&self, wrapped: &[u8]) -> bool {
        let Host { functions, user } = &*self.0;
        let Some(is_current) = functions.is_current else { return true };
        // SAFETY: as above.
        callback::inside(|| unsafe { is_current(user.ptr(), wrapped.as_ptr(), wrapped.len()) }) != 0
    }
}

/// The context is a session's id.
fn text(context: &[u8]) -> String {
    String::from_utf8_lossy(context).into_owned()
}

fn answered(status: i32) -> centralita::Result<()> {
    match status {
        CENTRALITA_OK => Ok(()),
        CENTRALITA_UNAVAILABLE => {
            Err(Error::new(ErrorKind::Unavailable, "the key provider cannot be reached; it is asked again"))
        }
        CENTRALITA_TIMEOUT => {
            Err(Error::new(ErrorKind::Timeout, "the key provider did not answer in time; it is asked again"))
        }
        status => Err(Error::new(
            ErrorKind::Crypto,
            format!("the key provider refused with status {status}; look at its own log"),
        )),
    }
}
