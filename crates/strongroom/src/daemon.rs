//! Wiring: which engine stands behind each seam, in which order things start and end.
//!
//! Start: token, then the audit log (its checkpoints are signed by the token), then the key
//! service, then the store, then the lifecycle, then the sockets. Where a key daemon has custody of
//! the keys, it and the metadata come before the audit log, whose key is a row that the key daemon
//! opens. End: the reverse. The audit log is closed last, with a checkpoint over everything.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use hyper::body::Incoming;
use hyper::service::Service as _;
use strongroom_api::{ApiConfig, Custody, ObjectHalf};
use strongroom_custody_link::LinkService;
use strongroom_environment::{Clock, SystemClock};
use strongroom_keys::{Kms, Quorum};
use strongroom_lifecycle::cold::DirectoryTier;
use strongroom_lifecycle::{Lifecycle, LifecycleSeams, LifecycleSettings};
use strongroom_s3::{Connection, S3Config};
use strongroom_store::{Store, StoreSeams};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::data_dir;
use crate::due;
use crate::engines::{check_volumes, open_tier, open_volumes};
use crate::escrow;
use crate::failure::advised;
use crate::key_daemon::KeyDaemon;
use crate::listen::{Listener, Peer};
use crate::rewrap;

/// How much of the product a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Objects and keys.
    Whole,
    /// The key service alone.
    KeysOnly,
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
