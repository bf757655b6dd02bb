//! The exchange between the host's network thread and Python: calls, in fair order, and events in one
//! direction, answers in the other.

mod answers;
mod arrivals;
mod fair_queue;

pub use answers::{Answer, Answers, Failure, Listener, Order, Refusals, Spent, Why};
pub use arrivals::{Arrivals, CallId, Event, Refusal, Tokens, UnaryCall, Wait, Who};
pub use fair_queue::{Capacity, Prices};
