//! What is needed to write to the Redis Cluster: keys and slots of users, and the encoding of commands; also the hashes
//! of users for segment sizes.

mod keys;

pub use keys::{Key, REGISTERS, SHORT_DIGITS, by_node, number_of, place_of, push_argument, push_number, user_id_of};
