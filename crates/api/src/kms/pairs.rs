//! HMAC keys and key pairs: what is asked and answered of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_keys::{
    Caller, DataKeyPairSpec, GeneratedDataKeyPair, Kms, SignedMessage, SigningAlgorithm,
};

use super::keys::put_algorithms;
use super::refusal::Refusal;
use super::request;

pub(super) async fn generate_mac(
    kms: &Kms,
    asked: request::GenerateMac,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let algorithm = mac_algorithm(&asked.mac_algorithm)?;
    let key = request::key(&asked.key_id)?;
    let (arn, mac) = kms
        .generate_mac(&key, algorithm, &asked.message.0, caller)
        .await?;
    Ok(json!({
        "KeyId": arn.as_str(),
        "Mac": STANDARD.encode(mac),
        "MacAlgorithm": algorithm,
    }))
}

pub(super) async fn verify_mac(
    kms: &Kms,
    asked: request::VerifyMac,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let algorithm = mac_algorithm(&asked.mac_algorithm)?;
    let key = request::key(&asked.key_id)?;
    request::check_ciphertext("Mac", &asked.mac)?;
    let arn = kms
        .verify_mac(&key, algorithm, &asked.message.0, &asked.mac.0, caller)
        .await?;
    Ok(json!({
        "KeyId": arn.as_str(),
        "MacValid": true,
        "MacAlgorithm": algorithm,
    }))
}

pub(super) async fn sign(
    kms: &Kms,
    asked: request::Sign,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let algorithm = signing_algorithm(&asked.signing_algorithm)?;
    let message = message(asked.message_type.as_deref(), &asked.message)?;
    let key = request::key(&asked.key_id)?;
    let (arn, signature) = kms.sign(&key, algorithm, message, caller).await?;
    Ok(json!({
        "KeyId": arn.as_str(),
        "Signature": STANDARD.encode(signature),
        "SigningAlgorithm": algorithm.as_str(),
    }))
}

pub(super) async fn verify(
    kms: &Kms,
    asked: request::Verify,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let algorithm = signing_algorithm(&asked.signing_algorithm)?;
    let message = message(asked.message_type.as_deref(), &asked.message)?;
    let key = request::key(&asked.key_id)?;
    request::check_ciphertext("Signature", &asked.signature)?;
    let arn = kms
        .verify(&key, algorithm, message, &asked.signature.0, caller)
        .await?;
    Ok(json!({
        "KeyId": arn.as_str(),
        "SignatureValid": true,
        "SigningAlgorithm": algorithm.as_str(),
    }))
}

pub(super) async fn public_key(
    kms: &Kms,
    asked: request::OneKey,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let found = kms
        .public_key(&request::key(&asked.key_id)?, caller)
        .await?;
    let mut answer = json!({
        "KeyId": found.key.as_str(),
        "PublicKey": STANDARD.encode(&found.der),
        "KeySpec": found.spec.as_str(),
        "CustomerMasterKeySpec": found.spec.as_str(),
        "KeyUsage": found.spec.usage(),
    });
    put_algorithms(&mut answer, found.spec);
    Ok(answer)
}

/// With and without the private key in clear.
pub(super) async fn generate_data_key_pair(
    kms: &Kms,
    asked: request::GenerateDataKeyPair,
    with_plaintext: bool,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let spec = DataKeyPairSpec::named(&asked.key_pair_spec).ok_or_else(|| {
        Refusal::new(
            "UnsupportedOperationException",
            format!("KeyPairSpec {} is not offered", asked.key_pair_spec),
        )
    })?;
    let key = request::key(&asked.key_id)?;
    let context = request::context(asked.encryption_context)?;
    let made: GeneratedDataKeyPair = if with_plaintext {
        kms.generate_data_key_pair(&key, &context, spec, caller)
            .await?
    } else {
        kms.generate_data_key_pair_without_plaintext(&key, &context, spec, caller)
            .await?
    };
    let mut answer = json!({
        "KeyId": made.key.as_str(),
        "KeyPairSpec": spec.as_str(),
        "PublicKey": STANDARD.encode(&made.public),
        "PrivateKeyCiphertextBlob": STANDARD.encode(made.blob.to_bytes()),
    });
    if with_plaintext {
        answer["PrivateKeyPlaintext"] = STANDARD.encode(&*made.private).into();
    }
    Ok(answer)
}

fn mac_algorithm(name: &str) -> Result<&str, Refusal> {
    let known = [
        "HMAC_SHA_224",
        "HMAC_SHA_256",
        "HMAC_SHA_384",
        "HMAC_SHA_512",
    ];
    if known.contains(&name) {
        Ok(name)
    } else {
        Err(Refusal::validation(format!(
            "{name} is not a MAC algorithm"
        )))
    }
}

fn signing_algorithm(name: &str) -> Result<SigningAlgorithm, Refusal> {
    if let Some(algorithm) = SigningAlgorithm::named(name) {
        return Ok(algorithm);
    }
    let others = [
        "SM2DSA",
        "ML_DSA_SHAKE_256",
        "ED25519_SHA_512",
        "ED25519_PH_SHA_512",
    ];
    Err(if others.contains(&name) {
        Refusal::new(
            "UnsupportedOperationException",
            format!("SigningAlgorithm {name} is not offered"),
        )
    } else {
        Refusal::validation(format!("{name} is not a signing algorithm"))
    })
}

fn message<'a>(
    kind: Option<&str>,
    message: &'a request::Blob,
) -> Result<SignedMessage<'a>, Refusal> {
    match kind {
        None | Some("RAW") => Ok(SignedMessage::Raw(&message.0)),
        Some("DIGEST") => Ok(SignedMessage::Digest(&message.0)),
        Some("EXTERNAL_MU") => Err(Refusal::new(
            "UnsupportedOperationException",
            "MessageType EXTERNAL_MU is not offered",
        )),
        Some(other) => Err(Refusal::validation(format!(
            "MessageType is RAW or DIGEST, not {other}"
        ))),
    }
}
