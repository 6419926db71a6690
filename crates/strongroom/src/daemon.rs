//! Wiring: which engine stands behind each seam, in which order things start and end.
//!
//! Start: token, then the audit log (its checkpoints are signed by the token), then the key
//! service, then the store, then the lifecycle, then the sockets. Where a key daemon has custody of
//! the keys, it and the metadata come before the audit log, whose key is a row that the key daemon
//! opens. End: the reverse. The audit log is closed last, with a checkpoint over everything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::service::Service as _;
use strongroom_api::{ApiConfig, Custody, ObjectHalf};
use strongroom_audit::{self as audit, CheckpointSigner, Durability, Log, LogConfig, Origin};
use strongroom_blobs::{LocalBlobs, LocalBlobsConfig};
use strongroom_custody_link::{LinkConfig, LinkService, RemoteCustody};
use strongroom_environment::{Clock, Entropy, SystemClock, SystemEntropy};
use strongroom_keys::{
    Caller, Home, KeyLimits, KeyService, KeysConfig, Kms, NewUser, ObjectKeys, Quorum, Role,
    SealedSigner, StoreKeys, TokenSigner, Users, ensure_token_keys,
};
use strongroom_lifecycle::cold::{DirectoryTier, TierSettings};
use strongroom_lifecycle::{Lifecycle, LifecycleSeams, LifecycleSettings};
use strongroom_meta::{MetaStore, OpenError, RedbStore, Scan, Table};
use strongroom_pkcs11::TokenPair;
use strongroom_s3::{Connection, S3Config};
use strongroom_store::{Store, StoreSeams};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::config::{Config, CustodySettings};
use crate::data_dir;
use crate::due;
use crate::escrow;
use crate::failure::{Advise as _, advised};
use crate::listen::{Listener, Peer};
use crate::rewrap;
use crate::tls;
use crate::token::{self, OpenToken};

/// How much of the product a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Objects and keys.
    Whole,
    /// The key service alone.
    KeysOnly,
}

