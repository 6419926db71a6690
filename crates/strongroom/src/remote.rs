//! The command line's way to a running daemon: JSON over its HTTP API.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::failure::{Advise as _, Refused, advised};
use crate::terminal::shown;

const SEE_URL: &str = "see that the URL is that of its HTTP API, and not of its S3 endpoint";
const WRITE_URL: &str = "write it like http://127.0.0.1:9100";

/// Which daemon to talk to, and as whom.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoteArguments {
    /// The daemon's HTTP API. When neither this nor a token is given, both are read from the data
    /// directory of `strongroom dev`.
    #[arg(long, env = "STRONGROOM_API_URL", global = true)]
    api_url: Option<String>,
    /// A file with the administrator's bearer token.
    #[arg(long, env = "STRONGROOM_ADMIN_TOKEN_FILE", global = true)]
    admin_token_file: Option<PathBuf>,
    /// The administrator's bearer token itself; prefer the file.
    #[arg(
        long,
        env = "STRONGROOM_ADMIN_TOKEN",
        hide_env_values = true,
        hide = true,
        global = true
    )]
    admin_token: Option<String>,
    /// The data directory of `strongroom dev`.
    #[arg(long, default_value = "./strongroom-data", global = true)]
    data: PathBuf,
}

#[derive(Deserialize)]
struct ClientFile {
    api_url: String,
    admin_token: String,
}

/// A daemon that can be asked.
pub(crate) struct Remote {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    token: Zeroizing<String>,
}

impl RemoteArguments {
    pub(crate) fn connect(&self) -> anyhow::Result<Remote> {
        let token = match (&self.admin_token, &self.admin_token_file) {
            (Some(token), _) => Some(Zeroizing::new(token.clone())),
            (None, Some(path)) => Some(Zeroizing::new(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token in {}", path.display()))?
                    .trim()
                    .to_owned(),
            )),
            (None, None) => None,
        };
        match (&self.api_url, token) {
            (Some(url), Some(token)) => Remote::new(url, token),
            (Some(url), None) => Err(advised(
                anyhow!("{url} is named, but no token for it"),
                "give the administrator's token of that daemon with --admin-token-file",
            )),
            (None, Some(_)) => Err(advised(
                anyhow!("a token is given, but no daemon is named"),
                "name the daemon's HTTP API with --api-url",
            )),
            (None, None) => self.connect_to_dev(),
        }
    }

    /// The daemon that keeps the data directory, as it wrote down itself.
    fn connect_to_dev(&self) -> anyhow::Result<Remote> {
        let path = self.data.join(crate::data_dir::CLIENT_FILE);
        let text = std::fs::read_to_string(&path)
            .map(Zeroizing::new)
            .with_context(|| format!("no daemon is named, and {} cannot be read", path.display()))
            .advise(
                "give --api-url and --admin-token-file, or --data with the directory of a \
                 running `strongroom dev`",
            )?;
        let file: ClientFile = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a client file", path.display()))
            .advise("start `strongroom dev` on that directory again: it writes the file anew")?;
        Remote::new(&file.api_url, Zeroizing::new(file.admin_token))
    }
}

impl Remote {
    fn new(url: &str, token: Zeroizing<String>) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let named: http::Uri = url
            .parse()
            .with_context(|| format!("{url:?} is not a URL"))
            .advise(WRITE_URL)?;
        // The system's certificates are not asked for where none is checked.
        let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?;
        let tls = match named.scheme_str() {
            Some("https") => tls
                .with_native_roots()
                .context("the system's certificates cannot be read")
                .advise(
                    "install them (`apt-get install ca-certificates`), or name a PEM file with \
                     the environment variable SSL_CERT_FILE",
                )?,
            Some("http") => tls.with_root_certificates(rustls::RootCertStore::empty()),
            _ => {
                return Err(advised(
                    anyhow!("{url:?} is not the URL of a daemon"),
                    WRITE_URL,
                ));
            }
        }
        .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url,
            token,
        })
    }

    /// Makes a request and gives the parsed answer; `Null` when there is none.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut authorization =
            HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", self.token.as_str())))
                .map_err(|_| anyhow!("the administrator's token is not one line of ASCII text"))
                .advise("give the token that `strongroom init` made")?;
        authorization.set_sensitive(true);
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url))
            .header("authorization", authorization)
            .header("content-type", "application/json")
            .body(Full::new(
                body.map(|body| body.to_string()).unwrap_or_default().into(),
            ))?;
        let answer = self
            .client
            .request(request)
            .await
            .with_context(|| format!("no daemon answers at {}", self.url))
            .advise(
                "see that it runs, that this is the URL of its HTTP API, and that its certificate \
                 is one this machine trusts (SSL_CERT_FILE names others)",
            )?;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .context("the daemon's answer broke off")
            .advise("try again; the daemon's log says more")?
            .to_bytes();
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let Some(detail) = problem["detail"].as_str() else {
                return Err(advised(
                    anyhow!(
                        "what answers at {} is not the HTTP API of a daemon ({status} to {method} \
                         {path})",
                        self.url
                    ),
                    SEE_URL,
                ));
            };
            let refused = Refused {
                status,
                detail: shown(detail),
                request: format!("{method} {path}"),
            };
            return Err(match problem["proposal"].as_str() {
                Some(proposal) => advised(
                    refused,
                    format!(
                        "see it with `strongroom quorum show {proposal}`; when enough custodians \
                         have approved it, give this command again"
                    ),
                ),
                None => refused.into(),
            });
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .context("the daemon's answer is not JSON")
            .advise(SEE_URL)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// All items of a listing that is paged by a `next` cursor.
    pub(crate) async fn all(&self, path: &str, items: &str) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let path = match &cursor {
                None => path.to_owned(),
                Some(cursor) => format!("{path}?cursor={}", path_segment(cursor)),
            };
            let mut page = self.get(&path).await?;
            if let Some(listed) = page[items].as_array_mut() {
                found.append(listed);
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(found),
            }
        }
    }
}

/// Text as one segment of a path, or one value of a query (RFC 3986).
pub(crate) fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_segment_holds_nothing_that_ends_it() {
        assert_eq!(path_segment("a/b?c=ä &~"), "a%2Fb%3Fc%3D%C3%A4%20%26~");
    }
}
