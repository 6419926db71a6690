//! The command line's way to a running daemon: JSON over its HTTP API.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

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
        if let (Some(url), Some(token)) = (&self.api_url, &token) {
            return Ok(Remote {
                url: url.trim_end_matches('/').to_owned(),
                token: token.clone(),
            });
        }
        let path = self.data.join(crate::data_dir::CLIENT_FILE);
        let file: ClientFile = match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not a client file", path.display()))?,
            Err(_) => bail!(
                "no daemon is named: give --api-url and --admin-token-file, or --data with the \
                 directory of a running `strongroom dev` ({} is not there)",
                path.display()
            ),
        };
        Ok(Remote {
            url: self.api_url.clone().unwrap_or(file.api_url),
            token: token.unwrap_or(Zeroizing::new(file.admin_token)),
        })
    }
}

impl Remote {
    /// Makes a request and gives the parsed answer; `Null` when there is none.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .context("the system's certificates cannot be read")?
            .https_or_http()
            .enable_http1()
            .build();
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token.as_str()))
            .header("content-type", "application/json")
            .body(Full::new(
                body.map(|body| body.to_string()).unwrap_or_default().into(),
            ))?;
        let answer = client
            .request(request)
            .await
            .with_context(|| format!("no daemon answers at {}; is it running?", self.url))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let detail = problem["detail"].as_str().map_or_else(
                || String::from_utf8_lossy(&bytes).into_owned(),
                str::to_owned,
            );
            return Err(anyhow!("{detail} ({status} to {method} {path})"));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("the daemon's answer is not JSON")
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
