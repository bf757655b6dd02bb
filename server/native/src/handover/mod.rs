//! The exchange between the host's network thread and Python: calls, in the order of their turns, and events in one
//! direction, answers in the other.

mod answers;
mod arrivals;
mod call;
mod refusals;
mod tokens;
mod waiting;

pub use answers::{Answer, Answers, Failure, Listener, Order};
pub use arrivals::{Arrivals, Event, Refusal, Wait};
pub use call::{CallId, UnaryCall};
pub use refusals::{Refusals, Spent, Why};
pub use tokens::{Tokens, Who};
pub use waiting::{Prices, Room};