/// The key service with everything below it: whole, or the half beside the objects, where custody of
/// the keys is with a key daemon.
pub(crate) struct KeyDaemon {
    custody: Custody,
    /// The whole key service, where custody is here.
    service: Option<KeyService>,
    objects: Arc<ObjectKeys>,
    users: Arc<Users>,
    log: Log,
    meta: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Where two tokens serve as one.
    pair: Option<Arc<TokenPair>>,
    publisher: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl KeyDaemon {
    /// Starts what the configuration says.
    pub(crate) async fn start(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        data_dir::make(&config.data_dir)?;
        let limits = KeyLimits {
            bucket_key_age_max: config.bucket_key_age_max,
            bucket_key_uses_max: config.bucket_key_uses_max,
            ..KeyLimits::default()
        };
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        match &config.custody {
            None => Self::start_with_token(config, limits, clock, entropy).await,
            Some(custody) => Self::start_apart(config, custody, limits, clock, entropy).await,
        }
    }

    /// Starts the token, the audit log, the metadata engine and the key service.
    async fn start_with_token(
        config: &Config,
        limits: KeyLimits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> anyhow::Result<Self> {
        let OpenToken { token, pair } = token::open(config).await?;
        ensure_token_keys(&*token)
            .await
            .context("the keys on the token cannot be made or found")?;
        let signer = Arc::new(TokenSigner::open(token.clone()).await?);
        let log = begin_log(config, signer)?;
        let is_begun =
            (log.size() > 0).then(|| format!("the audit log has {} entries", log.size()));
        let meta = begin_metadata(config, is_begun)?;
        let keys_config = KeysConfig {
            region: config.region.clone(),
            account: config.account.clone(),
            limits,
        };
        let service = KeyService::start(
            keys_config,
            token,
            meta.clone(),
            Arc::new(log.clone()),
            clock.clone(),
            entropy.clone(),
        )
        .await
        .context("the key service does not start")?;
        let (stop, publisher) = begin_publishing(config, &log).await?;
        Ok(Self {
            custody: Custody::Here(service.kms.clone()),
            objects: service.objects.clone(),
            users: service.users.clone(),
            service: Some(service),
            log,
            meta,
            clock,
            entropy,
            pair,
            publisher,
            stop,
        })
    }

    /// Finds the key daemon, and starts the metadata engine, the audit log, whose key the key daemon
    /// opens, and the half of the key service that is here.
    async fn start_apart(
        config: &Config,
        settings: &CustodySettings,
        limits: KeyLimits,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> anyhow::Result<Self> {
        const SEE: &str = "see that it runs, that `custody.urls` is where its link listens, and that \
                           `link.stores` there names this store; `docs/keyd.md` says how to set both up";
        let link = LinkConfig {
            urls: settings.urls.clone(),
            tls: tls::link_client(settings)?,
            home: Home {
                region: config.region.clone(),
                account: config.account.clone(),
            },
            call_time_max: settings.call_time_max,
            silence_max: settings.silence_max,
            decision_age_max: settings.decision_age_max,
        };
        let custody = RemoteCustody::connect(link, clock.clone(), entropy.clone());
        let custody = Arc::new(custody.await.advise(SEE)?);
        let is_begun = config
            .data_dir
            .join(data_dir::VERIFIER_KEY)
            .exists()
            .then(|| "there is an audit log".to_owned());
        let meta = begin_metadata(config, is_begun)?;
        let signer = SealedSigner::open(&*custody, &*meta, &*clock, &*entropy)
            .await
            .context("the key that signs the audit log cannot be opened")
            .advise(SEE)?;
        let log = begin_log(config, Arc::new(signer))?;
        let urls: Vec<String> = settings.urls.iter().map(ToString::to_string).collect();
        let half = StoreKeys::start(
            limits,
            custody.clone(),
            meta.clone(),
            Arc::new(log.clone()),
            clock.clone(),
            entropy.clone(),
            serde_json::json!({ "key_daemon": urls }),
        )
        .await
        .context("the key service does not start")?;
        let (stop, publisher) = begin_publishing(config, &log).await?;
        Ok(Self {
            custody: Custody::Apart(custody),
            service: None,
            objects: half.objects,
            users: half.users,
            log,
            meta,
            clock,
            entropy,
            pair: None,
            publisher,
            stop,
        })
    }

    pub(crate) fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// The whole key service, where custody is here.
    pub(crate) fn service(&self) -> anyhow::Result<&KeyService> {
        self.service
            .as_ref()
            .ok_or_else(|| anyhow!("the keys of this store are with a key daemon"))
    }

    /// Makes the administrator's access key of a new deployment.
    pub(crate) async fn make_first_user(&self) -> anyhow::Result<NewUser> {
        Ok(self
            .users()
            .create(
                "administrator",
                Role::Admin,
                &Caller::daemon("strongroom:init"),
            )
            .await?)
    }

    /// Publishes a checkpoint over everything and ends.
    pub(crate) async fn close(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.publisher.await {
            tracing::error!(%error, "the publisher of the audit log broke off");
        }
    }
}

/// Opens the audit log, and keeps its verifier key.
fn begin_log(config: &Config, signer: Arc<dyn CheckpointSigner>) -> anyhow::Result<Log> {
    let mut log_config = LogConfig::new(
        config.data_dir.join(data_dir::AUDIT),
        Origin::new(config.audit_origin.clone()).context("`audit.origin`")?,
    );
    if config.audit_sync {
        log_config.durability = Durability::Sync;
    }
    check_audit(&config.data_dir)?;
    let log = open_log(log_config, signer, &config.data_dir)?;
    let verifier = config.data_dir.join(data_dir::VERIFIER_KEY);
    keep_verifier_key(&verifier, &log.verifier_key())?;
    Ok(log)
}

/// Opens the metadata. `is_begun` says by what it is known that there was some.
fn begin_metadata(config: &Config, is_begun: Option<String>) -> anyhow::Result<Arc<dyn MetaStore>> {
    let metadata = config.data_dir.join(data_dir::METADATA);
    check_metadata(&metadata, is_begun)?;
    let cache_bytes = usize::try_from(config.metadata_cache_bytes)?;
    Ok(Arc::new(open_metadata(&metadata, cache_bytes)?))
}

/// Publishes a first checkpoint, so that a log can be verified from the first moment on, and then
/// others until it is told to stop.
async fn begin_publishing(
    config: &Config,
    log: &Log,
) -> anyhow::Result<(watch::Sender<bool>, JoinHandle<()>)> {
    log.publish()
        .await
        .context("the first checkpoint of the audit log cannot be published")?;
    let (stop, mut stopped) = watch::channel(false);
    let publishing = log.clone();
    let every = config.audit_publish_interval;
    let publisher = tokio::spawn(async move {
        let until = async move {
            // An error means that the sender is gone, which is an end too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = publishing.publish_until(every, until).await {
            tracing::error!(%error, "the last checkpoint of the audit log was not published");
        }
    });
    Ok((stop, publisher))
}

/// The administrator's bearer token, which must be long enough not to be guessed.
fn admin_token(config: &Config) -> anyhow::Result<Zeroizing<String>> {
    const MAKE_ONE: &str = "`strongroom init` makes one where there is none";
    let path = &config.admin_token_file;
    if !path.exists() {
        return Err(advised(
            anyhow!("there is no administrator's token in {}", path.display()),
            MAKE_ONE,
        ));
    }
    let token = data_dir::read_secret(path)?;
    if token.len() < 32 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(advised(
            anyhow!(
                "the administrator's token in {} is not 32 characters of ASCII or more",
                path.display()
            ),
            MAKE_ONE,
        ));
    }
    Ok(token)
}

const PUT_BACK: &str =
    "put it back, or mount what holds it; what is left is not touched until then";

/// Refuses to begin a second log where the first one is missing.
fn check_audit(data_dir: &Path) -> anyhow::Result<()> {
    let (log, key) = (
        data_dir.join(data_dir::AUDIT),
        data_dir.join(data_dir::VERIFIER_KEY),
    );
    let is_gone =
        std::fs::read_dir(&log).is_ok_and(|mut files| files.next().is_none()) || !log.exists();
    if is_gone && key.exists() {
        return Err(advised(
            anyhow!(
                "the audit log is missing: {} belongs to one, and {} is empty or not there",
                key.display(),
                log.display()
            ),
            "put the log back; to begin a new one, move the key away as well",
        ));
    }
    Ok(())
}

fn open_log(
    config: LogConfig,
    signer: Arc<dyn CheckpointSigner>,
    data_dir: &Path,
) -> anyhow::Result<Log> {
    match Log::open(config, signer) {
        Err(audit::OpenError::Locked { .. }) => Err(in_use(data_dir)),
        Err(error @ audit::OpenError::Disk(_)) => {
            Err(error).context("the audit log cannot be opened")
        }
        opened => opened.context("the audit log cannot be opened").advise(
            "keep it as it is: `strongroom audit verify` tells how far it holds; put the damaged \
             file back from a copy",
        ),
    }
}

/// Refuses to begin with no rows where there were some: without them, stored bytes would look
/// like garbage.
fn check_metadata(path: &Path, is_begun: Option<String>) -> anyhow::Result<()> {
    let is_gone = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    match is_begun {
        Some(begun) if is_gone => Err(advised(
            anyhow!(
                "the metadata is missing: {} is empty or not there, but {begun}",
                path.display()
            ),
            PUT_BACK,
        )),
        _ => Ok(()),
    }
}

/// Opens the metadata of a data directory.
pub(crate) fn open_metadata(path: &Path, cache_bytes: usize) -> anyhow::Result<RedbStore> {
    match RedbStore::open(path, cache_bytes) {
        Err(OpenError::AlreadyOpen) => Err(in_use(path.parent().unwrap_or(path))),
        opened @ Err(OpenError::Corrupt { .. } | OpenError::UnknownVersion { .. }) => opened
            .with_context(|| format!("{} cannot be opened", path.display()))
            .advise("keep it as it is, and put the file back from a backup"),
        opened => opened.with_context(|| format!("{} cannot be opened", path.display())),
    }
}

/// Refuses to go on without the volumes where rows refer to what was in them.
pub(crate) async fn check_volumes(data_dir: &Path, meta: &dyn MetaStore) -> anyhow::Result<()> {
    let volumes = data_dir.join(data_dir::VOLUMES);
    if was_open(data_dir) {
        return Ok(());
    }
    let payloads = meta
        .scan(Table::new("payloads"), Scan::prefix(&[], 1))
        .await
        .context("the metadata cannot be read")?;
    if payloads.is_empty() {
        return Ok(());
    }
    Err(advised(
        anyhow!(
            "the volumes are missing: {} is not what was there when objects were written",
            volumes.display()
        ),
        PUT_BACK,
    ))
}

/// Opens the volumes of a data directory.
pub(crate) fn open_volumes(data_dir: &Path) -> anyhow::Result<LocalBlobs> {
    LocalBlobs::open(
        &data_dir.join(data_dir::VOLUMES),
        LocalBlobsConfig::default(),
    )
    .context("the blob volumes cannot be opened")
}

fn in_use(data_dir: &Path) -> anyhow::Error {
    advised(
        anyhow!("{} is in use by another process", data_dir.display()),
        "end the daemon that serves it, or use another data directory",
    )
}

/// Writes the verifier key of the log at first; refuses to go on with another one later.
fn keep_verifier_key(path: &Path, key: &str) -> anyhow::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(kept) if kept.trim() == key => Ok(()),
        Ok(_) => Err(advised(
            anyhow!(
                "{} is the verifier key of another log: the key that signs it or `audit.origin` \
                 has changed",
                path.display()
            ),
            "put the right token, key daemon or origin back; to begin a new log, move the old one and its key \
             away",
        )),
        Err(_) => data_dir::write_private(path, format!("{key}\n").as_bytes()),
    }
}

