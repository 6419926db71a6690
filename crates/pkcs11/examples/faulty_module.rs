//! A PKCS#11 module for tests: it does what the module `FAULTY_MODULE_REAL` does, but where the
//! directory `FAULTY_MODULE_FAULTS` holds a file named as the function that is called.
//!
//! The file says what to do, in words: `hang`, `crash`, `slow` (half a second, then as always) or
//! a return value in decimal; `late` before it has the real function called first; `once` before
//! that removes the file, so that the fault befalls one call only. Every call adds a byte to the file `<function>.calls`.

#![expect(unsafe_code, reason = "it is one side of a C interface")]
#![expect(
    non_snake_case,
    reason = "the functions are named as the standard names them"
)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_FUNCTION_LIST, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_ULONG, CK_USER_TYPE, CKR_GENERAL_ERROR, CKR_OK,
};

struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
    _library: cryptoki_sys::Pkcs11,
}

static LISTS: OnceLock<Option<Lists>> = OnceLock::new();

#[derive(Clone, Copy)]
struct Fault {
    late: bool,
    kind: FaultKind,
}

#[derive(Clone, Copy)]
enum FaultKind {
    Hang,
    Crash,
    Answer(CK_RV),
}

impl FaultKind {
    fn befall(self) -> CK_RV {
        match self {
            Self::Hang => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            Self::Crash => std::process::abort(),
            Self::Answer(code) => code,
        }
    }
}

/// What is to go wrong in this call of `function`.
fn fault(function: &str) -> Option<Fault> {
    let faults = PathBuf::from(std::env::var_os("FAULTY_MODULE_FAULTS")?);
    let calls = faults.join(format!("{function}.calls"));
    if let Ok(mut calls) = fs::OpenOptions::new().create(true).append(true).open(calls) {
        let _ = calls.write_all(b".");
    }
    let file = faults.join(function);
    let text = fs::read_to_string(&file).ok()?;
    let mut words = text.split_whitespace().peekable();
    if words.next_if_eq(&"once").is_some() {
        // Of several threads, one removes it.
        fs::remove_file(&file).ok()?;
    }
    let late = words.next_if_eq(&"late").is_some();
    let kind = match words.next()? {
        "hang" => FaultKind::Hang,
        "crash" => FaultKind::Crash,
        "slow" => {
            std::thread::sleep(Duration::from_millis(500));
            return None;
        }
        code => FaultKind::Answer(code.parse().ok()?),
    };
    Some(Fault { late, kind })
}

macro_rules! faulty {
    ($($name:ident ( $($argument:ident : $type:ty),* );)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                let fault = fault(stringify!($name));
                if let Some(Fault { late: false, kind }) = fault {
                    return kind.befall();
                }
                let real = LISTS.get().and_then(Option::as_ref).and_then(|lists| lists.real.$name);
                let Some(real) = real else {
                    return CKR_GENERAL_ERROR;
                };
                // SAFETY: the real module's function gets the arguments of its own caller.
                let answer = unsafe { real($($argument),*) };
                fault.map_or(answer, |fault| fault.kind.befall())
            }
        )*

        fn with_faults(mut list: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            $(list.$name = Some($name);)*
            list
        }
    };
}

faulty! {
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, pin_len: CK_ULONG);
    C_Sign(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: *mut CK_ULONG);
    C_Encrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, sealed: *mut CK_BYTE, sealed_len: *mut CK_ULONG);
    C_Decrypt(session: CK_SESSION_HANDLE, sealed: *mut CK_BYTE, sealed_len: CK_ULONG, data: *mut CK_BYTE, data_len: *mut CK_ULONG);
    C_GenerateKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_GenerateKeyPair(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_attributes: *mut CK_ATTRIBUTE, public_count: CK_ULONG, private_attributes: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE, private_key: *mut CK_OBJECT_HANDLE);
    C_UnwrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping_key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG, attributes: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    C_WrapKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping_key: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: *mut CK_ULONG);
}

fn load() -> Option<Lists> {
    let path = std::env::var_os("FAULTY_MODULE_REAL")?;
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
    Some(Lists {
        real,
        ours: with_faults(real),
        _library: library,
    })
}

/// The entry to every PKCS#11 module.
///
/// # Safety
/// `list` is null or may be written to.
// SAFETY: no other function of this name is linked into the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    match LISTS.get_or_init(load) {
        Some(lists) if !list.is_null() => {
            // SAFETY: the caller promises that `list` may be written to. What is written lives as
            // long as the process; by the standard nobody writes through it.
            unsafe { *list = (&raw const lists.ours).cast_mut() };
            CKR_OK
        }
        _ => CKR_GENERAL_ERROR,
    }
}
