//! A client by hand: it signs as AWS describes it, and says on the wire whatever a test wants.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::HEXLOWER;
use md5::{Digest as _, Md5};
use strongroom_environment::{Clock as _, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{AccessKey, World};

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    signed: Vec<(String, String)>,
    unsigned: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    payload: Option<String>,
    date: Option<Timestamp>,
    key: Option<AccessKey>,
    region: Option<String>,
    host: String,
    length: Option<String>,
}

pub(crate) fn request(method: &str, target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: method.into(),
        path: path.into(),
        query: query
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                (name.into(), value.into())
            })
            .collect(),
        signed: Vec::new(),
        unsigned: Vec::new(),
        body: Vec::new(),
        payload: None,
        date: None,
        key: None,
        region: None,
        host: "localhost".into(),
        length: None,
    }
}

impl Request {
    /// A header that is signed.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.signed.push((name.to_lowercase(), value.into()));
        self
    }

    /// A header that is put on the wire and not signed.
    pub(crate) fn unsigned_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.unsigned.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// What `x-amz-content-sha256` says, instead of the digest of the body.
    pub(crate) fn payload(mut self, payload: &str) -> Self {
        self.payload = Some(payload.into());
        self
    }

    pub(crate) fn at(mut self, date: Timestamp) -> Self {
        self.date = Some(date);
        self
    }

    pub(crate) fn by(mut self, key: &AccessKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    pub(crate) fn in_region(mut self, region: &str) -> Self {
        self.region = Some(region.into());
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// What `Content-Length` says, instead of the length of the body; empty leaves it out.
    pub(crate) fn content_length(mut self, length: &str) -> Self {
        self.length = Some(length.into());
        self
    }

    /// The three headers of a customer key.
    pub(crate) fn customer_key(self, key: &[u8; 32]) -> Self {
        self.key_headers("x-amz-server-side-encryption-customer", key)
    }

    /// The three headers of the customer key of a copy's source.
    pub(crate) fn source_key(self, key: &[u8; 32]) -> Self {
        self.key_headers("x-amz-copy-source-server-side-encryption-customer", key)
    }

    fn key_headers(self, prefix: &str, key: &[u8]) -> Self {
        self.header(&format!("{prefix}-algorithm"), "AES256")
            .header(&format!("{prefix}-key"), &BASE64.encode(key))
            .header(
                &format!("{prefix}-key-md5"),
                &BASE64.encode(Md5::digest(key)),
            )
    }

    pub(crate) async fn send(self, world: &World) -> Reply {
        let signed = self.sign(world);
        exchange(world, signed).await
    }

    /// Sends it without any proof of who sends it.
    pub(crate) async fn send_unsigned(self, world: &World) -> Reply {
        let query = self.query_text();
        let bytes = self.on_the_wire(&query, &[]);
        exchange(world, bytes).await
    }

    /// Sends it as a presigned URL.
    pub(crate) async fn send_presigned(self, world: &World, expires_seconds: i64) -> Reply {
        let bytes = self.presign(world, expires_seconds);
        exchange(world, bytes).await
    }

    fn now(&self) -> Timestamp {
        self.date.unwrap_or_else(|| SystemClock::new().now())
    }

    fn scope(&self, world: &World) -> (String, String, AccessKey) {
        let date = compact(self.now());
        let region = self
            .region
            .clone()
            .unwrap_or_else(|| world.ways.region.into());
        let scope = format!("{}/{region}/s3/aws4_request", &date[..8]);
        let key = self.key.clone().unwrap_or_else(|| world.admin.clone());
        (date, scope, key)
    }

    /// The bytes of the signed request.
    pub(crate) fn sign(&self, world: &World) -> Vec<u8> {
        let (date, scope, key) = self.scope(world);
        let payload = self.payload.clone().unwrap_or_else(|| sha256(&self.body));
        let mut headers = self.signed.clone();
        headers.push(("x-amz-date".into(), date.clone()));
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        let query = self.query_text();
        let (canonical, names) = self.canonical(&headers, &query, &payload);
        let signature = sign(&key.secret, &date, &scope, &canonical);
        headers.push((
            "authorization".into(),
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                key.id
            ),
        ));
        self.on_the_wire(&query, &headers)
    }

    fn presign(mut self, world: &World, expires_seconds: i64) -> Vec<u8> {
        let (date, scope, key) = self.scope(world);
        let headers = self.signed.clone();
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.clone()).collect();
        names.push("host".into());
        names.sort();
        self.query.extend([
            ("X-Amz-Algorithm".into(), "AWS4-HMAC-SHA256".into()),
            (
                "X-Amz-Credential".into(),
                encode(&format!("{}/{scope}", key.id)),
            ),
            ("X-Amz-Date".into(), date.clone()),
            ("X-Amz-Expires".into(), expires_seconds.to_string()),
            ("X-Amz-SignedHeaders".into(), encode(&names.join(";"))),
        ]);
        let query = self.query_text();
        let (canonical, _) = self.canonical(&headers, &query, "UNSIGNED-PAYLOAD");
        let signature = sign(&key.secret, &date, &scope, &canonical);
        self.on_the_wire(&format!("{query}&X-Amz-Signature={signature}"), &headers)
    }

    fn query_text(&self) -> String {
        let mut parameters: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        parameters.sort();
        parameters.join("&")
    }

    fn canonical(
        &self,
        headers: &[(String, String)],
        query: &str,
        payload: &str,
    ) -> (String, String) {
        let mut all: BTreeMap<&str, &str> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim()))
            .collect();
        all.insert("host", &self.host);
        let names = all.keys().copied().collect::<Vec<_>>().join(";");
        let lines: String = all
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let canonical = format!(
            "{}\n{}\n{query}\n{lines}\n{names}\n{payload}",
            self.method, self.path
        );
        (canonical, names)
    }

    fn on_the_wire(&self, query: &str, headers: &[(String, String)]) -> Vec<u8> {
        let target = if query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{query}", self.path)
        };
        let mut bytes = format!(
            "{} {target} HTTP/1.1\r\nhost: {}\r\n",
            self.method, self.host
        )
        .into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        for (name, value) in &self.unsigned {
            bytes.extend(format!("{name}: ").into_bytes());
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        match self.length.as_deref() {
            None => bytes.extend(format!("content-length: {}\r\n", self.body.len()).into_bytes()),
            Some("") => {}
            Some(length) => bytes.extend(format!("content-length: {length}\r\n").into_bytes()),
        }
        bytes.extend(b"connection: close\r\n\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// What the service answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(inner, _)| inner.to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Checks that the request was done.
    #[track_caller]
    pub(crate) fn done(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self.check_ids();
        self
    }

    /// Checks how the request was refused.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.element("Code").as_deref()),
            (status, Some(code)),
            "{}",
            self.text()
        );
        assert_eq!(
            self.element("RequestId").as_deref(),
            self.header("x-amz-request-id")
        );
        assert_eq!(self.element("HostId").as_deref(), self.header("x-amz-id-2"));
        assert!(self.element("Resource").is_some());
        self.check_ids();
        self
    }

    #[track_caller]
    fn check_ids(&self) {
        assert!(
            self.header("x-amz-request-id")
                .is_some_and(|id| id.len() == 16)
        );
        assert!(self.header("x-amz-id-2").is_some());
    }

    /// Checks an element of the answer.
    #[track_caller]
    pub(crate) fn says(self, element: &str, text: &str) -> Self {
        assert_eq!(
            self.element(element).as_deref(),
            Some(text),
            "{}",
            self.text()
        );
        self
    }
}

/// Sends bytes as they are, and reads the answer.
pub(crate) async fn exchange(world: &World, bytes: Vec<u8>) -> Reply {
    let mut stream = TcpStream::connect(world.address)
        .await
        .expect("a connection");
    let (mut reader, mut writer) = stream.split();
    let send = async {
        // The service may answer, and close, before it has read everything.
        let _ = writer.write_all(&bytes).await;
        let _ = writer.flush().await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(send, reader.read_to_end(&mut answer));
    if answer.is_empty() {
        read.expect("an answer");
    }
    parse(&answer)
}

fn parse(answer: &[u8]) -> Reply {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("a status line");
    let status = status_line
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    if status == 100 {
        return parse(&answer[end + 4..]);
    }
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_lowercase(), value.trim().to_owned())
        })
        .collect();
    Reply {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn md5_base64(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

fn sign(secret: &str, date: &str, scope: &str, canonical: &str) -> String {
    let text = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac_of(&key, part.as_bytes());
    }
    HEXLOWER.encode(&hmac_of(&key, text.as_bytes()))
}

fn hmac_of(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

pub(crate) fn compact(moment: Timestamp) -> String {
    let text = moment.to_string().replace(['-', ':'], "");
    format!("{}Z", &text[..15])
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
