//! What is known of the connection a request came over.

use std::net::SocketAddr;

/// The connection a request came over; the listener puts it into the extensions of the request.
///
/// A request without it is taken to have come from nowhere over plain HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The address of the client.
    pub peer: Option<SocketAddr>,
    /// Whether the link is protected by TLS.
    pub tls: bool,
}

impl Connection {
    /// A connection of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        peer: None,
        tls: false,
    };
}
