//! Fast path for requests to apply memberships: locates the users in many requests at once, as long as they are
//! certainly regular, and encodes the commands on their keys. What follows a user's ID is opaque here: Python
//! interprets it, and handles everything irregular.

mod keys;
mod users;

pub use keys::{KeySet, KnownRanks, SpreadCommands, UserKeys};
pub use users::{EncodedUsers, UsersTogether, different_users, encoded_users, users_together};

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
