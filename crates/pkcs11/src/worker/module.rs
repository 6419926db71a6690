//! The module: loading it, finding the token, logging in, initialising an empty token.

use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::fault::{Fault, describe};
use crate::config::ModuleConfig;
use crate::token::TokenIdentity;
use crate::wire::Refusal;

const SECOND_LOOK_DELAY: Duration = Duration::from_millis(50);

/// A loaded and initialised module.
pub(super) struct Module<'a> {
    config: &'a ModuleConfig,
    context: Pkcs11,
}

/// A token whose user is logged in.
///
/// The login lasts as long as one session is open, and session objects as long as the session
/// that made them: `anchor` is that session, open as long as the process lives.
pub(super) struct OpenToken {
    pub(super) context: Pkcs11,
    pub(super) slot: Slot,
    pub(super) identity: TokenIdentity,
    pub(super) anchor: Session,
}

impl<'a> Module<'a> {
    pub(super) fn load(config: &'a ModuleConfig) -> Result<Self, Refusal> {
        if !config.module.exists() {
            return Err(Refusal::Module("there is no such file".into()));
        }
        let refused = |error: Error| Refusal::Module(describe(&error));
        let context = Pkcs11::new(&config.module).map_err(refused)?;
        let initialise = match &config.reserved_init_args {
            None => CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK),
            Some(reserved) => with_reserved(reserved)?,
        };
        context.initialize(initialise).map_err(refused)?;
        Ok(Self { config, context })
    }

    /// The configured token, looked for once more from the beginning if it is not there.
    ///
    /// SoftHSM reads a token's files without regard to another process that is just changing them,
    /// and then knows nothing of the token.
    fn find(&mut self) -> Result<Option<(Slot, TokenInfo)>, Refusal> {
        let found = self.find_in_slots()?;
        if found.is_some() {
            return Ok(found);
        }
        self.begin_again()?;
        self.find_in_slots()
    }

    fn begin_again(&mut self) -> Result<(), Refusal> {
        self.context.clone().finalize().map_err(unusable)?;
        std::thread::sleep(SECOND_LOOK_DELAY);
        *self = Self::load(self.config)?;
        Ok(())
    }

    fn find_in_slots(&self) -> Result<Option<(Slot, TokenInfo)>, Refusal> {
        let label = &self.config.token_label;
        let slots = self.context.get_slots_with_token().map_err(unusable)?;
        let mut found = None;
        for slot in slots {
            // A token that cannot be described is not the one that was named.
            let Ok(info) = self.context.get_token_info(slot) else {
                continue;
            };
            if info.token_initialized() && info.label().trim_end() == *label {
                if found.is_some() {
                    return Err(Refusal::Invalid(format!(
                        "two tokens of the module are labelled {label}"
                    )));
                }
                found = Some((slot, info));
            }
        }
        Ok(found)
    }

    /// Logs in at the configured token. A PIN that is refused is not tried again; a breakdown on
    /// the way may come of another process that is changing the files of SoftHSM, so there is a
    /// second beginning.
    pub(super) fn open(mut self, pin: &str) -> Result<OpenToken, Refusal> {
        match self.log_in(pin) {
            Err(Refusal::Unavailable(_)) => {
                self.begin_again()?;
                self.log_in(pin)
            }
            done => done,
        }
    }

    fn log_in(&mut self, pin: &str) -> Result<OpenToken, Refusal> {
        let (slot, info) = self
            .find()?
            .ok_or_else(|| Refusal::NoSuchToken(self.config.token_label.clone()))?;
        if info.user_pin_locked() {
            return Err(Refusal::PinLocked);
        }
        if !info.user_pin_initialized() {
            return Err(Refusal::PinNotSet);
        }
        let anchor = self.context.open_rw_session(slot).map_err(unusable)?;
        match anchor.login(UserType::User, Some(&AuthPin::from(pin))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(unusable(error)),
        }
        Ok(OpenToken {
            context: self.context.clone(),
            slot,
            identity: identity(&info),
            anchor,
        })
    }

    /// Initialises the first empty token.
    pub(super) fn initialise(
        mut self,
        security_officer_pin: &str,
        pin: &str,
    ) -> Result<TokenIdentity, Refusal> {
        let label = &self.config.token_label;
        if self.find()?.is_some() {
            return Err(Refusal::TokenExists(label.clone()));
        }
        let slots = self.context.get_slots_with_token().map_err(unusable)?;
        let (slot, info) = slots
            .into_iter()
            .find_map(|slot| {
                let info = self.context.get_token_info(slot).ok()?;
                (!info.token_initialized()).then_some((slot, info))
            })
            .ok_or_else(|| Refusal::NoSuchToken("(an empty one)".into()))?;
        // Asked before the first step, so that no token is left half made for a short PIN.
        // Kryoptic names no longest PIN before there is one.
        let longest = match info.max_pin_length() {
            0 => usize::MAX,
            longest => longest,
        };
        let lengths = info.min_pin_length()..=longest;
        for pin in [security_officer_pin, pin] {
            if !lengths.contains(&pin.len()) {
                return Err(Refusal::Invalid(format!(
                    "the token takes PINs of {} to {} characters",
                    lengths.start(),
                    lengths.end()
                )));
            }
        }
        let officer = AuthPin::from(security_officer_pin);
        self.context
            .init_token(slot, &officer, label)
            .map_err(unusable)?;
        let session = self.context.open_rw_session(slot).map_err(unusable)?;
        session
            .login(UserType::So, Some(&officer))
            .map_err(unusable)?;
        session.init_pin(&AuthPin::from(pin)).map_err(unusable)?;
        session.logout().map_err(unusable)?;
        drop(session);
        self.find_in_slots()?
            .map(|(_, info)| identity(&info))
            .ok_or_else(|| Refusal::NoSuchToken(label.clone()))
    }
}

