//! The body of a request, lent to whoever reads it and given back unread.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use parking_lot::Mutex;

/// The body of a request as it comes from the connection.
pub(crate) type IncomingBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How much of a refused body is read, so that the client gets to read why.
const DRAINED_BYTES_MAX: usize = 1 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Shelf {
    body: Option<IncomingBody>,
    was_read: bool,
}

/// Keeps a body that nobody reads at the moment.
#[derive(Clone)]
pub(crate) struct Lender(Arc<Mutex<Shelf>>);

impl Lender {
    pub(crate) fn new(body: IncomingBody) -> Self {
        Self(Arc::new(Mutex::new(Shelf {
            body: Some(body),
            was_read: false,
        })))
    }

    /// Lends the body; it comes back when the reader drops it.
    pub(crate) fn lend(&self) -> LentBody {
        LentBody {
            body: self.0.lock().body.take(),
            was_read: false,
            lender: self.clone(),
        }
    }

    /// Reads on what a refusal has left unread, up to a bound.
    ///
    /// A connection that is closed with bytes unread is reset, and a client that is still sending
    /// then may never see the answer. A client that waits to be told to send is not told.
    pub(crate) async fn drain(&self, waits_for_continue: bool) {
        let (body, was_read) = {
            let mut shelf = self.0.lock();
            (shelf.body.take(), shelf.was_read)
        };
        let Some(mut body) = body else { return };
        if waits_for_continue && !was_read {
            return;
        }
        let read = async {
            let mut left_bytes = DRAINED_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let len_bytes = frame.data_ref().map_or(0, Bytes::len);
                match left_bytes.checked_sub(len_bytes) {
                    Some(left) => left_bytes = left,
                    None => return,
                }
            }
        };
        // Whether it ends in time or not, the answer goes out.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, read).await;
    }
}

/// A body on loan.
pub(crate) struct LentBody {
    body: Option<IncomingBody>,
    was_read: bool,
    lender: Lender,
}

impl Body for LentBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.was_read = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        let mut shelf = self.lender.0.lock();
        shelf.body = self.body.take();
        shelf.was_read = self.was_read;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn lender() -> Lender {
        let body = Full::new(Bytes::from_static(b"hello"));
        Lender::new(body.map_err(|never| match never {}).boxed())
    }

    #[tokio::test]
    async fn a_body_comes_back_and_what_is_left_of_it_is_drained() {
        let lender = lender();
        drop(lender.lend());
        assert!(lender.0.lock().body.is_some());
        lender.drain(false).await;
        assert!(lender.0.lock().body.is_none());
        assert!(lender.lend().frame().await.is_none());
    }

    #[tokio::test]
    async fn a_client_that_waits_is_not_told_to_send() {
        let lender = lender();
        lender.drain(true).await;
        assert!(lender.0.lock().body.is_none());
    }
}
