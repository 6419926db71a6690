//! The C interface: the function list of the real module, with our own functions in it.

#![expect(unsafe_code, reason = "it is one side of a C interface")]
#![expect(
    non_snake_case,
    reason = "the functions are named as the standard names them"
)]

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE,
    CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG,
    CK_USER_TYPE, CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_OK,
};

use crate::faults::Faults;
use crate::rule::Act;
use crate::{REAL_MODULE, RULES_DIRECTORY};

struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
    faults: Option<Faults>,
    _library: cryptoki_sys::Pkcs11,
}

static LISTS: OnceLock<Option<Lists>> = OnceLock::new();
/// [`Act::Disconnect`] was met in this process.
static DISCONNECTED: AtomicBool = AtomicBool::new(false);

fn lists() -> Option<&'static Lists> {
    LISTS.get_or_init(load).as_ref()
}

/// What is to befall this call, as far as it befalls it before the real function is called.
fn before(function: &str, asks_length: Option<bool>) -> Result<Option<Act>, CK_RV> {
    let faults = lists().and_then(|lists| lists.faults.as_ref());
    let act = faults.and_then(|faults| faults.befall(function, asks_length));
    match act {
        Some(Act::Answer(code)) => return Err(code),
        Some(Act::Delay(span_ms)) => std::thread::sleep(Duration::from_millis(span_ms)),
        Some(Act::Hang) => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
        Some(Act::Crash) => std::process::abort(),
        Some(Act::Disconnect) => DISCONNECTED.store(true, Ordering::SeqCst),
        _ => {}
    }
    match DISCONNECTED.load(Ordering::SeqCst) {
        true => Err(CKR_DEVICE_ERROR),
        false => Ok(act),
    }
}

/// What befalls a call after the real function has answered.
fn after(act: Option<Act>, answer: CK_RV) -> CK_RV {
    match act {
        Some(Act::AnswerLate(code)) => code,
        Some(Act::FailWith(code)) if answer != CKR_OK => code,
        Some(Act::CrashLate) => std::process::abort(),
        _ => answer,
    }
}

/// Lies about an output, or spoils it.
///
/// # Safety
/// `len` is null or may be read and written; `output` is null or has `*len` bytes.
unsafe fn spoil(act: Option<Act>, output: *mut CK_BYTE, len: *mut CK_ULONG) {
    // SAFETY: the caller promises that it may be read and written where it is not null.
    let (Some(act), Some(len)) = (act, unsafe { len.as_mut() }) else {
        return;
    };
    match act {
        Act::Overstate(count) | Act::Lengthen(count) => *len += count,
        Act::Understate(count) | Act::Shorten(count) => *len = len.saturating_sub(count),
        Act::Corrupt(bit) if *len > 0 && !output.is_null() => {
            let bit = usize::try_from(bit % (*len * 8)).unwrap_or(0);
            // SAFETY: the byte is one of the `*len` that the real module has just written.
            unsafe { *output.add(bit / 8) ^= 1 << (bit % 8) };
        }
        _ => {}
    }
}

/// Functions that give out nothing but handles, or structures of a fixed size.
macro_rules! plain {
    ($($name:ident ( $($argument:ident : $type:ty),* );)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                let act = match before(stringify!($name), None) {
                    Ok(act) => act,
                    Err(code) => return code,
                };
                let Some(real) = lists().and_then(|lists| lists.real.$name) else {
                    return CKR_GENERAL_ERROR;
                };
                // SAFETY: the real module's function gets the arguments of its own caller.
                after(act, unsafe { real($($argument),*) })
            }
        )*

        fn with_plain(list: &mut CK_FUNCTION_LIST) {
            $(list.$name = Some($name);)*
        }
    };
}

