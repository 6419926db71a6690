//! The key daemon's end of the link.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_environment::Entropy;
use strongroom_keys::{
    Caller, CiphertextBlob, EncryptionContext, Home, KeyCustody, KeyError, KeyId, KeyReference,
    KeyVersion, StateObserver, StoreName,
};
use strongroom_seal::DataKey;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::answer::{Refusal, refusal};
use crate::feed::ChangeFeed;
use crate::wire::{
    Authorize, Authorized, BODY_LEN_BYTES_MAX, Changed, Changes, Compromised, CompromisedVersions,
    Decrypt, Decrypted, DescribeKey, Described, EPOCH, Encrypt, Encrypted, Epoch, KeyMetadata,
    OnBehalfOf, Operation, Root, RootLabel, TARGET,
};

/// The longest wait for a change, whatever is asked for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Which of the enrolled stores a certificate is of: the one whose name is a DNS name of it (RFC
/// 6125). A name with a wildcard is nobody's. That the certificate is valid was found out before, by
/// whoever spoke TLS.
#[must_use]
pub fn store_of(certificate: &CertificateDer<'_>, enrolled: &[StoreName]) -> Option<StoreName> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let has = |name: &str| {
        ServerName::try_from(name).is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    };
    let is_of = |store: &&StoreName| {
        // What is good for every name beside that of the store has a wildcard.
        let beside = store
            .as_str()
            .split_once('.')
            .map(|(_, rest)| format!("strongroom-wildcard.{rest}"));
        has(store.as_str()) && !beside.is_some_and(|beside| has(&beside))
    };
    enrolled.iter().find(is_of).cloned()
}

/// Answers stores, over any custody.
#[derive(Debug)]
pub struct LinkService {
    custody: Arc<dyn KeyCustody>,
    feed: Arc<ChangeFeed>,
    home: Home,
    system: KeyId,
    stopped: watch::Receiver<bool>,
}

/// Why a request is not answered with what it asks for.
enum Refused {
    Key(KeyError),
    Request(StatusCode, Box<Refusal>),
}

