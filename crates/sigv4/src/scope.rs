//! What an `Authorization` header, or a credential in a query, is made of.

use std::fmt;

/// What the scope of every signature ends with.
const TERMINATOR: &str = "aws4_request";

/// Who is said to have signed, and what the signature is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialScope {
    /// The access key id.
    pub access_key_id: String,
    /// The day, `YYYYMMDD`.
    pub day: String,
    /// The region.
    pub region: String,
    /// The service.
    pub service: String,
    /// What it ends with: `aws4_request` when it is well-formed.
    pub terminator: String,
}

impl CredentialScope {
    /// Reads `ID/DAY/REGION/SERVICE/aws4_request`; `None` when there are not five parts.
    ///
    /// Whether the parts are the right ones is left to the caller, who can say what is wrong.
    #[must_use]
    pub fn parse(credential: &str) -> Option<Self> {
        // An access key id could hold a slash, the rest cannot.
        let mut parts = credential.rsplitn(5, '/').map(str::to_owned);
        let scope = Self {
            terminator: parts.next()?,
            service: parts.next()?,
            region: parts.next()?,
            day: parts.next()?,
            access_key_id: parts.next()?,
        };
        (!scope.access_key_id.is_empty()).then_some(scope)
    }

    /// Whether it ends as it must.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.terminator == TERMINATOR
    }
}

/// The scope without the access key id: `DAY/REGION/SERVICE/aws4_request`.
impl fmt::Display for CredentialScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.day, self.region, self.service, self.terminator
        )
    }
}

/// The components of an `Authorization` header, after the name of the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthorizationParts<'a> {
    /// `Credential`, see [`CredentialScope::parse`].
    pub credential: &'a str,
    /// `SignedHeaders`: names in lower case, separated by semicolons.
    pub signed_headers: &'a str,
    /// `Signature`, in hexadecimal.
    pub signature: &'a str,
}

/// Reads the components, each of them once and in the order that every client writes them: there
/// is no second way to read a header that was accepted. `None` when it is not so.
#[must_use]
pub fn authorization_parts(parameters: &str) -> Option<AuthorizationParts<'_>> {
    let mut parts = parameters.split(',').map(str::trim);
    let read = AuthorizationParts {
        credential: parts.next()?.strip_prefix("Credential=")?,
        signed_headers: parts.next()?.strip_prefix("SignedHeaders=")?,
        signature: parts.next()?.strip_prefix("Signature=")?,
    };
    parts.next().is_none().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_five_parts_and_an_id() {
        let scope = CredentialScope::parse("A/B/20260101/r/s3/aws4_request").expect("a scope");
        assert_eq!(scope.access_key_id, "A/B");
        assert_eq!(scope.to_string(), "20260101/r/s3/aws4_request");
        assert!(scope.is_terminated());
        for wrong in ["", "A", "A/20260101/r/s3", "/20260101/r/s3/aws4_request"] {
            assert_eq!(CredentialScope::parse(wrong), None, "{wrong}");
        }
        let other = CredentialScope::parse("A/20260101/r/s3/aws5_request").expect("five parts");
        assert!(!other.is_terminated());
    }

    #[test]
    fn components_come_once_and_in_order() {
        let whole = "Credential=C, SignedHeaders=a;b,Signature=S";
        assert_eq!(
            authorization_parts(whole),
            Some(AuthorizationParts {
                credential: "C",
                signed_headers: "a;b",
                signature: "S"
            })
        );
        for wrong in [
            "",
            "Credential=C, SignedHeaders=a",
            "SignedHeaders=a, Credential=C, Signature=S",
            "Credential=C, SignedHeaders=a, Signature=S, Signature=T",
        ] {
            assert_eq!(authorization_parts(wrong), None, "{wrong}");
        }
    }
}
