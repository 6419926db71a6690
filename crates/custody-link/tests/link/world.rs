//! A key daemon in this process, a way to it that can be broken, and a store that uses it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use strongroom_audit::MemoryLog;
use strongroom_custody_link::{LinkConfig, LinkService, RemoteCustody};
use strongroom_environment::{SystemClock, SystemEntropy};
use strongroom_keys::{
    Caller, EncryptionContext, Home, KeyDescription, KeyError, KeyId, KeyLimits, KeyService,
    KeysConfig, Role, Standing, StateObserver, StoreName, ensure_token_keys,
};
use strongroom_meta::MemoryStore;
use strongroom_pkcs11::MemoryToken;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Long enough that a busy machine is not taken for a link that is lost.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_millis(400);
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1_600);

pub(crate) fn home() -> Home {
    Home {
        region: "test-1".into(),
        account: "000000000000".into(),
    }
}

pub(crate) fn name(store: &str) -> StoreName {
    store.parse().expect("a name")
}

/// What a key daemon keeps while it is not running.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) token: Arc<MemoryToken>,
    pub(crate) meta: Arc<MemoryStore>,
    pub(crate) log: Arc<MemoryLog>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let token = Arc::new(MemoryToken::new());
        ensure_token_keys(&*token).await.expect("keys on the token");
        Self {
            token,
            meta: Arc::new(MemoryStore::new()),
            log: Arc::new(MemoryLog::new()),
        }
    }

    /// How many entries of the log are of this use.
    pub(crate) fn uses(&self, act: &str) -> usize {
        let of_act = |entry: &Vec<u8>| {
            let entry: serde_json::Value = serde_json::from_slice(entry).expect("JSON");
            entry["use"] == act
        };
        let entries = self.log.entries();
        entries
            .iter()
            .filter(|entry| of_act(&entry.to_vec()))
            .count()
    }
}

/// A key daemon that serves `store.example`, without TLS.
pub(crate) struct Keyd {
    pub(crate) service: KeyService,
    pub(crate) link: Arc<LinkService>,
    pub(crate) address: SocketAddr,
    _stop: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Keyd {
    pub(crate) async fn start(ground: &Ground) -> Self {
        let service = KeyService::start(
            KeysConfig {
                region: home().region,
                account: home().account,
                limits: KeyLimits::default(),
            },
            Arc::clone(&ground.token) as _,
            Arc::clone(&ground.meta) as _,
            Arc::clone(&ground.log) as _,
            Arc::new(SystemClock::new()),
            Arc::new(SystemEntropy),
        )
        .await
        .expect("it starts");
        let (stop, stopped) = watch::channel(false);
        let kms = Arc::clone(&service.kms);
        let link = LinkService::start(kms, home(), &SystemEntropy, stopped).await;
        let link = Arc::new(link.expect("it starts"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut serving = JoinSet::new();
        let answering = Arc::clone(&link);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let link = Arc::clone(&answering);
                connections.spawn(async move {
                    let answer = service_fn(|request| {
                        let link = Arc::clone(&link);
                        async move {
                            let store = name("store.example");
                            Ok::<_, std::convert::Infallible>(
                                link.handle(request, Some(&store)).await,
                            )
                        }
                    });
                    // A connection that breaks is what these tests are about.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Self {
            service,
            link,
            address,
            _stop: stop,
            _serving: serving,
        }
    }

    pub(crate) async fn key(&self) -> KeyDescription {
        let made = self.service.kms.create_key("for tests", &admin()).await;
        made.expect("a key")
    }
}

/// What a way does with bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Each new connection waits first.
    Slow(Duration),
    /// Nothing comes out any more, and nobody is told.
    Hole,
    /// Connections end.
    Cut,
}

/// A way to a key daemon that does what it is told, also to the connections there are.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<(Mode, SocketAddr)>,
    _serving: JoinSet<()>,
}

impl Way {
    pub(crate) async fn to(keyd: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, modes) = watch::channel((Mode::Pass, keyd));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, modes.clone()));
            }
        });
        Self {
            address,
            mode,
            _serving: serving,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_modify(|now| now.0 = mode);
    }

    /// Leads to another key daemon from now on; connections there are end.
    pub(crate) fn lead_to(&self, keyd: SocketAddr) {
        self.mode.send_modify(|now| *now = (Mode::Cut, keyd));
        self.mode.send_modify(|now| now.0 = Mode::Pass);
    }
}

async fn carry(mut stream: TcpStream, mut modes: watch::Receiver<(Mode, SocketAddr)>) {
    let (begun, keyd) = *modes.borrow_and_update();
    match begun {
        Mode::Cut => return,
        Mode::Slow(span) => tokio::time::sleep(span).await,
        Mode::Pass | Mode::Hole => {}
    }
    let Ok(mut onward) = TcpStream::connect(keyd).await else {
        return;
    };
    let is_hole = |mode: Mode| mode == Mode::Hole;
    if !is_hole(begun) {
        tokio::select! {
            _ = copy_bidirectional(&mut stream, &mut onward) => return,
            changed = modes.wait_for(|(mode, to)| matches!(mode, Mode::Cut | Mode::Hole) || *to != keyd) => {
                match changed.map(|now| *now) {
                    Ok((Mode::Hole, _)) => {}
                    _ => return,
                }
            }
        }
    }
    // What is sent from now on is never read, until the connection is given up.
    let _ = modes.wait_for(|(mode, _)| !is_hole(*mode)).await;
}

pub(crate) fn config(ways: &[SocketAddr]) -> LinkConfig {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("they are known")
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    LinkConfig {
        urls: ways
            .iter()
            .map(|way| format!("http://{way}").parse().expect("a URL"))
            .collect(),
        tls,
        home: home(),
        call_time_max: CALL_TIME_MAX,
        silence_max: SILENCE_MAX,
        decision_age_max: Duration::ZERO,
    }
}

pub(crate) async fn connect(config: LinkConfig) -> Result<Arc<RemoteCustody>, KeyError> {
    RemoteCustody::connect(
        config,
        Arc::new(SystemClock::new()),
        Arc::new(SystemEntropy),
    )
    .await
    .map(Arc::new)
}

/// Counts what it is told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) suspended: Mutex<Vec<KeyId>>,
    pub(crate) rotated: Mutex<Vec<KeyId>>,
    pub(crate) unheard: AtomicU64,
}

impl StateObserver for Told {
    fn suspended(&self, key: KeyId) {
        self.suspended.lock().push(key);
    }

    fn rotated(&self, key: KeyId) {
        self.rotated.lock().push(key);
    }

    fn unheard(&self) {
        self.unheard.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    pub(crate) fn watching(custody: &dyn strongroom_keys::KeyCustody) -> Arc<Self> {
        let told = Arc::new(Self::default());
        let observer = Arc::downgrade(&(Arc::clone(&told) as Arc<dyn StateObserver>));
        custody.watch(observer);
        told
    }

    pub(crate) fn unheard_count(&self) -> u64 {
        self.unheard.load(Ordering::Relaxed)
    }
}

/// Waits until something is so. That it takes for ever is what fails the test.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..4_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came about that {what}");
}

pub(crate) fn caller(role: Role) -> Caller {
    Caller {
        principal: "SRAKTEST".into(),
        standing: Standing::User(role),
        request_id: "request-1".into(),
        operation: "s3:Test".into(),
        source: Some([192, 0, 2, 7].into()),
        store: None,
    }
}

pub(crate) fn admin() -> Caller {
    caller(Role::Admin)
}

pub(crate) fn user() -> Caller {
    caller(Role::User)
}

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    )
    .expect("a sound context")
}
