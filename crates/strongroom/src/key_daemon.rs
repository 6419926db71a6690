//! The key service with everything below it, in the order in which it starts: token, audit log,
//! metadata, key service; or, where a key daemon has custody of the keys, link, metadata, audit log,
//! and the half of the key service that is beside the objects.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use strongroom_api::Custody;
use strongroom_audit::{CheckpointSigner, Durability, Log, LogConfig, Origin};
use strongroom_custody_link::{LinkConfig, RemoteCustody};
use strongroom_environment::{Clock, Entropy, SystemEntropy};
use strongroom_keys::{
    Caller, Home, KeyLimits, KeyService, KeysConfig, NewUser, ObjectKeys, Role, SealedSigner,
    StoreKeys, TokenSigner, Users, ensure_token_keys,
};
use strongroom_meta::MetaStore;
use strongroom_pkcs11::TokenPair;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, CustodySettings};
use crate::data_dir;
use crate::engines::{check_audit, check_metadata, keep_verifier_key, open_log, open_metadata};
use crate::failure::Advise as _;
use crate::tls;
use crate::token::{self, OpenToken};

/// The key service with everything below it: whole, or the half beside the objects, where custody of
/// the keys is with a key daemon.
pub(crate) struct KeyDaemon {
    pub(crate) custody: Custody,
    /// The whole key service, where custody is here.
    service: Option<KeyService>,
    pub(crate) objects: Arc<ObjectKeys>,
    users: Arc<Users>,
    pub(crate) log: Log,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Where two tokens serve as one.
    pub(crate) pair: Option<Arc<TokenPair>>,
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
