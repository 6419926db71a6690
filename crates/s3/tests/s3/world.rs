//! The service on engines in memory, behind a socket on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::ExposeSecret as _;
use strongroom_audit::{FaultyLog, MemoryLog};
use strongroom_blobs::MemoryBlobs;
use strongroom_environment::{Clock as _, SimulatedClock, SystemClock, SystemEntropy};
use strongroom_keys::{Caller, KeyLimits, KeyService, KeysConfig, Role, ensure_token_keys};
use strongroom_lifecycle::cold::{MemoryTier, TierSettings};
use strongroom_lifecycle::{Lifecycle, LifecycleSeams, LifecycleSettings};
use strongroom_meta::MemoryStore;
use strongroom_pkcs11::MemoryToken;
use strongroom_s3::{Connection, S3Config, S3Service};
use strongroom_store::{Store, StoreSeams};
use tokio::net::TcpListener;

/// The region of the service.
pub(crate) const REGION: &str = "us-east-1";
/// The account of the service.
pub(crate) const ACCOUNT: &str = "000000000000";

/// A user's access key.
#[derive(Clone, Debug)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// What differs from a service as most tests want it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    pub(crate) plain_http_customer_keys: bool,
    pub(crate) tls: bool,
    pub(crate) block_customer_keys: bool,
    pub(crate) base_domain: Option<&'static str>,
    pub(crate) region: &'static str,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            plain_http_customer_keys: true,
            tls: false,
            block_customer_keys: false,
            base_domain: None,
            region: REGION,
        }
    }
}

/// The service and what it stands on.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) admin: AccessKey,
    pub(crate) keys: Arc<KeyService>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) log: Arc<MemoryLog>,
    /// Stands before the log, and makes it fail on demand.
    pub(crate) log_faults: Arc<FaultyLog>,
    /// The clock of the objects; requests are dated by the machine's.
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) ways: Ways,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Ways::default(), "127.0.0.1:0").await
    }

    pub(crate) async fn with(ways: Ways, listen: &str) -> Self {
        let meta = Arc::new(MemoryStore::new());
        let log = Arc::new(MemoryLog::new());
        let log_faults = Arc::new(FaultyLog::new(Arc::clone(&log) as _));
        let clock = Arc::new(SimulatedClock::new(SystemClock::new().now()));
        let blobs = Arc::new(MemoryBlobs::new());
        let token = Arc::new(MemoryToken::new());
        ensure_token_keys(&*token).await.expect("keys on the token");
        let keys = KeyService::start(
            KeysConfig {
                region: ways.region.into(),
                account: ACCOUNT.into(),
                limits: KeyLimits::default(),
            },
            token,
            Arc::clone(&meta) as _,
            Arc::clone(&log_faults) as _,
            Arc::clone(&clock) as _,
            Arc::new(SystemEntropy),
        )
        .await
        .expect("the key service starts");
        let store = Store::open(StoreSeams {
            meta: Arc::clone(&meta) as _,
            blobs: Arc::clone(&blobs) as _,
            keys: Arc::clone(&keys.objects),
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(SystemEntropy),
        })
        .await
        .expect("the store opens");
        let tier = MemoryTier::new(TierSettings::default(), Arc::clone(&clock) as _);
        let lifecycle = Arc::new(Lifecycle::new(
            LifecycleSeams {
                store: store.clone(),
                meta: Arc::clone(&meta) as _,
                tier: Arc::new(tier),
                clock: Arc::clone(&clock) as _,
                entropy: Arc::new(SystemEntropy),
            },
            LifecycleSettings::default(),
        ));
        let service = strongroom_s3::service(S3Config {
            store: Arc::new(store),
            lifecycle: Arc::clone(&lifecycle),
            keys: Arc::clone(&keys.objects),
            users: Arc::clone(&keys.users),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            region: ways.region.into(),
            account: ACCOUNT.into(),
            base_domain: ways.base_domain.map(str::to_owned),
            allow_plain_http_customer_keys: ways.plain_http_customer_keys,
            block_customer_keys_on_new_buckets: ways.block_customer_keys,
        });
        let admin = user(&keys, "admin", Role::Admin).await;
        let listener = TcpListener::bind(listen).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, service, ways.tls));
        Self {
            address,
            admin,
            keys: Arc::new(keys),
            lifecycle,
            log,
            log_faults,
            clock,
            blobs,
            ways,
        }
    }

    /// A new user.
    pub(crate) async fn user(&self, name: &str, role: Role) -> AccessKey {
        user(&self.keys, name, role).await
    }
}

async fn user(keys: &KeyService, name: &str, role: Role) -> AccessKey {
    let new = keys
        .users
        .create(name, role, &Caller::daemon("test"))
        .await
        .expect("a user");
    AccessKey {
        id: new.user.access_key_id.to_string(),
        secret: new.secret.expose_secret().to_owned(),
    }
}

async fn serve(listener: TcpListener, service: S3Service, tls: bool) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            return;
        };
        stream.set_nodelay(true).expect("a socket option");
        let service = service.clone();
        tokio::spawn(async move {
            let handler = hyper::service::service_fn(
                move |mut request: hyper::Request<hyper::body::Incoming>| {
                    let peer = Some(peer);
                    request.extensions_mut().insert(Connection { peer, tls });
                    hyper::service::Service::call(&service, request)
                },
            );
            // A client that goes away in the middle is its own affair.
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), handler)
                .await;
        });
    }
}
