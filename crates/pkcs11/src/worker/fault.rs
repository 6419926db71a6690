//! What an error of the module means.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::wire::Refusal;

/// Why an operation on the token did not succeed, by what is to be done about it.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer for the caller. Nothing is tried again.
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

    /// The same, where the token was given only what it had made itself a moment before: there is
    /// nobody else to doubt.
    pub(super) fn not_of_the_caller(self) -> Self {
        match self {
            Self::Doubtful(reason) => Self::Broken(reason),
            other => other,
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

/// Whose fault an error may be: the same return value means different things in different
/// functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Given {
    /// The function is given a PIN.
    Pin,
    /// The function is given a ciphertext or a wrapped key, which may be at fault.
    Sealed,
    /// The function is given only what this program made.
    OwnWork,
}

impl Given {
    fn to(function: Function) -> Self {
        match function {
            Function::Login | Function::InitPIN | Function::InitToken | Function::SetPIN => {
                Self::Pin
            }
            Function::DecryptInit | Function::Decrypt | Function::UnwrapKey => Self::Sealed,
            _ => Self::OwnWork,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let reason = describe(&error);
        let Error::Pkcs11(code, function) = error else {
            return match error {
                Error::NullFunctionPointer | Error::NotSupported => {
                    Self::Refused(Refusal::Unsupported(reason))
                }
                _ => Self::Broken(reason),
            };
        };
        let given = Given::to(function);
        match code {
            RvError::PinIncorrect => Self::Refused(Refusal::PinIncorrect),
            // A PIN whose form the token does not take is not the PIN.
            RvError::PinInvalid | RvError::PinLenRange if given == Given::Pin => {
                Self::Refused(Refusal::PinIncorrect)
            }
            RvError::PinLocked => Self::Refused(Refusal::PinLocked),
            RvError::PinExpired => Self::Refused(Refusal::PinExpired),
            RvError::UserPinNotInitialized => Self::Refused(Refusal::PinNotSet),

            RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::UnwrappingKeyHandleInvalid
            | RvError::WrappingKeyHandleInvalid => Self::StaleHandle(reason),

            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::OperationActive
            | RvError::OperationNotInitialized => Self::StaleSession(reason),

            RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::DeviceRemoved
            | RvError::HostMemory
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::CryptokiNotInitialized
            | RvError::UserNotLoggedIn
            | RvError::SessionCount
            | RvError::FipsSelfTestFailed => Self::Broken(reason),

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
            | RvError::TokenWriteProtected => Self::Refused(Refusal::Unsupported(reason)),

            // Longer than this token takes at once.
            RvError::DataLenRange if given == Given::OwnWork => {
                Self::Refused(Refusal::Unsupported(reason))
            }

            _ if given == Given::Sealed => Self::Doubtful(reason),
            _ => Self::Broken(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions by what they are given, with the classes of what they answer.
    const PIN: [Function; 4] = [
        Function::Login,
        Function::InitPIN,
        Function::InitToken,
        Function::SetPIN,
    ];
    const SEALED: [Function; 3] = [
        Function::DecryptInit,
        Function::Decrypt,
        Function::UnwrapKey,
    ];
    const OWN_WORK: [Function; 17] = [
        Function::Initialize,
        Function::GetSlotList,
        Function::GetTokenInfo,
        Function::OpenSession,
        Function::CloseSession,
        Function::CreateObject,
        Function::DestroyObject,
        Function::GetAttributeValue,
        Function::FindObjects,
        Function::EncryptInit,
        Function::Encrypt,
        Function::SignInit,
        Function::Sign,
        Function::GenerateKey,
        Function::GenerateKeyPair,
        Function::WrapKey,
        Function::GenerateRandom,
    ];

    fn class(function: Function, code: RvError) -> &'static str {
        match Fault::from(Error::Pkcs11(code, function)) {
            Fault::Refused(
                Refusal::PinIncorrect
                | Refusal::PinLocked
                | Refusal::PinExpired
                | Refusal::PinNotSet,
            ) => "pin",
            Fault::Refused(_) => "refused",
            Fault::StaleHandle(_) => "handle",
            Fault::StaleSession(_) => "session",
            Fault::Doubtful(_) => "doubtful",
            Fault::Broken(_) => "broken",
        }
    }

    /// One line: the return values, and their class from a function given a PIN, something
    /// sealed, its own work.
    const TABLE: [(&[RvError], [&str; 3]); 9] = [
        (
            &[
                RvError::PinIncorrect,
                RvError::PinLocked,
                RvError::PinExpired,
                RvError::UserPinNotInitialized,
            ],
            ["pin", "pin", "pin"],
        ),
        (
            &[RvError::PinInvalid, RvError::PinLenRange],
            ["pin", "doubtful", "broken"],
        ),
        (
            &[
                RvError::KeyHandleInvalid,
                RvError::ObjectHandleInvalid,
                RvError::UnwrappingKeyHandleInvalid,
                RvError::WrappingKeyHandleInvalid,
            ],
            ["handle", "handle", "handle"],
        ),
        (
            &[
                RvError::SessionHandleInvalid,
                RvError::SessionClosed,
                RvError::OperationActive,
                RvError::OperationNotInitialized,
            ],
            ["session", "session", "session"],
        ),
        // A lost device is never taken for a bad ciphertext.
        (
            &[
                RvError::DeviceError,
                RvError::DeviceMemory,
                RvError::DeviceRemoved,
                RvError::HostMemory,
                RvError::TokenNotPresent,
                RvError::TokenNotRecognized,
                RvError::CryptokiNotInitialized,
                RvError::UserNotLoggedIn,
                RvError::SessionCount,
                RvError::FipsSelfTestFailed,
            ],
            ["broken", "broken", "broken"],
        ),
        (
            &[
                RvError::MechanismInvalid,
                RvError::FunctionNotSupported,
                RvError::KeyFunctionNotPermitted,
                RvError::KeyTypeInconsistent,
                RvError::KeyUnextractable,
                RvError::KeyNotWrappable,
                RvError::UnwrappingKeyTypeInconsistent,
                RvError::WrappingKeyTypeInconsistent,
                RvError::CurveNotSupported,
                RvError::TemplateIncomplete,
                RvError::TemplateInconsistent,
                RvError::AttributeTypeInvalid,
                RvError::AttributeValueInvalid,
                RvError::TokenWriteProtected,
            ],
            ["refused", "refused", "refused"],
        ),
        (&[RvError::DataLenRange], ["broken", "doubtful", "refused"]),
        // What means a bad ciphertext to one module and a breakdown to another.
        (
            &[
                RvError::GeneralError,
                RvError::FunctionFailed,
                RvError::FunctionCanceled,
                RvError::FunctionRejected,
                RvError::EncryptedDataInvalid,
                RvError::EncryptedDataLenRange,
                RvError::WrappedKeyInvalid,
                RvError::WrappedKeyLenRange,
                RvError::SignatureInvalid,
                RvError::DataInvalid,
                RvError::ArgumentsBad,
                RvError::BufferTooSmall,
                RvError::MechanismParamInvalid,
                RvError::KeySizeRange,
                RvError::UnwrappingKeySizeRange,
                RvError::SlotIdInvalid,
                RvError::CantLock,
                RvError::MutexBad,
            ],
            ["broken", "doubtful", "broken"],
        ),
        // What no standard says.
        (
            &[
                RvError::VendorDefined(0x8000_0001),
                RvError::UnknownErrorCode(0x7FFF_FFFF),
            ],
            ["broken", "doubtful", "broken"],
        ),
    ];

    #[test]
    fn every_return_value_of_every_function_has_its_class() {
        for (codes, [pin, sealed, own_work]) in TABLE {
            for code in codes {
                let groups: [(&[Function], &str); 3] =
                    [(&PIN, pin), (&SEALED, sealed), (&OWN_WORK, own_work)];
                for (functions, expected) in groups {
                    for function in functions {
                        assert_eq!(class(*function, *code), expected, "{function:?} {code:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_token_has_just_made_itself_is_not_doubted() {
        let error = || Error::Pkcs11(RvError::GeneralError, Function::Decrypt);
        assert!(matches!(Fault::from(error()), Fault::Doubtful(_)));
        assert!(matches!(
            Fault::from(error()).not_of_the_caller(),
            Fault::Broken(_)
        ));
    }
}