/// A simulated clock that can be moved from outside.
pub(crate) type SimulatedClock = Arc<strongroom_environment::SimulatedClock>;

/// What a process was started with besides its configuration.
pub(crate) struct Start {
    pub(crate) scope: Scope,
    pub(crate) clock: Arc<dyn Clock>,
    /// The same clock, when it is simulated.
    pub(crate) simulated: Option<SimulatedClock>,
}

/// A process that serves.
pub(crate) struct Daemon {
    keys: KeyDaemon,
    servers: Vec<JoinHandle<()>>,
    /// Where custody is here.
    due: Option<JoinHandle<()>>,
    lifecycle: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    pub(crate) s3_url: Option<String>,
    pub(crate) api_url: String,
    pub(crate) link_url: Option<String>,
}

impl Daemon {
    /// Starts everything and serves.
    pub(crate) async fn start(config: &Config, start: Start) -> anyhow::Result<Self> {
        // The sockets are bound first: an address that is taken is found out before anything is
        // touched. They accept when all else is up.
        let s3_listener = match start.scope {
            Scope::Whole => Some(Listener::bind(&config.s3).await?),
            Scope::KeysOnly => None,
        };
        if start.scope == Scope::KeysOnly {
            config.token()?;
        }
        let api_listener = Listener::bind(&config.api).await?;
        let link_listener = match &config.link {
            Some(link) => Some(Listener::bind_link(link).await?),
            None => None,
        };
        let link_url = link_listener.as_ref().map(Listener::url).transpose()?;
        let s3_url = s3_listener.as_ref().map(Listener::url).transpose()?;
        let api_url = api_listener.url()?;
        let admin_token = admin_token(config)?;

        let keys = KeyDaemon::start(config, start.clock.clone()).await?;
        if let Custody::Here(kms) = &keys.custody {
            tell_who_has_to_agree(kms.quorum()).await;
        }
        let (stop, stopped) = watch::channel(false);
        let mut servers = Vec::new();
        let mut runner = None;
        let mut objects = None;
        if let Some(listener) = s3_listener {
            check_volumes(&config.data_dir, &*keys.meta).await?;
            let tier = open_tier(config, keys.clock.clone())?;
            let blobs = open_volumes(&config.data_dir)?;
            let store = Store::open(StoreSeams {
                meta: keys.meta.clone(),
                blobs: Arc::new(blobs),
                keys: keys.objects.clone(),
                clock: keys.clock.clone(),
                entropy: keys.entropy.clone(),
            })
            .await
            .context("the store cannot be opened")?;
            let lifecycle = open_lifecycle(&keys, &store, tier);
            let service = strongroom_s3::service(S3Config {
                store: Arc::new(store.clone()),
                lifecycle: Arc::new(lifecycle.clone()),
                keys: keys.objects.clone(),
                users: keys.users().clone(),
                // Clients sign by their own clocks, also where that of the objects is simulated.
                clock: Arc::new(SystemClock::new()),
                entropy: keys.entropy.clone(),
                region: config.region.clone(),
                account: config.account.clone(),
                base_domain: config.s3_domain.clone(),
                allow_plain_http_customer_keys: config.allow_plain_http_customer_keys,
                block_customer_keys_on_new_buckets: config.block_customer_keys_on_new_buckets,
            });
            let handle = move |mut request: http::Request<Incoming>, peer: Peer| {
                request.extensions_mut().insert(Connection {
                    peer: Some(peer.address),
                    tls: peer.tls,
                });
                let answer = service.call(request);
                async move {
                    match answer.await {
                        Ok(answer) => answer,
                        Err(never) => match never {},
                    }
                }
            };
            servers.push(tokio::spawn(listener.serve(handle, stopped.clone())));
            let (running, mut ended) = (lifecycle.clone(), stopped.clone());
            runner = Some(tokio::spawn(async move {
                let until = async move {
                    let _ = ended.wait_for(|stop| *stop).await;
                };
                running.run_in_background(until).await;
            }));
            let apart = match &keys.custody {
                Custody::Here(_) => None,
                Custody::Apart(custody) => Some(custody.clone() as _),
            };
            servers.push(tokio::spawn(rewrap::run(
                store.clone(),
                apart,
                stopped.clone(),
            )));
            objects = Some(ObjectHalf { store, lifecycle });
        }
        let escrow_key = config
            .escrow_public_key_file
            .as_deref()
            .map(escrow::read_public_key)
            .transpose()?;
        let api = Arc::new(strongroom_api::service(ApiConfig {
            custody: keys.custody.clone(),
            users: keys.users().clone(),
            log: keys.log.clone(),
            objects,
            clock: keys.clock.clone(),
            simulated_clock: start.simulated,
            entropy: keys.entropy.clone(),
            region: config.region.clone(),
            admin_token,
            escrow_key,
            tokens: keys.pair.clone().map(|pair| {
                let statuses = move || serde_json::json!(pair.statuses());
                Arc::new(statuses) as _
            }),
        })?);
        let handle = move |request, peer: Peer| {
            let api = api.clone();
            async move { api.handle(request, peer.address).await }
        };
        servers.push(tokio::spawn(api_listener.serve(handle, stopped.clone())));
        if let (Some(listener), Custody::Here(kms)) = (link_listener, &keys.custody) {
            servers.push(serve_link(&keys, kms, listener, &stopped).await?);
        }
        let due = match &keys.custody {
            Custody::Here(kms) => Some(tokio::spawn(due::run(
                kms.clone(),
                keys.clock.clone(),
                stopped,
            ))),
            // The key daemon does it.
            Custody::Apart(_) => None,
        };
        Ok(Self {
            due,
            keys,
            servers,
            lifecycle: runner,
            stop,
            s3_url,
            api_url,
            link_url,
        })
    }

