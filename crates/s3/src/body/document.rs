//! Bodies that are documents: small, read whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{Stream, StreamExt as _};
use md5::{Digest as _, Md5};
use strongroom_store::BodyError;

use crate::faults::{body_refusal, content_md5};
use crate::refusal::{Code, Outcome, Refusal};

/// Ten thousand parts with a checksum each take about 3 MB, a thousand keys to delete about 7 MB.
const LEN_BYTES_MAX: usize = 8 << 20;

/// Reads a document, and checks it against `Content-MD5` if there is one.
pub(crate) async fn read_document(
    mut body: impl Stream<Item = Result<bytes::Bytes, BodyError>> + Unpin,
    stated_md5: Option<&str>,
) -> Outcome<Vec<u8>> {
    let mut document = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| body_refusal(&error))?;
        if document.len() + piece.len() > LEN_BYTES_MAX {
            return Err(Refusal::new(Code::MaxMessageLengthExceeded)
                .field("MaxMessageLengthBytes", LEN_BYTES_MAX.to_string()));
        }
        document.extend_from_slice(&piece);
    }
    if let Some(stated) = stated_md5 {
        let digest = content_md5(stated)?;
        let computed: [u8; 16] = Md5::digest(&document).into();
        if digest != computed {
            return Err(Refusal::new(Code::BadDigest)
                .field("ExpectedDigest", stated)
                .field("CalculatedDigest", BASE64.encode(computed)));
        }
    }
    Ok(document)
}
