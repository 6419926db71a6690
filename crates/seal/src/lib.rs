//! Turns plaintext into a sealed stream and back: C2SP chunked-encryption with key commitment, and the key derivations around it.
//!
//! A payload is sealed under a random [`DataKey`] as C2SP chunked-encryption in its instance
//! Cobblestone-256 (<https://c2sp.org/chunked-encryption>): chunks of 16 KiB, each sealed with
//! AES-256-GCM under a key that is derived afresh for every payload and committed to in its
//! header. [`Sealer`] and [`Opener`] work on the caller's buffers, in place or from one into
//! another; [`layout`] says which bytes are where. The data key itself is sealed by
//! [`KeyWrap`], under a bucket key or under the key that [`customer_kek`] derives from a
//! customer's.
//!
//! The crate does no input or output and knows no owner of a key. The formats are described in
//! `docs/format/payload.md` and `docs/format/key-wrap.md`.
//!
//! ```
//! use strongroom_environment::SystemEntropy;
//! use strongroom_seal::{DataKey, Opener, Salt, Sealer};
//!
//! let key = DataKey::generate(&SystemEntropy);
//! let (sealer, header) = Sealer::new(&key, &Salt::generate(&SystemEntropy), b"what it is");
//! let mut chunk = [b"a short message".as_slice(), &[0; 16]].concat();
//! sealer.seal_last(&mut chunk)?;
//!
//! let opener = Opener::new(&key, b"what it is", &header)?;
//! let plain = opener.open_chunk(0, true, &mut chunk)?;
//! assert_eq!(plain, b"a short message");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod customer;
mod engine;
mod key;
pub mod layout;
mod open;
mod payload;
mod run;
mod scrub;
mod seal;
mod wrap;

pub use customer::{CheckValue, customer_kek, customer_kek_with_engine};
pub use engine::Engine;
pub use key::DataKey;
pub use open::{OpenError, OpenStream, Opener};
pub use payload::{HEADER_LEN_BYTES, PayloadContext, Salt};
pub use run::RunBuffer;
pub use scrub::scrub_stack;
pub use seal::{SealError, Sealer};
pub use wrap::{KeyWrap, UnwrapError, WRAPPED_LEN_BYTES, WrappedDataKey};

/// Whether this build seals. False only in the profile `unsealed-bench`, in which payload bytes
/// stay as they are, so that the cost of sealing can be measured; a daemon tells it at start-up.
pub const SEALS: bool = !cfg!(unsealed);
