//! What passes between the daemon and the process that holds the module.
//!
//! A frame is its length (4 bytes, little endian), the number of the call (8 bytes, little
//! endian) and a message in postcard. Both ends are the same executable, so the messages carry no
//! version. The first frame is a [`Setup`], answered by a [`SetupAnswer`]; every later one is a
//! [`Request`], answered by an [`Answer`] of the same number, in any order. Messages borrow from
//! the frame, which is wiped when dropped, so a secret is copied only to where it is used.

use std::io;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::attributes::KeyAttributes;
use crate::config::ModuleConfig;
use crate::conformance::Report;
use crate::limits::{MESSAGE_LEN_BYTES_MAX, TAG_LEN_BYTES};
use crate::spec::{
    CarriedKind, ImportPath, ImportWrapping, MacSpec, OaepHash, PairSpec, SignatureScheme,
};
use crate::token::{KeyLabel, TokenError, TokenIdentity, TokenKeys};

/// The longest frame after its length: two messages of the longest length and some room. A report
/// is far shorter.
pub(crate) const FRAME_LEN_BYTES_MAX: usize = 2 * MESSAGE_LEN_BYTES_MAX + TAG_LEN_BYTES + 16 * 1024;
/// Room for everything in a frame but its variable parts.
const FIXED_LEN_BYTES: usize = 512;
const LENGTH_LEN_BYTES: usize = 4;
const NUMBER_LEN_BYTES: usize = 8;

/// The environment variable by which a worker process knows that it is one.
///
/// A program whose arguments are not its own (a test binary) looks at it.
pub(crate) const WORKER_MARK: &str = "STRONGROOM_PKCS11_WORKER";

/// What one kind of key on the token is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum KeyKind {
    Kek,
    Mac,
    Signing,
    Escrow,
}

/// How this token wants its keys made, as the conformance test found out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    /// `CKA_ALLOWED_MECHANISMS` is accepted, and enforced.
    pub(crate) restricts_mechanisms: bool,
    /// `CKA_COPYABLE=false` is accepted.
    pub(crate) forbids_copies: bool,
    /// A changed wrapped key is answered as if the device had broken down, so that after every
    /// error of an unwrapping the canary is asked.
    pub(crate) doubts_unwrapping: bool,
}

/// How a child that serves is to go about it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ServeLimits {
    /// Threads, each with a session.
    pub(crate) sessions: usize,
    pub(crate) cached_keys_max: usize,
    pub(crate) checks_answers: bool,
}

