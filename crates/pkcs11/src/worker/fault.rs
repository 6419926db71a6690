//! What an error of the module means.

use cryptoki::error::{Error, RvError};

use crate::wire::Refusal;

/// Why an operation on the token did not succeed, by what is to be done about it.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer for the caller.
    Refused(Refusal),
    /// A handle is no longer good: find or unwrap the key again.
    StaleHandle(String),
    /// The session is no longer good: open another.
    StaleSession(String),
    /// What was to be opened was refused with an error that could as well be the token's own
    /// trouble: the canary decides.
    Doubtful(String),
    /// The token or the module is not well: the process is to be replaced.
    Broken(String),
}

impl Fault {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::StaleHandle(reason)
            | Self::StaleSession(reason)
            | Self::Doubtful(reason)
            | Self::Broken(reason) => reason,
            Self::Refused(_) => "refused",
        }
    }
}

/// An error of the module in the field's words: the function and its return value.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

/// What was being done: the same return value means different things in different functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum During {
    /// `C_Login`, `C_InitPIN`, `C_InitToken`.
    Login,
    /// `C_Decrypt` and `C_UnwrapKey`: what they are given may be at fault.
    Opening,
    /// Everything that is given only what this program made.
    Other,
}

impl During {
    /// Says what `error` means here.
    pub(super) fn fault(self, error: Error) -> Fault {
        let reason = describe(&error);
        let Error::Pkcs11(code, _) = error else {
            return match error {
                Error::NullFunctionPointer | Error::NotSupported => {
                    Fault::Refused(Refusal::Unsupported(reason))
                }
                _ => Fault::Broken(reason),
            };
        };
        match code {
            RvError::PinIncorrect => Fault::Refused(Refusal::PinIncorrect),
            // A PIN whose form the token does not take is not the PIN.
            RvError::PinInvalid | RvError::PinLenRange if self == Self::Login => {
                Fault::Refused(Refusal::PinIncorrect)
            }
            RvError::PinLocked => Fault::Refused(Refusal::PinLocked),
            RvError::PinExpired => Fault::Refused(Refusal::PinExpired),
            RvError::UserPinNotInitialized => Fault::Refused(Refusal::PinNotSet),

            RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::UnwrappingKeyHandleInvalid
            | RvError::WrappingKeyHandleInvalid => Fault::StaleHandle(reason),

            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::OperationActive
            | RvError::OperationNotInitialized => Fault::StaleSession(reason),

            RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::DeviceRemoved
            | RvError::HostMemory
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::CryptokiNotInitialized
            | RvError::UserNotLoggedIn
            | RvError::SessionCount
            | RvError::FipsSelfTestFailed => Fault::Broken(reason),

            RvError::MechanismInvalid
            | RvError::FunctionNotSupported
            | RvError::KeyFunctionNotPermitted
            | RvError::KeyTypeInconsistent
            | RvError::KeyUnextractable
            | RvError::KeyNotWrappable
            | RvError::UnwrappingKeyTypeInconsistent
            | RvError::WrappingKeyTypeInconsistent
            | RvError::CurveNotSupported
            | RvError::TemplateIncomplete
            | RvError::TemplateInconsistent
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::TokenWriteProtected => Fault::Refused(Refusal::Unsupported(reason)),

            _ if self == Self::Opening => Fault::Doubtful(reason),
            _ => Fault::Broken(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    fn fault(during: During, code: RvError) -> Fault {
        during.fault(Error::Pkcs11(code, Function::Decrypt))
    }

    #[test]
    fn a_pin_error_is_told_whatever_was_being_done() {
        for (code, refusal) in [
            (RvError::PinIncorrect, "PinIncorrect"),
            (RvError::PinLocked, "PinLocked"),
            (RvError::PinExpired, "PinExpired"),
            (RvError::UserPinNotInitialized, "PinNotSet"),
        ] {
            for during in [During::Login, During::Opening, During::Other] {
                let fault = fault(during, code);
                assert_eq!(format!("{fault:?}"), format!("Refused({refusal})"));
            }
        }
    }

    #[test]
    fn an_error_that_means_two_things_is_doubtful_only_when_opening() {
        for code in [
            RvError::GeneralError,
            RvError::FunctionFailed,
            RvError::EncryptedDataInvalid,
            RvError::EncryptedDataLenRange,
            RvError::WrappedKeyInvalid,
            RvError::WrappedKeyLenRange,
            RvError::DataInvalid,
            RvError::ArgumentsBad,
        ] {
            assert!(matches!(fault(During::Opening, code), Fault::Doubtful(_)));
            assert!(matches!(fault(During::Other, code), Fault::Broken(_)));
        }
    }

    #[test]
    fn a_lost_device_is_never_taken_for_a_bad_ciphertext() {
        for code in [
            RvError::DeviceError,
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::CryptokiNotInitialized,
            RvError::UserNotLoggedIn,
        ] {
            assert!(matches!(fault(During::Opening, code), Fault::Broken(_)));
        }
    }
}
