//! What the host's thread and Python hand each other: calls, when it is their turn, and all else that has come; and what
//! Python says of them.

mod answers;
mod arrivals;
mod call;
mod refusals;
mod tokens;
mod waiting;

pub use answers::{Answer, Answers, Failure, Listener, Order};
pub use arrivals::{Arrivals, Event, Refusal, Wait};
pub use call::{CallId, UnaryCall};
pub use refusals::Refusals;
pub use tokens::{Tokens, Who};
pub use waiting::{Impatience, Prices, Room};