/// The first message to the child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup<'a> {
    pub(crate) module: ModuleConfig,
    pub(crate) pin: &'a str,
    pub(crate) task: Task<'a>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Task<'a> {
    /// Run the conformance test and end.
    Examine,
    /// Serve requests. Without a profile, the conformance test comes first and must be passed.
    Serve {
        profile: Option<Profile>,
        limits: ServeLimits,
    },
    /// Initialise an empty token and end.
    Initialise { security_officer_pin: &'a str },
}

/// The answer to a [`Setup`].
#[derive(Serialize, Deserialize)]
pub(crate) enum SetupAnswer {
    Examined(Report),
    Serving {
        identity: TokenIdentity,
        profile: Profile,
        /// Present when the conformance test was run.
        report: Option<Report>,
    },
    Initialised(TokenIdentity),
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Request<'a> {
    Health,
    Create {
        kind: KeyKind,
        label: &'a str,
        /// `CKA_ID`, drawn once per call: a second try knows the key of the first by it.
        id: [u8; 16],
    },
    HasKey {
        label: &'a str,
    },
    PublicKey {
        label: &'a str,
    },
    /// Read back the attributes of a key.
    Describe {
        kind: KeyKind,
        label: &'a str,
    },
    GenerateWrapped {
        kek: &'a str,
    },
    Seal {
        kek: &'a str,
        wrapped: &'a [u8],
        context: &'a [u8],
        plaintext: &'a [u8],
    },
    Open {
        kek: &'a str,
        wrapped: &'a [u8],
        context: &'a [u8],
        nonce: [u8; 12],
        sealed: &'a [u8],
    },
    Mac {
        label: &'a str,
        message: &'a [u8],
    },
    Sign {
        label: &'a str,
        message: &'a [u8],
    },
    GenerateWrappedMacKey {
        kek: &'a str,
        spec: MacSpec,
    },
    MacBy {
        kek: &'a str,
        wrapped: &'a [u8],
        spec: MacSpec,
        message: &'a [u8],
    },
    GenerateWrappedPair {
        kek: &'a str,
        spec: PairSpec,
    },
    SignBy {
        kek: &'a str,
        wrapped: &'a [u8],
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &'a [u8],
    },
    DecryptBy {
        kek: &'a str,
        wrapped: &'a [u8],
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &'a [u8],
    },
    Import {
        kek: &'a str,
        wrapped: &'a [u8],
        spec: PairSpec,
        wrapping: ImportWrapping,
        for_pair: &'a [u8],
        by_transport: &'a [u8],
    },
    EscrowPublicKey {
        label: &'a str,
    },
    Export {
        kek: &'a str,
        #[serde(borrow)]
        keys: Vec<(CarriedKind, &'a [u8])>,
        modulus: &'a [u8],
    },
    TakeOver {
        escrow: &'a str,
        transport: &'a [u8],
        #[serde(borrow)]
        keys: Vec<(CarriedKind, &'a [u8])>,
        kek: &'a str,
    },
    Random {
        len_bytes: usize,
    },
    /// The first step of a ceremony, to the token that is to receive: a public key to wrap for.
    Offer,
    /// The second, to the other token: make the keys and wrap them.
    MakeShared {
        modulus: &'a [u8],
    },
    /// The last, to both: put the keys on the token for good.
    TakeShared {
        carried: Carried,
        keys: TokenKeys,
        /// `CKA_ID`, drawn once for the ceremony.
        id: [u8; 16],
    },
    /// Take back what the last step put there.
    DropShared {
        keys: TokenKeys,
        id: [u8; 16],
    },
}

/// Keys on their way from the token that made them to both.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// The transport key, wrapped by RSAES-OAEP for the token that receives.
    pub(crate) transport: Vec<u8>,
    /// These two are wrapped by the transport key.
    pub(crate) kek: Vec<u8>,
    pub(crate) mac: Vec<u8>,
    /// The private signing key, in the clear; wiped when dropped.
    pub(crate) seed: Vec<u8>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl Request<'_> {
    fn variable_len_bytes(&self) -> usize {
        match self {
            Self::Health | Self::Random { .. } | Self::Offer => 0,
            Self::MakeShared { modulus } => modulus.len(),
            // More than the keys themselves take.
            Self::Export { .. } | Self::TakeOver { .. } => 2 * MESSAGE_LEN_BYTES_MAX,
            // Of no fixed length, and asked for once in the life of a token.
            Self::TakeShared { .. } | Self::DropShared { .. } => MESSAGE_LEN_BYTES_MAX,
            Self::Create { label, .. }
            | Self::HasKey { label }
            | Self::PublicKey { label }
            | Self::EscrowPublicKey { label }
            | Self::Describe { label, .. } => label.len(),
            Self::GenerateWrapped { kek }
            | Self::GenerateWrappedMacKey { kek, .. }
            | Self::GenerateWrappedPair { kek, .. } => kek.len(),
            Self::MacBy {
                kek,
                wrapped,
                message: input,
                ..
            }
            | Self::SignBy {
                kek,
                wrapped,
                digest: input,
                ..
            }
            | Self::DecryptBy {
                kek,
                wrapped,
                ciphertext: input,
                ..
            } => kek.len() + wrapped.len() + input.len(),
            Self::Import {
                kek,
                wrapped,
                for_pair,
                by_transport,
                ..
            } => kek.len() + wrapped.len() + for_pair.len() + by_transport.len(),
            Self::Seal {
                kek,
                wrapped,
                context,
                plaintext,
            } => kek.len() + wrapped.len() + context.len() + plaintext.len(),
            Self::Open {
                kek,
                wrapped,
                context,
                sealed,
                ..
            } => kek.len() + wrapped.len() + context.len() + sealed.len(),
            Self::Mac { label, message } | Self::Sign { label, message } => {
                label.len() + message.len()
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer<'a> {
    Done,
    Truth(bool),
    Bytes(&'a [u8]),
    Sealed {
        nonce: [u8; 12],
        bytes: &'a [u8],
    },
    Carried(Carried),
    Attributes(KeyAttributes),
    Pair {
        private: &'a [u8],
        public: &'a [u8],
    },
    /// What was wrapped for the recipient, which may be nothing, and the keys in their order.
    Keys {
        transport: Vec<u8>,
        keys: Vec<Vec<u8>>,
    },
    Imported {
        wrapped: &'a [u8],
        path: ImportPath,
    },
    Refused(Refusal),
    /// The token or the module is not well; this process is to be replaced.
    Broken {
        reason: String,
    },
}

/// A [`TokenError`] as it passes the process boundary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NotAuthentic,
    WrongLength,
    NoSuchKey(KeyLabel),
    NoSuchToken(String),
    TokenExists(String),
    KeyExists(KeyLabel),
    Module(String),
    PinIncorrect,
    PinLocked,
    PinExpired,
    PinNotSet,
    Unavailable(String),
    Unsupported(String),
    Invalid(String),
}

impl Refusal {
    pub(crate) fn into_error(self, module: &ModuleConfig) -> TokenError {
        match self {
            Self::NotAuthentic => TokenError::NotAuthentic,
            Self::WrongLength => TokenError::WrongLength,
            Self::NoSuchKey(label) => TokenError::NoSuchKey { label },
            Self::NoSuchToken(label) => TokenError::NoSuchToken { label },
            Self::TokenExists(label) => TokenError::TokenExists { label },
            Self::KeyExists(label) => TokenError::KeyExists { label },
            Self::Module(reason) => TokenError::Module {
                path: module.module.clone(),
                reason,
            },
            Self::PinIncorrect => TokenError::Pin {
                reason: "incorrect",
            },
            Self::PinLocked => TokenError::Pin { reason: "locked" },
            Self::PinExpired => TokenError::Pin { reason: "expired" },
            Self::PinNotSet => TokenError::Pin { reason: "not set" },
            Self::Unavailable(reason) => TokenError::Unavailable { reason },
            Self::Unsupported(reason) => TokenError::Unsupported { reason },
            Self::Invalid(reason) => TokenError::Invalid { reason },
        }
    }
}

/// A frame as it goes over the socket, wiped when dropped.
pub(crate) type Frame = Zeroizing<Vec<u8>>;

fn encode(number: u64, message: &impl Serialize, variable_len_bytes: usize) -> io::Result<Frame> {
    // The room is taken at once: a buffer that grows leaves copies of its content behind.
    let head = LENGTH_LEN_BYTES + NUMBER_LEN_BYTES;
    let mut frame = Zeroizing::new(vec![0; head + FIXED_LEN_BYTES + variable_len_bytes]);
    let body_len_bytes = postcard::to_slice(message, &mut frame[head..])
        .map_err(io::Error::other)?
        .len();
    let len_bytes = NUMBER_LEN_BYTES + body_len_bytes;
    let length = u32::try_from(len_bytes)
        .ok()
        .filter(|_| len_bytes <= FRAME_LEN_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a message is too long for a frame"))?;
    frame[..LENGTH_LEN_BYTES].copy_from_slice(&length.to_le_bytes());
    frame[LENGTH_LEN_BYTES..head].copy_from_slice(&number.to_le_bytes());
    frame.truncate(LENGTH_LEN_BYTES + len_bytes);
    Ok(frame)
}

pub(crate) fn encode_setup(setup: &Setup<'_>) -> io::Result<Frame> {
    // Paths, environment and PINs are of the administrator's making and have no stated bound.
    encode(0, setup, FRAME_LEN_BYTES_MAX / 2)
}

pub(crate) fn encode_setup_answer(answer: &SetupAnswer) -> io::Result<Frame> {
    encode(0, answer, FRAME_LEN_BYTES_MAX / 2)
}

pub(crate) fn encode_request(number: u64, request: &Request<'_>) -> io::Result<Frame> {
    encode(number, request, request.variable_len_bytes())
}

pub(crate) fn encode_answer(number: u64, answer: &Answer<'_>) -> io::Result<Frame> {
    let variable_len_bytes = match answer {
        Answer::Bytes(bytes) | Answer::Sealed { bytes, .. } => bytes.len(),
        Answer::Pair { private, public } => private.len() + public.len(),
        Answer::Imported { wrapped, .. } => wrapped.len(),
        Answer::Broken { reason } => reason.len(),
        Answer::Refused(
            Refusal::Module(text)
            | Refusal::Unavailable(text)
            | Refusal::Unsupported(text)
            | Refusal::Invalid(text)
            | Refusal::NoSuchToken(text)
            | Refusal::TokenExists(text)
            | Refusal::NoSuchKey(KeyLabel(text))
            | Refusal::KeyExists(KeyLabel(text)),
        ) => text.len(),
        Answer::Carried(_) | Answer::Attributes(_) => MESSAGE_LEN_BYTES_MAX,
        Answer::Keys { .. } => 2 * MESSAGE_LEN_BYTES_MAX,
        Answer::Done | Answer::Truth(_) | Answer::Refused(_) => 0,
    };
    encode(number, answer, variable_len_bytes)
}

/// The room for a frame whose length field reads `length`.
pub(crate) fn room_for(length: [u8; LENGTH_LEN_BYTES]) -> io::Result<Frame> {
    let len_bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if !(NUMBER_LEN_BYTES..=FRAME_LEN_BYTES_MAX).contains(&len_bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {len_bytes} bytes"),
        ));
    }
    Ok(Zeroizing::new(vec![0; len_bytes]))
}

/// The number of the call a received frame belongs to.
pub(crate) fn number_of(frame: &[u8]) -> io::Result<u64> {
    frame
        .first_chunk::<NUMBER_LEN_BYTES>()
        .map(|number| u64::from_le_bytes(*number))
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The message of a received frame.
pub(crate) fn message_of<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> io::Result<M> {
    postcard::from_bytes(frame.get(NUMBER_LEN_BYTES..).unwrap_or_default())
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn received(frame: &Frame) -> Frame {
        let mut room = room_for(*frame.first_chunk().expect("a length")).expect("a sound length");
        room.copy_from_slice(&frame[LENGTH_LEN_BYTES..]);
        room
    }

    #[test]
    fn the_longest_messages_fit_and_come_back() {
        let long = vec![0x5A; MESSAGE_LEN_BYTES_MAX];
        let request = Request::Seal {
            kek: "kek",
            wrapped: &[7; 40],
            context: &long,
            plaintext: &long,
        };
        let frame = received(&encode_request(u64::MAX, &request).expect("it fits"));
        assert_eq!(number_of(&frame).expect("a number"), u64::MAX);
        let Request::Seal {
            kek,
            wrapped,
            context,
            plaintext,
        } = message_of(&frame).expect("a request")
        else {
            panic!("another request came back");
        };
        assert_eq!((kek, wrapped), ("kek", &[7; 40][..]));
        assert!(context == long && plaintext == long);
    }

    #[test]
    fn a_length_no_frame_has_is_refused_before_room_is_taken() {
        for length in [0, 7, FRAME_LEN_BYTES_MAX as u32 + 1, u32::MAX] {
            assert!(room_for(length.to_le_bytes()).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = number_of(&bytes);
            let _ = message_of::<Request<'_>>(&bytes);
            let _ = message_of::<Answer<'_>>(&bytes);
            let _ = message_of::<SetupAnswer>(&bytes);
        }
    }
}
