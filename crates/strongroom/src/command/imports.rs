//! `strongroom keys`, of keys whose material is made elsewhere.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output;
use crate::escrow::to_pem;
use crate::failure::{Advise as _, advised};
use crate::remote::{Remote, path_segment};

const PUBLIC_KEY: &str = "wrapping-key.pem";
const IMPORT_TOKEN: &str = "import-token";
const RECIPE: &str = "wrap";
const WRAPPED: &str = "material.wrapped";

/// By what the material is wrapped.
#[derive(Clone, Copy, ValueEnum)]
enum Wrapping {
    /// RSAES-OAEP with SHA-1, which every token undoes by itself.
    #[value(name = "RSAES_OAEP_SHA_1")]
    Sha1,
    /// RSAES-OAEP with SHA-256. Where the token does not know it, the value is for a moment in the
    /// memory of the process that drives the token; `strongroom keys material` says so.
    #[value(name = "RSAES_OAEP_SHA_256")]
    Sha256,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeySpec {
    #[value(name = "RSA_2048")]
    Rsa2048,
    #[value(name = "RSA_3072")]
    Rsa3072,
    #[value(name = "RSA_4096")]
    Rsa4096,
}

#[derive(Args)]
pub(crate) struct ParametersArguments {
    /// Key id, ARN or alias of a key that was made with `--external`.
    key: String,
    /// A directory, which is made: the public key, the import token, and the script `wrap` are
    /// written there.
    #[arg(long)]
    output: PathBuf,
    /// By what the material is to be wrapped.
    #[arg(long, value_enum, default_value = "RSAES_OAEP_SHA_1")]
    wrapping: Wrapping,
    /// What pair the token makes to wrap it for.
    #[arg(long, value_enum, default_value = "RSA_3072")]
    key_spec: KeySpec,
}

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// Key id, ARN or alias.
    key: String,
    /// The directory of `strongroom keys import-parameters`, with the wrapped material in it.
    #[arg(long)]
    from: PathBuf,
    /// When the material is taken away again, like 2027-01-31T00:00:00Z, at most 365 days from now;
    /// it stays unless this is given.
    #[arg(long)]
    expires: Option<String>,
    /// It is material that the key has not had: `strongroom keys rotate` then takes it.
    #[arg(long)]
    new: bool,
    /// What to say of it; up to 256 letters, digits, spaces and :/_.-
    #[arg(long)]
    description: Option<String>,
}

pub(super) async fn parameters(
    remote: &Remote,
    asked: &ParametersArguments,
    json_asked: bool,
) -> anyhow::Result<()> {
    let (wrapping, hash) = match asked.wrapping {
        Wrapping::Sha1 => ("RSAES_OAEP_SHA_1", "sha1"),
        Wrapping::Sha256 => ("RSAES_OAEP_SHA_256", "sha256"),
    };
    let key_spec = match asked.key_spec {
        KeySpec::Rsa2048 => "RSA_2048",
        KeySpec::Rsa3072 => "RSA_3072",
        KeySpec::Rsa4096 => "RSA_4096",
    };
    // Before the token makes a key pair for nothing.
    fs::create_dir(&asked.output)
        .with_context(|| format!("cannot make {}", asked.output.display()))
        .advise("name a directory that is not there yet")?;
    let making = output::progress("making a key pair in the token");
    let path = format!("/v1/keys/{}/material/parameters", path_segment(&asked.key));
    let body = json!({ "wrapping_algorithm": wrapping, "wrapping_key_spec": key_spec });
    let made = remote.post(&path, body).await?;
    drop(making);
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let public_key = STANDARD
        .decode(text("public_key"))
        .context("the daemon's answer has no public key")?;
    write(&asked.output.join(PUBLIC_KEY), &to_pem(&public_key))?;
    write(&asked.output.join(IMPORT_TOKEN), &text("import_token"))?;
    write(&asked.output.join(RECIPE), &recipe(&text("key"), hash))?;
    let place = asked.output.display();
    let lines = [
        format!("written to {place}; good until {}", text("valid_to")),
        format!("wrap the 32 bytes of the key with  sh {place}/{RECIPE} FILE"),
        format!(
            "then import them with  strongroom keys import {} --from {place}",
            asked.key
        ),
    ];
    let whole = json!({
        "directory": asked.output, "key": made["key"], "valid_to": made["valid_to"],
        "wrapping_algorithm": wrapping, "wrapping_key_spec": key_spec,
    });
    output::lines(json_asked, &whole, &lines)
}

pub(super) async fn import(
    remote: &Remote,
    asked: &ImportArguments,
    json_asked: bool,
) -> anyhow::Result<()> {
    let read = |name: &str, advice: &'static str| {
        let path = asked.from.join(name);
        fs::read(&path)
            .with_context(|| format!("cannot read {}", path.display()))
            .advise(advice)
    };
    let import_token = read(
        IMPORT_TOKEN,
        "name the directory that `strongroom keys import-parameters` has made",
    )?;
    let wrapped = read(WRAPPED, "wrap the material first: sh DIRECTORY/wrap FILE")?;
    let import_token = String::from_utf8(import_token).map_err(|_| {
        advised(
            anyhow!("{IMPORT_TOKEN} was changed"),
            "get new parameters for the import",
        )
    })?;
    let mut body = json!({
        "import_token": import_token.trim(),
        "encrypted_key_material": STANDARD.encode(wrapped),
        "expires": asked.expires,
        "description": asked.description,
    });
    if asked.new {
        body["type"] = "new".into();
    }
    let path = format!("/v1/keys/{}/material", path_segment(&asked.key));
    let done = remote.post(&path, body).await?;
    show(json_asked, &done, &[done["material"].clone()])
}

/// Lists the imported material of a key.
pub(super) async fn list(remote: &Remote, key: &str, json_asked: bool) -> anyhow::Result<()> {
    let path = format!("/v1/keys/{}/material", path_segment(key));
    let found = remote.get(&path).await?;
    let rows = found["material"].as_array().cloned().unwrap_or_default();
    show(json_asked, &found, &rows)
}

fn show(json_asked: bool, whole: &Value, rows: &[Value]) -> anyhow::Result<()> {
    output::rows(
        json_asked,
        whole,
        rows,
        &[
            ("VERSION", "version"),
            ("STATE", "state"),
            ("PRESENT", "present"),
            ("IMPORTED", "imported"),
            ("EXPIRES", "expires"),
            ("UNWRAPPED", "unwrapped"),
            ("MATERIAL", "key_material_id"),
            ("DESCRIPTION", "description"),
        ],
    )
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// What wraps the material, wherever it is. It needs nothing but `openssl`, and no network.
fn recipe(key: &str, hash: &str) -> String {
    format!(
        "#!/bin/sh
# Wraps the 32 bytes of an AES-256 key, given as a file, for
# {key}.
# Take this directory to where the key is, run this there, and bring {WRAPPED} back.
set -eu
here=$(dirname \"$0\")
if [ $# -ne 1 ] || [ \"$(wc -c < \"$1\")\" -ne 32 ]; then
    echo \"usage: sh $0 FILE, where FILE has the 32 bytes of the key and no more\" >&2
    exit 2
fi
openssl pkeyutl -encrypt -pubin -inkey \"$here/{PUBLIC_KEY}\" -in \"$1\" -out \"$here/{WRAPPED}\" \\
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}
"
    )
}