    pub(crate) fn keys(&self) -> &KeyDaemon {
        &self.keys
    }

    /// Lets the requests under way finish, then ends everything in order.
    pub(crate) async fn close(self) {
        self.stop.send_replace(true);
        let background = self.lifecycle.into_iter().chain(self.due);
        for task in self.servers.into_iter().chain(background) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the daemon broke off");
            }
        }
        self.keys.close().await;
        tracing::info!("everything is closed");
    }
}

/// Lets stores on other hosts have the keys that are here.
async fn serve_link(
    keys: &KeyDaemon,
    kms: &Arc<Kms>,
    listener: Listener,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let home = kms.home().clone();
    let link = LinkService::start(kms.clone(), home, &*keys.entropy, stopped.clone()).await?;
    let link = Arc::new(link);
    let handle = move |request: http::Request<Incoming>, peer: Peer| {
        let link = link.clone();
        async move {
            if peer.store.is_none() {
                tracing::warn!(address = %peer.address, "a certificate is of no store that is known");
            }
            link.handle(request, peer.store.as_ref()).await
        }
    };
    Ok(tokio::spawn(listener.serve(handle, stopped.clone())))
}

/// Says at the start whether one administrator alone can do everything.
async fn tell_who_has_to_agree(quorum: &Quorum) {
    match quorum.rule().await {
        Ok(Some((rule, _))) => tracing::info!(
            threshold = rule.threshold(),
            custodians = rule.custodians().len(),
            "what the rule of dual control guards takes the approval of custodians"
        ),
        Ok(None) => tracing::info!(
            "no custodians are named: one administrator alone can delete keys and change their \
             policies; `strongroom quorum set --help` says how to have others agree"
        ),
        Err(error) => tracing::error!(%error, "the rule of dual control cannot be read"),
    }
}

