//! The S3 protocol: the only place that knows SigV4, XML and S3 error codes.
//!
//! [`service`] makes a [`S3Service`] that a listener hands its connections to. A request goes
//! through these rooms, in this order:
//!
//! 1. `address` and `route` read what it is about and which operation it asks for. What is not
//!    implemented ends here; nothing is ever taken for something else.
//! 2. `signature` proves who sent it, and that nobody added a header that means something.
//! 3. `headers` and `documents` read what it asks for. A header or an element that is not
//!    understood is refused, never passed over.
//! 4. `operations` has the store or the lifecycle do it, and tells what became of it in an
//!    `answer`; what went wrong becomes a `refusal`, by the one table in `faults`.
//!
//! Customer keys are taken out of the headers at the first use, are never logged, and what
//! working with them leaves on the stack is wiped after every poll (`scrub`).

mod address;
mod answer;
mod body;
mod call;
mod connection;
mod dates;
mod documents;
mod faults;
mod headers;
mod operations;
mod refusal;
mod route;
mod scrub;
mod service;
mod signature;
mod xml;

pub use answer::AnswerBody;
pub use connection::Connection;
pub use service::{S3Config, S3Service, service};
