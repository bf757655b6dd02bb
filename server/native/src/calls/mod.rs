//! The path of a call, from HTTP request to response.

mod answering;
mod bodies;
mod entrance;
mod incoming;
mod methods;
mod outgoing;
mod request_ids;
mod rest;
mod service;
mod streams;
mod unary;
mod window;

pub use entrance::serve;
pub use methods::{JsonForm, Kind, Method};
pub use request_ids::RequestIds;
pub use service::{Service, Shared};
