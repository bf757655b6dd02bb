//! What has to be known of the cluster to write to it: users' keys and their slots, and the words of commands. And the
//! numbers by which users are counted there.

mod keys;
mod numbers;
mod words;

pub use keys::{Key, SHORT_DIGITS, by_node, user_id_of};
pub use numbers::number_of;
pub use words::{push_argument, push_number};
