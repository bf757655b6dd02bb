//! Memory budgets for requests that arrive in several pieces, until they are answered, and for long messages of
//! streams, until Python has read them. There is one for each connection, address and the whole worker, so that nobody
//! fills the memory and one address cannot shut out others. When a budget is exhausted, one request at a time may
//! exceed it; otherwise requests that each hold a part of it would wait for each other forever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::grpc::network_of;
use crate::locks::lock;

/// Budget of one address (for IPv6, of its /64 network).
const ADDRESS_BYTES: usize = 256 * 1024 * 1024;
/// Budget of the whole worker.
const ALL_BYTES: usize = 512 * 1024 * 1024;

/// A budget of bytes.
pub struct MemoryBudget {
    bytes: Arc<Semaphore>,
    /// Reservation by the one request that may exceed the budget.
    overdraft: Arc<Semaphore>,
}

impl MemoryBudget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes: Arc::new(Semaphore::new(bytes)), overdraft: Arc::new(Semaphore::new(1)) })
    }
}

/// The budgets of all addresses and of the whole worker.
pub struct MemoryBudgets {
    all: Arc<MemoryBudget>,
    /// By network; under None, the budget of calls whose address is unknown.
    of: Mutex<HashMap<Option<IpAddr>, Weak<MemoryBudget>>>,
}

impl Default for MemoryBudgets {
    fn default() -> Self {
        Self { all: MemoryBudget::new(ALL_BYTES), of: Mutex::default() }
    }
}

impl MemoryBudgets {
    /// A reservation, empty at first, in the budgets of the address, the worker and, if given, the `connection`.
    pub fn hold(&self, connection: Option<&Arc<MemoryBudget>>, address: Option<IpAddr>) -> Reservation {
        let levels = connection.cloned().into_iter().chain([self.of(address), Arc::clone(&self.all)]);
        let levels = levels.map(|budget| Level { budget, permit: None }).collect();
        Reservation { levels, overdraft: None, counted: 0, reserved: 0 }
    }

    /// How many bytes are reserved in the worker's budget.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        ALL_BYTES - self.all.bytes.available_permits()
    }

    fn of(&self, address: Option<IpAddr>) -> Arc<MemoryBudget> {
        let address = address.map(network_of);
        let mut of = lock(&self.of);
        let known = of.get(&address).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            of.retain(|_, budget| budget.strong_count() > 0);
            let budget = MemoryBudget::new(ADDRESS_BYTES);
            of.insert(address, Arc::downgrade(&budget));
            budget
        })
    }
}