impl Refused {
    fn of_request(status: StatusCode, told: Refusal) -> Self {
        Self::Request(status, Box::new(told))
    }
}

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl LinkService {
    /// A service over `custody`, whose changes it tells from now on. Whoever waits for a change is
    /// answered when `stopped` says so.
    ///
    /// # Errors
    /// As for [`KeyCustody::resolve`].
    pub async fn start(
        custody: Arc<dyn KeyCustody>,
        home: Home,
        entropy: &dyn Entropy,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, KeyError> {
        let feed = ChangeFeed::new(entropy);
        let observer: std::sync::Weak<dyn StateObserver> =
            Arc::downgrade(&(Arc::clone(&feed) as Arc<dyn StateObserver>));
        custody.watch(observer);
        Ok(Self {
            system: custody.resolve(&KeyReference::system()).await?,
            custody,
            feed,
            home,
            stopped,
        })
    }

    /// Answers one request. `store` is whose certificate the connection has; `None` when it is one
    /// that is valid, and of no store that is enrolled.
    pub async fn handle<B>(
        &self,
        request: Request<B>,
        store: Option<&StoreName>,
    ) -> Response<Full<Bytes>>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path();
        let target = request
            .headers()
            .get(TARGET)
            .and_then(|target| target.to_str().ok());
        let operation = Operation::of(path, target);
        let answered = match (store, operation) {
            (None, _) => Err(Refused::of_request(
                StatusCode::FORBIDDEN,
                Refusal::new(
                    "AccessDeniedException",
                    "not-enrolled",
                    "the certificate is not of a store that this key daemon knows: a DNS name in \
                     it must be one of `link.stores`",
                ),
            )),
            (Some(_), None) => Err(Refused::of_request(
                StatusCode::NOT_FOUND,
                Refusal::new(
                    "UnknownOperationException",
                    "invalid-request",
                    "the link has no such operation: KMS clients and administrators use the \
                     address of the API",
                ),
            )),
            (Some(store), Some(operation)) => self.perform(operation, request, store).await,
        };
        let (status, outcome, text) = match answered {
            Ok(text) => (StatusCode::OK, "done".to_owned(), text),
            Err(refused) => {
                let (status, told) = match refused {
                    Refused::Key(error) => refusal(&error),
                    Refused::Request(status, told) => (status, *told),
                };
                let text = serde_json::to_vec(&told).unwrap_or_default();
                (status, told.reason, Zeroizing::new(text))
            }
        };
        metrics::counter!(
            "strongroom_link_requests_total",
            "operation" => operation.map_or("none", Operation::name),
            "outcome" => outcome,
        )
        .increment(1);
        let mut response = Response::new(Full::new(Bytes::from_owner(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.1"),
        );
        response
    }

    async fn perform<B>(
        &self,
        operation: Operation,
        request: Request<B>,
        store: &StoreName,
    ) -> Result<Zeroizing<Vec<u8>>, Refused>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if operation != Operation::Changes {
            self.check_epoch(&request)?;
        }
        let body = Limited::new(request.into_body(), BODY_LEN_BYTES_MAX);
        let body = body
            .collect()
            .await
            .map_err(|error| invalid(format!("the body: {error}")))?;
        let body = Zeroizing::new(body.to_bytes().to_vec());
        match operation {
            Operation::Encrypt => self.encrypt(read(&body)?, store).await,
            Operation::Decrypt => self.decrypt(read(&body)?, store).await,
            Operation::DescribeKey => self.describe(&read(&body)?).await,
            Operation::Authorize => self.authorize(read(&body)?, store).await,
            Operation::Root => self.root(&read(&body)?).await,
            Operation::Compromised => {
                let Compromised {} = read(&body)?;
                self.compromised().await
            }
            Operation::Changes => self.changes(&read(&body)?).await,
        }
    }

    /// A store that follows another run of the key daemon would not be told of a change to what it
    /// is given here.
    fn check_epoch<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let epoch: Option<Epoch> = request
            .headers()
            .get(EPOCH)
            .and_then(|epoch| epoch.to_str().ok()?.parse().ok());
        if epoch == Some(self.feed.epoch()) {
            return Ok(());
        }
        Err(Refused::of_request(
            StatusCode::MISDIRECTED_REQUEST,
            Refusal::new(
                "ConflictException",
                "other-epoch",
                "this run of the key daemon is not the one that the store follows",
            ),
        ))
    }

    async fn encrypt(
        &self,
        asked: Encrypt,
        store: &StoreName,
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let key = self
            .custody
            .resolve(&asked.key_id.parse::<KeyReference>()?)
            .await?;
        let caller = Self::caller(asked.on_behalf_of, store)?;
        let context = EncryptionContext::of_store(asked.encryption_context, store)?;
        let plaintext = decoded("Plaintext", &asked.plaintext)?;
        let data_key = plaintext
            .first_chunk()
            .filter(|_| plaintext.len() == DataKey::LEN_BYTES)
            .map(DataKey::from_bytes)
            .ok_or_else(|| invalid("`Plaintext` is a data key of 32 bytes"))?;
        let sealed = self.custody.seal(key, &context, &data_key, &caller).await?;
        written(&Encrypted {
            ciphertext_blob: BASE64.encode(sealed.blob.to_bytes()),
            key_id: sealed.key.to_string(),
            encryption_algorithm: "SYMMETRIC_DEFAULT".into(),
        })
    }

    async fn decrypt(
        &self,
        asked: Decrypt,
        store: &StoreName,
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let blob = decoded("CiphertextBlob", &asked.ciphertext_blob)?;
        let blob = CiphertextBlob::from_bytes(&blob)?;
        let caller = Self::caller(asked.on_behalf_of, store)?;
        let context = EncryptionContext::of_store(asked.encryption_context, store)?;
        let opened = self.custody.open(&blob, &context, &caller).await?;
        written(&Decrypted {
            plaintext: Zeroizing::new(BASE64.encode(opened.expose())),
            key_id: self.custody.arn(blob.key()).to_string(),
            encryption_algorithm: "SYMMETRIC_DEFAULT".into(),
        })
    }

    async fn describe(&self, asked: &DescribeKey) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let key = self
            .custody
            .resolve(&asked.key_id.parse::<KeyReference>()?)
            .await?;
        written(&Described {
            key_metadata: KeyMetadata {
                key_id: key.to_string(),
                arn: self.custody.arn(key).to_string(),
            },
        })
    }

    async fn authorize(
        &self,
        asked: Authorize,
        store: &StoreName,
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let key: KeyId = asked.key.parse()?;
        let caller = Self::caller(asked.on_behalf_of, store)?;
        let context = EncryptionContext::of_store(asked.context, store)?;
        let grant = self
            .custody
            .authorize(key, asked.custody_use.into(), &context, &caller)
            .await?;
        written(&Authorized {
            grant: grant.map(|grant| grant.to_string()),
        })
    }

    async fn root(&self, asked: &Root) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let key: KeyId = asked.key.parse()?;
        let label = self.custody.root_of(key, KeyVersion(asked.version)).await?;
        written(&RootLabel { label })
    }

    async fn compromised(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let versions = self.custody.compromised().await?;
        let versions = versions
            .into_iter()
            .map(|(key, version)| (key.to_string(), version.0))
            .collect();
        written(&CompromisedVersions { versions })
    }

    async fn changes(&self, asked: &Changes) -> Result<Zeroizing<Vec<u8>>, Refused> {
        // A custody that is itself elsewhere and not heard of has nothing to say.
        self.custody.heard()?;
        let mut stopped = self.stopped.clone();
        let wait = Duration::from_millis(asked.wait_ms).min(WAIT_MAX);
        let ended = async move {
            // An error means that the sender is gone, which is an end too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let (place, changes) = tokio::select! {
            told = self.feed.wait_after(asked.after, wait) => told,
            () = ended => {
                self.feed.wait_after(asked.after, Duration::ZERO).await
            }
        };
        written(&Changed {
            custody: self.system.to_string(),
            region: self.home.region.clone(),
            account: self.home.account.clone(),
            place,
            changes,
        })
    }

    /// For whom a store asks.
    fn caller(asks: OnBehalfOf, store: &StoreName) -> Result<Caller, Refused> {
        if !asks.is_short() {
            return Err(invalid("a part of `on behalf of` is too long"));
        }
        Ok(asks.caller(store))
    }
}

fn invalid(why: impl Into<String>) -> Refused {
    Refused::of_request(
        StatusCode::BAD_REQUEST,
        Refusal::new("ValidationException", "invalid-request", why),
    )
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    // Only the place is told: the words of an error can repeat a value, and that may be a key.
    serde_json::from_slice(body).map_err(|error| {
        invalid(format!(
            "the body cannot be read at line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

fn decoded(name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, Refused> {
    BASE64
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| invalid(format!("`{name}` is not base64")))
}

fn written<T: Serialize>(answer: &T) -> Result<Zeroizing<Vec<u8>>, Refused> {
    serde_json::to_vec(answer).map(Zeroizing::new).map_err(|_| {
        Refused::of_request(
            StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::new("KMSInternalException", "", "the answer cannot be written"),
        )
    })
}
