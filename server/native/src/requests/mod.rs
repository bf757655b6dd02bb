//! Requests to apply memberships: users that are regular beyond doubt are read here, many requests at once, and the
//! commands on their keys packed. What follows a user's ID is bytes here: what they mean, and what is regular no more, is
//! Python's.

mod keys;
mod sets;
mod together;
mod users;

pub use keys::{SpreadCommands, UserKeys};
pub use sets::KeySet;
pub use together::{UsersTogether, users_together};
pub use users::{EncodedUsers, different_users, encoded_users};

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