struct Level {
    budget: Arc<MemoryBudget>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Level {
    fn held(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Waits until at least this many bytes are reserved, or until it is this request's overdraft to exceed the budget.
    async fn hold(&mut self, bytes: usize) -> Option<Option<OwnedSemaphorePermit>> {
        let more = self.missing(bytes)?;
        let MemoryBudget { bytes, overdraft } = &*self.budget;
        tokio::select! {
            biased;
            permit = Arc::clone(bytes).acquire_many_owned(more) => {
                self.add(permit.ok()?);
                Some(None)
            }
            overdraft = Arc::clone(overdraft).acquire_owned() => overdraft.ok().map(Some),
        }
    }

    /// Reserves at least this many bytes, if they are free now.
    fn try_hold(&mut self, bytes: usize) -> Option<()> {
        let permit = Arc::clone(&self.budget.bytes).try_acquire_many_owned(self.missing(bytes)?).ok()?;
        self.add(permit);
        Some(())
    }

    /// How many bytes are missing; None if they are more than a semaphore can count.
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

/// What a request has reserved in the budgets; released on drop.
pub struct Reservation {
    /// From the narrowest budget to the widest.
    levels: Vec<Level>,
    /// The overdraft to exceed a budget, with that budget's level. It exempts the request from the narrower levels too;
    /// otherwise it could wait there for the holder of their overdraft while that one waits for it.
    overdraft: Option<(usize, OwnedSemaphorePermit)>,
    counted: usize,
    /// Size of the whole request, as far as it was announced.
    reserved: usize,
}

impl Reservation {
    /// Reserves space for a whole request of this size before more of it is read: if requests held parts of the budget
    /// and waited for the rest, none would ever complete. Only the narrowest budget is reserved in advance, so that
    /// announcing much and sending little shuts out nobody else.
    pub async fn reserve(&mut self, bytes: usize) -> Option<()> {
        self.reserved = self.reserved.max(bytes);
        self.hold(0, bytes).await
    }

    /// Counts bytes that have arrived, and waits until they are reserved.
    pub async fn count(&mut self, bytes: usize) -> Option<()> {
        self.counted += bytes;
        self.widen(self.counted).await
    }

    /// Waits until this many bytes are reserved, regardless of how many have arrived: a message may expand to them.
    pub async fn widen(&mut self, bytes: usize) -> Option<()> {
        for place in 0..self.levels.len() {
            self.hold(place, bytes).await?;
        }
        Some(())
    }

    /// Reserves this many bytes at a level; if they are not free, waits for the announced size or for a overdraft.
    async fn hold(&mut self, place: usize, bytes: usize) -> Option<()> {
        let level = self.levels.get_mut(place)?;
        let in_overdraft = self.overdraft.as_ref().is_some_and(|(widest, _)| *widest >= place);
        if !in_overdraft
            && level.try_hold(bytes).is_none()
            && let Some(overdraft) = level.hold(bytes.max(self.reserved)).await?
        {
            self.overdraft = Some((place, overdraft));
        }
        Some(())
    }

    /// Reserves this many bytes if they are free now; returns whether they were.
    pub fn try_widen(&mut self, bytes: usize) -> bool {
        self.levels.iter_mut().all(|level| level.try_hold(bytes).is_some())
    }

    /// How many bytes have been counted.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// Called when the request is complete, as a message of this size: counts it, and releases what was reserved
    /// beyond.
    pub async fn settle(&mut self, bytes: usize) -> Option<()> {
        self.count(bytes.saturating_sub(self.counted)).await?;
        self.shrink(self.counted);
        Some(())
    }

    /// Releases what is reserved beyond this many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        for permit in self.levels.iter_mut().filter_map(|level| level.permit.as_mut()) {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::task::{JoinSet, yield_now};
    use tokio::time::timeout;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn requests_that_come_at_once_become_whole_one_after_the_other() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let (budgets, connection) = (Arc::new(MemoryBudgets::default()), MemoryBudget::new(1000));
            let requests = [(); 9].map(|()| {
                let mut held = budgets.hold(Some(&connection), Some(address(1)));
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
            assert_eq!(
                (connection.bytes.available_permits(), budgets.all.bytes.available_permits()),
                (1000, ALL_BYTES)
            );
        });
        Ok(())
    }

    /// Requests of 1 MB, so many of each of so many addresses, that come in pieces and at the same pace, and are
    /// answered at once when they are whole; whether their length is known, and each has a connection with 31 others.
    async fn all_become_whole(addresses: u8, of_each: usize, known: bool) -> bool {
        const PIECES: usize = 64;
        let budgets = MemoryBudgets::default();
        let mut requests = JoinSet::new();
        for last in 0..addresses {
            let mut connection = None;
            for place in 0..of_each {
                if known && place % 32 == 0 {
                    connection = Some(MemoryBudget::new(32 * 1024 * 1024));
                }
                let mut held = budgets.hold(connection.as_ref(), Some(address(last)));
                requests.spawn(async move {
                    for _ in 0..PIECES {
                        if known {
                            held.reserve(PIECES * 16 * 1024).await?;
                        }
                        held.count(16 * 1024).await?;
                        yield_now().await;
                    }
                    held.settle(PIECES * 16 * 1024).await
                });
            }
        }
        let whole = timeout(Duration::from_secs(20), requests.join_all()).await;
        let free = budgets.all.bytes.available_permits();
        whole.is_ok_and(|whole| whole.iter().all(Option::is_some)) && free == ALL_BYTES
    }

    #[test]
    fn requests_that_come_evenly_become_whole_though_all_have_parts_of_the_room() -> std::io::Result<()> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            for (addresses, of_each) in [(1, 300), (3, 200), (3, 300)] {
                for known in [false, true] {
                    assert!(all_become_whole(addresses, of_each, known).await, "{addresses} {of_each} {known}");
                }
            }
        });
        Ok(())
    }

    /// Whether there is budget for it at once.
    async fn at_once(holding: impl Future<Output = Option<()>>) -> bool {
        matches!(timeout(Duration::ZERO, holding).await, Ok(Some(())))
    }

    #[test]
    fn one_request_at_a_time_goes_beyond_a_room_that_is_full() -> std::io::Result<()> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let (budgets, connection) = (MemoryBudgets::default(), MemoryBudget::new(1000));
            let [mut first, mut next, mut last] = [(); 3].map(|()| budgets.hold(Some(&connection), None));
            assert!(at_once(first.count(900)).await);
            assert!(at_once(next.count(200)).await && at_once(next.count(5000)).await);
            assert!(!at_once(last.reserve(200)).await);
            drop(next);
            assert!(at_once(last.reserve(200)).await && at_once(last.count(200)).await);
            assert_eq!(budgets.all.bytes.available_permits(), ALL_BYTES - 1100);
            assert!(!at_once(first.count(101)).await);
            drop(last);
            assert!(at_once(first.count(0)).await);
            assert_eq!((connection.bytes.available_permits(), connection.overdraft.available_permits()), (100, 0));
        });
        Ok(())
    }

    #[test]
    fn a_request_of_known_length_waits_once_for_all_of_it() -> std::io::Result<()> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let (budgets, connection) = (MemoryBudgets::default(), MemoryBudget::new(1000));
            let hold = || budgets.hold(Some(&connection), None);
            let [mut others, mut overdraft, mut request] = [budgets.hold(None, None), hold(), hold()];
            assert!(at_once(others.count(ADDRESS_BYTES)).await && at_once(overdraft.count(1)).await);
            assert!(at_once(request.reserve(500)).await);
            let (counted, ()) = tokio::join!(request.count(20), async {
                yield_now().await;
                others.shrink(0);
            });
            assert_eq!((counted, budgets.of(None).bytes.available_permits()), (Some(()), ADDRESS_BYTES - 500));
        });
        Ok(())
    }

    #[test]
    fn the_one_over_the_budget_of_all_waits_for_none_of_its_address() -> std::io::Result<()> {
        Builder::new_current_thread().enable_time().build()?.block_on(async {
            let budgets = MemoryBudgets::default();
            let of = |last| budgets.hold(None, Some(address(last)));
            let [mut one, mut same, mut others, mut more] = [of(1), of(1), of(2), of(3)];
            let part = ADDRESS_BYTES / 4;
            assert!(at_once(one.count(2 * part)).await && at_once(same.count(part)).await);
            assert!(at_once(others.count(4 * part)).await && at_once(more.count(part)).await);
            assert!(at_once(one.count(1)).await, "it has the overdraft of all");
            assert!(!at_once(same.count(part)).await, "it has that of its address, and waits for the other");
            assert!(at_once(one.count(part)).await);
            drop(one);
            assert!(at_once(same.count(0)).await);
        });
        Ok(())
    }

    #[test]
    fn what_is_decompressed_has_room_on_every_level_until_it_is_known_how_long_it_is() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let (budgets, connection) = (MemoryBudgets::default(), MemoryBudget::new(1000));
            let mut held = budgets.hold(Some(&connection), Some(address(1)));
            assert!(held.count(50).await.is_some());
            let left =
                |budgets: &MemoryBudgets| (connection.bytes.available_permits(), budgets.all.bytes.available_permits());
            assert_eq!(left(&budgets), (950, ALL_BYTES - 50));
            assert!(held.widen(900).await.is_some());
            assert_eq!((left(&budgets), held.counted()), ((100, ALL_BYTES - 900), 50));
            assert!(held.settle(70).await.is_some());
            assert_eq!(left(&budgets), (930, ALL_BYTES - 70));
        });
        Ok(())
    }

    #[test]
    fn what_may_not_wait_has_room_at_once_or_none() {
        let budgets = MemoryBudgets::default();
        let [mut first, mut same, mut other] = [1, 1, 2].map(|last| budgets.hold(None, Some(address(last))));
        assert!(first.try_widen(ADDRESS_BYTES));
        assert!(!same.try_widen(1) && other.try_widen(1));
        drop(first);
        assert!(same.try_widen(ADDRESS_BYTES) && !other.try_widen(ADDRESS_BYTES + 1));
        assert_eq!(budgets.all.bytes.available_permits(), ALL_BYTES - ADDRESS_BYTES - 1);
    }

    #[test]
    fn what_is_only_announced_is_no_other_callers_loss() -> std::io::Result<()> {
        Builder::new_current_thread().build()?.block_on(async {
            let budgets = MemoryBudgets::default();
            let mut announced = budgets.hold(None, Some(address(1)));
            assert!(announced.reserve(ADDRESS_BYTES).await.is_some());
            assert_eq!(budgets.of(Some(address(1))).bytes.available_permits(), 0);
            assert_eq!(budgets.all.bytes.available_permits(), ALL_BYTES);
            let mut other = budgets.hold(None, Some(address(2)));
            assert!(other.count(5000).await.is_some());
            assert!(announced.settle(70).await.is_some());
            assert_eq!(budgets.of(Some(address(1))).bytes.available_permits(), ADDRESS_BYTES - 70);
            assert_eq!(budgets.all.bytes.available_permits(), ALL_BYTES - 5070);
            drop((announced, other));
            assert_eq!(budgets.all.bytes.available_permits(), ALL_BYTES);
            drop(budgets.of(Some(address(3))));
            assert!(budgets.of(Some(address(4))).bytes.available_permits() > 0);
            assert_eq!(lock(&budgets.of).len(), 1);
        });
        Ok(())
    }
}