fn open_lifecycle(keys: &KeyDaemon, store: &Store, tier: DirectoryTier) -> Lifecycle {
    let seams = LifecycleSeams {
        store: store.clone(),
        meta: keys.meta.clone(),
        tier: Arc::new(tier),
        clock: keys.clock.clone(),
        entropy: keys.entropy.clone(),
    };
    Lifecycle::new(seams, LifecycleSettings::default())
}

/// Opens the cold tier. It is opened before the store, so that a store which was once open has one:
/// where it is missing then, going on with an empty one would write what a mount covers later.
fn open_tier(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<DirectoryTier> {
    let directory = &config.cold_directory;
    if was_open(&config.data_dir) && !directory.join(data_dir::COLD_TIER_MARK).exists() {
        return Err(advised(
            anyhow!(
                "the cold tier is missing: {} is not one, and this store has one",
                directory.display()
            ),
            "mount it, or put it back; to have it elsewhere, move all files of the old directory \
             there",
        ));
    }
    data_dir::make(directory)?;
    DirectoryTier::open(directory, TierSettings::default(), clock)
        .with_context(|| format!("the cold tier in {} cannot be opened", directory.display()))
        .advise("see that it is mounted and may be written, and that no other daemon uses it")
}

/// Whether objects were once served from a data directory; see `docs/format/volumes.md`.
fn was_open(data_dir: &Path) -> bool {
    data_dir.join(data_dir::VOLUMES).join("settled").exists()
}

/// A new bearer token: 256 random bits as base64url.
pub(crate) fn new_bearer_token() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemEntropy.fill(&mut *bytes);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// Waits until the process is asked to end.
pub(crate) async fn asked_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end; requests under way are finished first");
    Ok(())
}

/// Makes sure that no memory of this process reaches a disk or another process.
pub(crate) fn harden() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .context("core dumps cannot be switched off")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("the process cannot be closed to debuggers")?;
    Ok(())
}

/// A runtime for serving.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// How long the blocking pool may take to end after everything is closed.
pub(crate) const POOL_END_MAX: Duration = Duration::from_secs(5);
