//! The exchange between the host's network thread and Python: calls, in fair order, and events in one
//! direction, answers in the other.

mod answers;
mod arrivals;
mod call;
mod fair_queue;
mod refusals;
mod tokens;

pub use answers::{Answer, Answers, Failure, Listener, Order};
pub use arrivals::{Arrivals, Event, Refusal, Wait};
pub use call::{CallId, UnaryCall};
pub use fair_queue::{Capacity, Prices};
pub use refusals::{Refusals, Spent, Why};
pub use tokens::{Tokens, Who};
