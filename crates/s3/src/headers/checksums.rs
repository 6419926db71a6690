//! Checksums that a client sends, announces or asks for.

use http::HeaderMap;
use strongroom_store::{BodyError, Checksum, ChecksumAlgorithm, ChecksumType};

use super::one;
use crate::body::{BodyFault, SharedTrailers};
use crate::refusal::{Code, Outcome, Refusal};

/// The checksum of a body, as the headers have it.
#[derive(Default, Debug)]
pub(crate) struct BodyChecksum {
    /// Which; `None` when the client says nothing.
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    /// It stands in a header.
    pub(crate) stated: Option<Checksum>,
    /// It comes in a trailer.
    pub(crate) in_trailer: bool,
}

/// The header of an algorithm's checksum.
pub(crate) const fn header_of(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::with_message(Code::InvalidRequest, message)
}

/// The checksum that stands in the headers, if there is one.
pub(crate) fn stated_checksum(headers: &HeaderMap) -> Outcome<Option<Checksum>> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let name = header_of(algorithm);
        let Some(text) = one(headers, name)? else {
            continue;
        };
        if found.is_some() {
            return Err(invalid(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
                    .into(),
            ));
        }
        let checksum = Checksum::from_base64(algorithm, text)
            .ok_or_else(|| invalid(format!("Value for {name} header is invalid.")))?;
        found = Some(checksum);
    }
    Ok(found)
}

/// The checksum of the body of a PUT or of a part.
pub(crate) fn body_checksum(headers: &HeaderMap) -> Outcome<BodyChecksum> {
    let stated = stated_checksum(headers)?;
    let trailing = match one(headers, "x-amz-trailer")? {
        None => None,
        Some(name) => Some(
            ChecksumAlgorithm::ALL
                .into_iter()
                .find(|algorithm| header_of(*algorithm).eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    invalid(
                        "The value specified in the x-amz-trailer header is not supported".into(),
                    )
                })?,
        ),
    };
    if stated.is_some() && trailing.is_some() {
        return Err(invalid(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
                .into(),
        ));
    }
    let algorithm = stated.as_ref().map(Checksum::algorithm).or(trailing);
    if let Some(named) = algorithm_named(headers, "x-amz-sdk-checksum-algorithm")? {
        match algorithm {
            None => {
                return Err(invalid(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
                        .into(),
                ));
            }
            Some(sent) if sent != named => {
                return Err(invalid(
                    "Value for x-amz-sdk-checksum-algorithm header is invalid.".into(),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(BodyChecksum {
        algorithm,
        stated,
        in_trailer: trailing.is_some(),
    })
}

fn algorithm_named(headers: &HeaderMap, name: &'static str) -> Outcome<Option<ChecksumAlgorithm>> {
    one(headers, name)?
        .map(|text| {
            ChecksumAlgorithm::parse(text).ok_or_else(|| {
                invalid(
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
                        .into(),
                )
            })
        })
        .transpose()
}

/// The checksum that a copy or an upload is asked to have.
pub(crate) fn checksum_named(headers: &HeaderMap) -> Outcome<Option<ChecksumAlgorithm>> {
    algorithm_named(headers, "x-amz-checksum-algorithm")
}

/// How the checksum of an upload is made of those of its parts.
pub(crate) fn checksum_of_parts(headers: &HeaderMap) -> Outcome<Option<ChecksumType>> {
    one(headers, "x-amz-checksum-type")?
        .map(|text| match text {
            "COMPOSITE" => Ok(ChecksumType::Composite),
            "FULL_OBJECT" => Ok(ChecksumType::FullObject),
            _ => Err(invalid(
                "Value for x-amz-checksum-type header is invalid.".into(),
            )),
        })
        .transpose()
}

impl BodyChecksum {
    /// What the store reads the checksum in the trailer with.
    pub(crate) fn trailer(
        &self,
        trailers: &SharedTrailers,
    ) -> Option<strongroom_store::ChecksumTrailer> {
        let algorithm = self.algorithm.filter(|_| self.in_trailer)?;
        let trailers = trailers.clone();
        Some(Box::new(move || {
            let fault = || BodyError::from(BodyFault::Trailer);
            let text = trailers.get(header_of(algorithm)).ok_or_else(fault)?;
            Checksum::from_base64(algorithm, &text)
                .map(Some)
                .ok_or_else(fault)
        }))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_checksum_is_stated_announced_or_not_there() {
        let none = body_checksum(&headers(&[])).unwrap();
        assert!(none.algorithm.is_none() && none.stated.is_none() && !none.in_trailer);
        let stated = body_checksum(&headers(&[
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ]))
        .unwrap();
        assert_eq!(stated.stated.unwrap().to_base64(), "y/Q5Jg==");
        let announced = body_checksum(&headers(&[
            ("x-amz-trailer", "x-amz-checksum-crc64nvme"),
            ("x-amz-sdk-checksum-algorithm", "CRC64NVME"),
        ]))
        .unwrap();
        assert_eq!(announced.algorithm, Some(ChecksumAlgorithm::Crc64Nvme));
        assert!(announced.in_trailer);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for pairs in [
            &[("x-amz-checksum-crc32", "not base64")][..],
            &[("x-amz-checksum-crc32", "AAAAAAAAAAA=")],
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-checksum-crc32c", "y/Q5Jg=="),
            ],
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-trailer", "x-amz-checksum-sha1"),
            ],
            &[("x-amz-trailer", "x-amz-other")],
            &[("x-amz-sdk-checksum-algorithm", "CRC32")],
            &[
                ("x-amz-sdk-checksum-algorithm", "CRC7"),
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ],
            &[
                ("x-amz-sdk-checksum-algorithm", "SHA1"),
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ],
        ] {
            let refused = body_checksum(&headers(pairs)).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidRequest, "{pairs:?}");
        }
    }
}
