//! Fast path for requests to apply memberships: locates the users in many requests at once, as long as they are
//! certainly regular, and encodes the commands on their keys. What follows a user's ID is opaque here: Python
//! interprets it, and handles everything irregular.

mod keys;
mod ranks;
mod sets;
mod together;
mod users;

pub use keys::{SpreadCommands, UserKeys};
pub use ranks::KnownRanks;
pub use sets::KeySet;
pub use together::{UsersTogether, users_together};
pub use users::{EncodedUsers, different_users, encoded_users};

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