fn with_reserved(reserved: &str) -> Result<CInitializeArgs, Refusal> {
    let reserved = CString::new(reserved)
        .map_err(|_| Refusal::Invalid("the reserved argument holds a zero byte".into()))?;
    // Given away for good: a module may keep the pointer, and it is loaded once in a process.
    let reserved = NonNull::from(Box::leak(reserved.into_boxed_c_str())).cast();
    #[expect(unsafe_code, reason = "the string crosses the C interface")]
    // SAFETY: `reserved` points to a NUL-terminated string that is never freed nor changed. That
    // the module takes such a string in `pReserved` is what the administrator states by giving it.
    let arguments =
        unsafe { CInitializeArgs::new_with_reserved(CInitializeFlags::OS_LOCKING_OK, reserved) };
    Ok(arguments)
}

fn identity(info: &TokenInfo) -> TokenIdentity {
    TokenIdentity {
        label: info.label().trim_end().to_owned(),
        serial: info.serial_number().trim_end().to_owned(),
        manufacturer: info.manufacturer_id().trim_end().to_owned(),
        model: info.model().trim_end().to_owned(),
        profile: String::new(),
    }
}

fn unusable(error: Error) -> Refusal {
    match Fault::from(error) {
        Fault::Refused(refusal) => refusal,
        other => Refusal::Unavailable(other.reason().to_owned()),
    }
}

/// The module as it describes itself.
pub(super) fn description(context: &Pkcs11, path: &Path) -> crate::conformance::ModuleDescription {
    let info = context.get_library_info().ok();
    let text =
        |take: fn(&cryptoki::context::Info) -> String| info.as_ref().map(take).unwrap_or_default();
    crate::conformance::ModuleDescription {
        path: path.display().to_string(),
        description: text(|info| info.library_description().trim_end().to_owned()),
        manufacturer: text(|info| info.manufacturer_id().trim_end().to_owned()),
        version: text(|info| info.library_version().to_string()),
        pkcs11_version: text(|info| info.cryptoki_version().to_string()),
    }
}