/// Functions that give out bytes, or, asked with no room for them, their length.
macro_rules! giving {
    ($($name:ident ( $($argument:ident : $type:ty),* ; $output:ident, $len:ident );)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type,)* $output: *mut CK_BYTE, $len: *mut CK_ULONG) -> CK_RV {
                let act = match before(stringify!($name), Some($output.is_null())) {
                    Ok(act) => act,
                    Err(code) => return code,
                };
                let Some(real) = lists().and_then(|lists| lists.real.$name) else {
                    return CKR_GENERAL_ERROR;
                };
                // SAFETY: the real module's function gets the arguments of its own caller.
                let answer = unsafe { real($($argument,)* $output, $len) };
                if answer == CKR_OK {
                    // SAFETY: by the standard, the real module has just written the length to
                    // `len`, and as many bytes to `output` unless that is null.
                    unsafe { spoil(act, $output, $len) };
                }
                after(act, answer)
            }
        )*

        fn with_giving(list: &mut CK_FUNCTION_LIST) {
            $(list.$name = Some($name);)*
        }
    };
}

plain! {
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG);
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO);
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG);
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut std::ffi::c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE);
    C_CloseSession(session: CK_SESSION_HANDLE);
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, pin_len: CK_ULONG);
    C_CreateObject(session: CK_SESSION_HANDLE, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE);
    C_CopyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, copy: *mut CK_OBJECT_HANDLE);
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjectsInit(session: CK_SESSION_HANDLE, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG);
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, room: CK_ULONG, count: *mut CK_ULONG);
    C_FindObjectsFinal(session: CK_SESSION_HANDLE);
    C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    C_GenerateKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_GenerateKeyPair(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_attributes: *mut CK_ATTRIBUTE, public_count: CK_ULONG, private_attributes: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE, private_key: *mut CK_OBJECT_HANDLE);
    C_UnwrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping_key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_GenerateRandom(session: CK_SESSION_HANDLE, bytes: *mut CK_BYTE, len: CK_ULONG);
}

giving! {
    C_Encrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG; sealed, sealed_len);
    C_Decrypt(session: CK_SESSION_HANDLE, sealed: *mut CK_BYTE, sealed_len: CK_ULONG; data, data_len);
    C_Sign(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG; signature, signature_len);
    C_WrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping_key: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE; wrapped, wrapped_len);
}

/// Reached even when disconnected, and connects anew.
unsafe extern "C" fn C_Finalize(reserved: *mut std::ffi::c_void) -> CK_RV {
    let Some(real) = lists().and_then(|lists| lists.real.C_Finalize) else {
        return CKR_GENERAL_ERROR;
    };
    DISCONNECTED.store(false, Ordering::SeqCst);
    // SAFETY: the real module's function gets the arguments of its own caller.
    unsafe { real(reserved) }
}

fn load() -> Option<Lists> {
    let path = std::env::var_os(REAL_MODULE)?;
    // SAFETY: the test names a PKCS#11 module, whose initialisers may run.
    let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is where the module may write a pointer.
    let answer = unsafe { library.C_GetFunctionList(&raw mut list) };
    if answer != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: the module has just said that its function list is there; it is plain data.
    let real = unsafe { *list };
    let mut ours = real;
    with_plain(&mut ours);
    with_giving(&mut ours);
    ours.C_Finalize = Some(C_Finalize);
    Some(Lists {
        real,
        ours,
        faults: std::env::var_os(RULES_DIRECTORY)
            .map(|directory| Faults::at(Path::new(&directory))),
        _library: library,
    })
}

/// The entry to every PKCS#11 module.
///
/// # Safety
/// `list` is null or may be written to.
// SAFETY: no other function of this name is linked into the library, and a test binary that
// links it exports nothing.
#[unsafe(no_mangle)]
#[expect(unreachable_pub, reason = "the loader reaches it by its name")]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    match lists() {
        Some(lists) if !list.is_null() => {
            // SAFETY: the caller promises that `list` may be written to. What is written lives as
            // long as the process; by the standard nobody writes through it.
            unsafe { *list = (&raw const lists.ours).cast_mut() };
            CKR_OK
        }
        _ => CKR_GENERAL_ERROR,
    }
}
