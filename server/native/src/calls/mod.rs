//! The path of a call, from HTTP request to response.

mod entrance;
mod incoming;
mod outgoing;
mod request_ids;
mod rest;
mod service;
mod streams;
mod unary;
mod window;

pub use entrance::serve;
pub use outgoing::Piece;
pub use request_ids::RequestIds;
pub use service::{JsonForm, Kind, Method, Service, Shared};
