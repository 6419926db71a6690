//! One keep-alive connection that signs requests (AWS Signature Version 4) and reads answers to
//! their end.
//!
//! The payload of S3 requests is declared `UNSIGNED-PAYLOAD`, so the generator spends its processor on the load
//! and not on hashing what it sends.

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpStream;

use crate::target::{Target, authority};

/// A connection to the server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    signer: Signer,
}

impl Connection {
    /// Connects to the S3 endpoint, with `TCP_NODELAY` as every S3 client does.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        Self::to(target, &target.url, "s3").await
    }

    /// Connects to the endpoint at `url`, signing for `service`.
    pub(crate) async fn to(
        target: &Target,
        url: &str,
        service: &'static str,
    ) -> anyhow::Result<Self> {
        let host = authority(url)?.to_owned();
        let stream = TcpStream::connect(&host)
            .await
            .with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host,
            signer: Signer::new(target, service),
        })
    }

    /// Sends a request, reads the answer to its end and returns the number of body bytes read.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> anyhow::Result<u64> {
        let mut len_bytes = 0;
        self.exchange(method, path, headers, body, UNSIGNED_PAYLOAD, |data| {
            len_bytes += data.len() as u64;
        })
        .await?;
        Ok(len_bytes)
    }

    /// Makes a call of the KMS protocol and returns the answer's body.
    pub(crate) async fn call(&mut self, operation: &str, body: Bytes) -> anyhow::Result<Vec<u8>> {
        let headers = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", format!("TrentService.{operation}")),
        ];
        let sha256 = HEXLOWER.encode(&Sha256::digest(&body));
        let mut answer = Vec::new();
        self.exchange(Method::POST, "/", &headers, body, &sha256, |data| {
            answer.extend_from_slice(data);
        })
        .await?;
        Ok(answer)
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        sha256: &str,
        mut read: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        let signed = self.signer.sign(
            &method,
            path,
            &self.host,
            headers,
            sha256,
            OffsetDateTime::now_utc(),
        )?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", &self.host)
            .header("x-amz-content-sha256", sha256)
            .header("x-amz-date", signed.date)
            .header("authorization", signed.authorization);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.sender.ready().await?;
        let answer = self
            .sender
            .send_request(request.body(Full::new(body))?)
            .await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut refusal = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                read(&data);
                if !status.is_success() && refusal.len() < 4_096 {
                    refusal.extend_from_slice(&data);
                }
            }
        }
        if !status.is_success() {
            bail!(
                "{method} {path} was answered {status}: {}",
                String::from_utf8_lossy(&refusal)
            );
        }
        Ok(())
    }
}

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

struct Signer {
    access_key_id: String,
    secret: String,
    region: String,
    service: &'static str,
    /// The signing key of a day, derived once.
    of_day: Option<(String, hmac::Key)>,
}

struct Signed {
    date: String,
    authorization: String,
}

impl Signer {
    fn new(target: &Target, service: &'static str) -> Self {
        Self {
            access_key_id: target.access_key_id.clone(),
            secret: target.secret_access_key.clone(),
            region: target.region.clone(),
            service,
            of_day: None,
        }
    }

    fn sign(
        &mut self,
        method: &Method,
        path: &str,
        host: &str,
        headers: &[(&'static str, String)],
        sha256: &str,
        now: OffsetDateTime,
    ) -> anyhow::Result<Signed> {
        let date = now.format(format_description!(
            "[year][month][day]T[hour][minute][second]Z"
        ))?;
        let day = date[..8].to_owned();
        let mut canonical: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([
                ("host", host),
                ("x-amz-content-sha256", sha256),
                ("x-amz-date", date.as_str()),
            ])
            .collect();
        canonical.sort_unstable();
        let names: Vec<&str> = canonical.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = canonical
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let request = format!("{method}\n{path}\n\n{lines}\n{names}\n{sha256}");
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            HEXLOWER.encode(&Sha256::digest(request))
        );
        let signature = hmac::sign(self.key_of_day(&day), to_sign.as_bytes());
        Ok(Signed {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
                self.access_key_id,
                HEXLOWER.encode(signature.as_ref())
            ),
            date,
        })
    }

    fn key_of_day(&mut self, day: &str) -> &hmac::Key {
        let key = match self.of_day.take() {
            Some((of, key)) if of == day => key,
            _ => {
                let mut secret = format!("AWS4{}", self.secret).into_bytes();
                for part in [day, &self.region, self.service, "aws4_request"] {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                    secret = hmac::sign(&key, part.as_bytes()).as_ref().to_vec();
                }
                hmac::Key::new(hmac::HMAC_SHA256, &secret)
            }
        };
        &self.of_day.insert((day.to_owned(), key)).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GET Object example of "Signature Calculations for the Authorization Header" in the
    /// Amazon S3 API reference: its string to sign and the signature it gives.
    #[test]
    fn the_signing_key_is_that_of_the_published_example() {
        let target = Target {
            url: "http://examplebucket.s3.amazonaws.com".to_owned(),
            api_url: None,
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        };
        let mut signer = Signer::new(&target, "s3");
        let to_sign = "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
            7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972";
        let signature = hmac::sign(signer.key_of_day("20130524"), to_sign.as_bytes());
        assert_eq!(
            HEXLOWER.encode(signature.as_ref()),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
