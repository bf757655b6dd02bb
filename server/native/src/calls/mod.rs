//! A call's way: from an HTTP request to its answer.

mod answering;
mod bodies;
mod entrance;
mod incoming;
mod methods;
mod outgoing;
mod rest;
mod service;
mod streams;
mod unary;
mod window;

pub use entrance::serve;
pub use methods::{JsonForm, Kind, Method};
pub use service::{Service, Shared};
