//! What is needed to write to the Redis Cluster: keys and slots of users, and the encoding of commands; also the hashes
//! of users for segment sizes.

mod keys;
mod numbers;
mod words;

pub use keys::{Key, SHORT_DIGITS, by_node, user_id_of};
pub use numbers::{REGISTERS, number_of, place_of};
pub use words::{push_argument, push_number};
