//! Room in memory for requests that come in pieces, until they are answered, and for long messages of streams, until
//! Python has read them: of a connection, of an address, of all. So nobody fills the memory, and none of an address shuts
//! others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::callers::network_of;
use crate::locks::lock;

/// What those of one address (of IPv6, of one network) have together.
const ADDRESS_BYTES: usize = 256 * 1024 * 1024;
/// What all have together.
const ALL_BYTES: usize = 512 * 1024 * 1024;

/// What requests have that come in pieces.
pub struct Rooms {
    all: Arc<Semaphore>,
    /// By the address; None: of those who do not say it.
    of: Mutex<HashMap<Option<IpAddr>, Weak<Semaphore>>>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL_BYTES)), of: Mutex::default() }
    }
}

impl Rooms {
    /// Nothing yet, of a caller's room; a `connection` that is one caller's has room of its own.
    pub fn hold(&self, connection: Option<&Arc<Semaphore>>, address: Option<IpAddr>) -> Held {
        let levels = connection.cloned().into_iter().chain([self.of(address), Arc::clone(&self.all)]);
        Held { levels: levels.map(|room| Level { room, permit: None }).collect(), counted: 0 }
    }

    fn of(&self, address: Option<IpAddr>) -> Arc<Semaphore> {
        let address = address.map(network_of);
        let mut of = lock(&self.of);
        let known = of.get(&address).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            of.retain(|_, room| room.strong_count() > 0);
            let room = Arc::new(Semaphore::new(ADDRESS_BYTES));
            of.insert(address, Arc::downgrade(&room));
            room
        })
    }
}

struct Level {
    room: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Level {
    fn held(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Hold so many bytes at least.
    async fn hold(&mut self, bytes: usize) -> Option<()> {
        let more = self.missing(bytes)?;
        if more > 0 {
            let permit = Arc::clone(&self.room).acquire_many_owned(more).await.ok()?;
            self.add(permit);
        }
        Some(())
    }

    /// Hold so many bytes at least, where they are there.
    fn try_hold(&mut self, bytes: usize) -> Option<()> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(self.missing(bytes)?).ok()?;
        self.add(permit);
        Some(())
    }

    /// How many bytes more than it holds; None: more than can be asked for.
    fn missing(&self, bytes: usize) -> Option<u32> {
        u32::try_from(bytes.saturating_sub(self.held())).ok()
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }
}

/// What a request holds, until this is dropped.
pub struct Held {
    levels: Vec<Level>,
    counted: usize,
}

impl Held {
    /// Wait for room for all of a request that will have so many bytes, before more of it is read: where requests had
    /// parts of the room and waited for the rest, none would ever be whole. Only the narrowest room is held like this:
    /// who says much and sends little shuts nobody else out.
    pub async fn reserve(&mut self, bytes: usize) -> Option<()> {
        match self.levels.first_mut() {
            Some(level) => level.hold(bytes).await,
            None => Some(()),
        }
    }

    /// So many bytes have come.
    pub async fn count(&mut self, bytes: usize) -> Option<()> {
        self.counted += bytes;
        self.widen(self.counted).await
    }

    /// Wait for room for so many bytes, whatever has come: what is decompressed may be as long.
    pub async fn widen(&mut self, bytes: usize) -> Option<()> {
        for level in &mut self.levels {
            level.hold(bytes).await?;
        }
        Some(())
    }

    /// Hold room for so many bytes; whether there is as much.
    pub fn try_widen(&mut self, bytes: usize) -> bool {
        self.levels.iter_mut().all(|level| level.try_hold(bytes).is_some())
    }

    /// How many bytes were counted.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// All has come, and is a message of so many bytes: what was reserved beyond that is free.
    pub async fn settle(&mut self, bytes: usize) -> Option<()> {
        self.count(bytes.saturating_sub(self.counted)).await?;
        self.shrink(self.counted);
        Some(())
    }

    /// No more than so many bytes are held from now on.
    pub fn shrink(&mut self, bytes: usize) {
        for permit in self.levels.iter_mut().filter_map(|level| level.permit.as_mut()) {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::task::yield_now;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn requests_that_come_at_once_become_whole_one_after_the_other() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let (rooms, connection) = (Arc::new(Rooms::default()), Arc::new(Semaphore::new(1000)));
            let requests = [(); 9].map(|()| {
                let mut held = rooms.hold(Some(&connection), Some(address(1)));
                tokio::spawn(async move {
                    for _ in 0..4 {
                        held.reserve(400).await?;
                        held.count(100).await?;
                        yield_now().await;
                    }
                    held.settle(400).await
                })
            });
            for request in requests {
                assert!(matches!(request.await, Ok(Some(()))));
            }
            assert_eq!((connection.available_permits(), rooms.all.available_permits()), (1000, ALL_BYTES));
        });
        Ok(())
    }

    #[test]
    fn what_is_decompressed_has_room_on_every_level_until_it_is_known_how_long_it_is() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let (rooms, connection) = (Rooms::default(), Arc::new(Semaphore::new(1000)));
            let mut held = rooms.hold(Some(&connection), Some(address(1)));
            assert!(held.count(50).await.is_some());
            let left = |rooms: &Rooms| (connection.available_permits(), rooms.all.available_permits());
            assert_eq!(left(&rooms), (950, ALL_BYTES - 50));
            assert!(held.widen(900).await.is_some());
            assert_eq!((left(&rooms), held.counted()), ((100, ALL_BYTES - 900), 50));
            assert!(held.settle(70).await.is_some());
            assert_eq!(left(&rooms), (930, ALL_BYTES - 70));
        });
        Ok(())
    }

    #[test]
    fn what_is_only_announced_is_no_other_callers_loss() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let rooms = Rooms::default();
            let mut announced = rooms.hold(None, Some(address(1)));
            assert!(announced.reserve(ADDRESS_BYTES).await.is_some());
            assert_eq!(rooms.of(Some(address(1))).available_permits(), 0);
            assert_eq!(rooms.all.available_permits(), ALL_BYTES);
            let mut other = rooms.hold(None, Some(address(2)));
            assert!(other.count(5000).await.is_some());
            assert!(announced.settle(70).await.is_some());
            assert_eq!(rooms.of(Some(address(1))).available_permits(), ADDRESS_BYTES - 70);
            assert_eq!(rooms.all.available_permits(), ALL_BYTES - 5070);
            drop((announced, other));
            assert_eq!(rooms.all.available_permits(), ALL_BYTES);
            drop(rooms.of(Some(address(3))));
            assert!(rooms.of(Some(address(4))).available_permits() > 0);
            assert_eq!(lock(&rooms.of).len(), 1);
        });
        Ok(())
    }
}
