//! What a request is about: the bucket and the key in its host and path, and its query.

use data_encoding::HEXUPPER_PERMISSIVE;
use http::Uri;

use crate::refusal::{Code, Outcome, Refusal};

/// What a request is about, by name. The names are not yet checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    /// The service as a whole.
    Service,
    /// A bucket.
    Bucket(String),
    /// An object of a bucket.
    Object(String, String),
}

impl Address {
    /// Reads the address out of the host and the path.
    ///
    /// With a base domain, `bucket.base-domain` names the bucket (virtual-hosted style); any
    /// other host, and every request without a base domain, is path-style.
    pub(crate) fn of(host: Option<&str>, path: &str, base_domain: Option<&str>) -> Outcome<Self> {
        let path = path.strip_prefix('/').ok_or(Code::InvalidUri)?;
        if let Some(bucket) = bucket_of_host(host, base_domain) {
            return Ok(match percent_decode(path)? {
                key if key.is_empty() => Self::Bucket(bucket),
                key => Self::Object(bucket, key),
            });
        }
        if path.is_empty() {
            return Ok(Self::Service);
        }
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let bucket = percent_decode(bucket)?;
        Ok(match percent_decode(key)? {
            key if key.is_empty() => Self::Bucket(bucket),
            key => Self::Object(bucket, key),
        })
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The path that error answers name as the resource.
    pub(crate) fn resource(&self) -> String {
        match self {
            Self::Service => "/".to_owned(),
            Self::Bucket(bucket) => format!("/{bucket}"),
            Self::Object(bucket, key) => format!("/{bucket}/{key}"),
        }
    }
}

fn bucket_of_host(host: Option<&str>, base_domain: Option<&str>) -> Option<String> {
    let host = host?.to_ascii_lowercase();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let bucket = host
        .strip_suffix(&base_domain?.to_ascii_lowercase())?
        .strip_suffix('.')?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

/// Decodes `%XX`. Anything that is not well-formed UTF-8 in the end is no URI of the protocol.
pub(crate) fn percent_decode(text: &str) -> Outcome<String> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(text.to_owned());
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2).ok_or(Code::InvalidUri)?;
            rest = tail;
            let value = HEXUPPER_PERMISSIVE
                .decode(digits)
                .map_err(|_| Refusal::new(Code::InvalidUri))?;
            decoded.extend(value);
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8(decoded).map_err(|_| Code::InvalidUri.into())
}

/// Encodes a key for `encoding-type=url`: everything but unreserved characters and the slash.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'*' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
            }
        }
    }
    encoded
}

/// The query of a request, decoded, in the client's order.
#[derive(Clone, Default, Debug)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Reads the query of a URI.
    pub(crate) fn of(uri: &Uri) -> Outcome<Self> {
        let mut parameters = Vec::new();
        for parameter in uri.query().unwrap_or("").split('&') {
            if parameter.is_empty() {
                continue;
            }
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decode = |text: &str| percent_decode(&text.replace('+', " "));
            parameters.push((decode(name)?, decode(value)?));
        }
        Ok(Self { parameters })
    }

    /// Whether there is a parameter of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(known, _)| known == name)
    }

    /// The value of the parameter of this name, if there is one; more than one is an error.
    pub(crate) fn get(&self, name: &'static str) -> Outcome<Option<&str>> {
        let mut values = self.parameters.iter().filter(|(known, _)| known == name);
        let value = values.next();
        match values.next() {
            None => Ok(value.map(|(_, value)| value.as_str())),
            Some((_, second)) => Err(Refusal::argument(
                "A query parameter is given more than once",
                name,
                second.clone(),
            )),
        }
    }

    /// All parameters.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bucket: &str, key: &str) -> Address {
        Address::Object(bucket.into(), key.into())
    }

    #[test]
    fn path_style_and_virtual_hosted_style_name_the_same_object() {
        let path_style = Address::of(Some("127.0.0.1:9000"), "/bucket/a%20b/c", None).unwrap();
        assert_eq!(path_style, object("bucket", "a b/c"));
        let domain = Some("s3.example.org");
        for (host, path, expected) in [
            ("bucket.s3.example.org:9000", "/k", object("bucket", "k")),
            (
                "Bucket.S3.example.org",
                "/",
                Address::Bucket("bucket".into()),
            ),
            ("a.b.s3.example.org", "/k", object("a.b", "k")),
            ("s3.example.org", "/bucket/k", object("bucket", "k")),
            ("10.0.0.1", "/bucket//k/", object("bucket", "/k/")),
            (
                "s3.example.org",
                "/bucket/",
                Address::Bucket("bucket".into()),
            ),
            ("s3.example.org", "/", Address::Service),
        ] {
            assert_eq!(
                Address::of(Some(host), path, domain).unwrap(),
                expected,
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for path in ["*", "", "/b/%", "/b/%2", "/b/%zz", "/b/%ff"] {
            let refused = Address::of(None, path, None).expect_err(path);
            assert_eq!(refused.code(), Code::InvalidUri, "{path}");
        }
    }

    #[test]
    fn a_query_is_decoded_and_no_parameter_counts_twice() {
        let uri: Uri = "/b?prefix=a+b%2Fc&versions&max-keys=5".parse().unwrap();
        let query = Query::of(&uri).unwrap();
        assert_eq!(query.get("prefix").unwrap(), Some("a b/c"));
        assert_eq!(query.get("versions").unwrap(), Some(""));
        assert!(query.has("versions") && !query.has("marker"));
        let twice = Query::of(&"/b?a=1&a=2".parse().unwrap()).unwrap();
        assert_eq!(twice.get("a").unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn keys_are_encoded_for_listings() {
        assert_eq!(percent_encode("a b/ü+&.txt"), "a%20b/%C3%BC%2B%26.txt");
    }
}
