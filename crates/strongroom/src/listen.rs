//! Sockets: accepts connections, speaks TLS where told to, and hands requests to a service.
//!
//! Three things are done for every connection. `TCP_NODELAY` is set, so that a small answer does
//! not wait for a delayed acknowledgement. A connection that has carried a customer key is closed
//! soon after it falls idle, because the HTTP parser's buffer may still hold the header that
//! brought the key, and closing gives that buffer to the wiping allocator. And at shutdown every
//! connection is let finish the request it is serving.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use strongroom_custody_link::store_of;
use strongroom_keys::StoreName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::{Endpoint, LinkSettings};
use crate::tls;

/// How long a connection that carried a customer key may stay idle.
const KEY_CARRIER_IDLE_MAX: Duration = Duration::from_secs(2);
/// How long a client may take to send the head of a request.
const HEAD_READ_MAX: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long requests may go on after shutdown was asked for.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// The headers that carry a customer's key.
const KEY_HEADERS: [&str; 2] = [
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
];

/// What a service may know of the connection a request came on; found in request extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Who is at the other end.
    pub(crate) address: SocketAddr,
    /// Whether the connection is TLS.
    pub(crate) tls: bool,
    /// Of a link: which of the stores has shown its certificate.
    pub(crate) store: Option<StoreName>,
}

/// A bound socket that does not accept yet.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Of a link: the stores that may connect.
    stores: Arc<[StoreName]>,
}

impl Listener {
    /// Binds the endpoint's address and reads its certificate.
    pub(crate) async fn bind(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let tls = endpoint.tls.as_ref().map(tls::server).transpose()?;
        Self::bind_to(endpoint.listen, tls, Vec::new()).await
    }

    /// Binds the address of a link, at which each side shows a certificate.
    pub(crate) async fn bind_link(link: &LinkSettings) -> anyhow::Result<Self> {
        let tls = tls::link_server(link)?;
        Self::bind_to(link.listen, Some(tls), link.stores.clone()).await
    }

    async fn bind_to(
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        stores: Vec<StoreName>,
    ) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(Self {
            socket,
            tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))),
            stores: stores.into(),
        })
    }

    /// The URL that clients use.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.socket.local_addr()?))
    }

    /// Serves until `stop` says so, then lets the requests under way finish.
    pub(crate) async fn serve<F, Fut, B>(self, handle: F, mut stop: watch::Receiver<bool>)
    where
        F: Fn(Request<Incoming>, Peer) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) => {
                    connections.spawn(one_connection(
                        stream,
                        address,
                        self.tls.clone().map(|tls| (tls, self.stores.clone())),
                        handle.clone(),
                        stop.clone(),
                    ));
                }
                Err(error) => {
                    // Descriptors have run out, or the peer is gone already. Accepting again at
                    // once would spin; the others get time to finish.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.socket);
        let drained = tokio::time::timeout(DRAIN_MAX, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!("requests still under way are cut off");
        }
    }
}

async fn one_connection<F, Fut, B>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<(TlsAcceptor, Arc<[StoreName]>)>,
    handle: F,
    stop: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>, Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut peer = Peer {
        address,
        tls: tls.is_some(),
        store: None,
    };
    match tls {
        None => serve_stream(stream, peer, handle, stop).await,
        Some((acceptor, stores)) => {
            match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates();
                    peer.store = shown
                        .and_then(|chain| chain.first())
                        .and_then(|certificate| store_of(certificate, &stores));
                    serve_stream(stream, peer, handle, stop).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "the TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
            }
        }
    }
}

async fn serve_stream<S, F, Fut, B>(
    stream: S,
    peer: Peer,
    handle: F,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>, Peer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = peer.address;
    let use_ = Arc::new(ConnectionUse::default());
    let counted = use_.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = counted.begin(request.headers());
        let answer = handle(request, peer.clone());
        async move {
            let answer = answer.await;
            Ok::<_, Infallible>(answer.map(|body| CountedBody {
                body,
                _under_way: under_way,
            }))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_READ_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut stopping = false;
    let mut idle = IdleWatch::default();
    loop {
        let carried_key = use_.carried_key();
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "a connection broke");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // Whether to watch is decided as the loop turns, so the first key turns it.
            () = use_.first_key.notified(), if !carried_key => {}
            () = tokio::time::sleep(KEY_CARRIER_IDLE_MAX / 2), if carried_key && !stopping => {
                if idle.is_over(&use_) {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// What a connection has been used for.
#[derive(Debug, Default)]
struct ConnectionUse {
    carried_key: AtomicBool,
    /// Told when the connection carries a key for the first time.
    first_key: Notify,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl ConnectionUse {
    fn begin(self: &Arc<Self>, headers: &HeaderMap) -> UnderWay {
        if KEY_HEADERS.iter().any(|name| headers.contains_key(*name))
            && !self.carried_key.swap(true, Ordering::Relaxed)
        {
            self.first_key.notify_one();
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    fn carried_key(&self) -> bool {
        self.carried_key.load(Ordering::Relaxed)
    }
}

/// A request whose answer has not been sent whole.
#[derive(Debug)]
struct UnderWay(Arc<ConnectionUse>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notices that nothing began or ended between two looks.
#[derive(Debug, Default)]
struct IdleWatch {
    seen: Option<u64>,
}

impl IdleWatch {
    fn is_over(&mut self, use_: &ConnectionUse) -> bool {
        let begun = use_.begun.load(Ordering::Relaxed);
        let idle = use_.ended.load(Ordering::Relaxed) == begun;
        let over = idle && self.seen == Some(begun);
        self.seen = idle.then_some(begun);
        over
    }
}

pin_project_lite::pin_project! {
    /// A body that counts its request as under way until it is dropped.
    struct CountedBody<B> {
        #[pin]
        body: B,
        _under_way: UnderWay,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
