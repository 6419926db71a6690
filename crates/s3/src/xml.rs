//! The XML of requests and answers.

mod read;
mod write;

pub(crate) use read::Element;
pub(crate) use write::{NAMESPACE, Writer};
