//! Keeps recent results for a few prompts.

use super::Tokens;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cache of bounded size, by token ids, for any number of threads; a new entry replaces the one that was used longest
/// ago. While a value is computed no other thread waits: kept values can be found in the meantime.
///
/// A frame loop has a handful of prompts, so finding the oldest is a scan, and a hit is one look-up.
#[derive(Debug)]
pub struct PromptCache<V> {
    entries: Mutex<Entries<V>>,
    capacity: usize,
}

#[derive(Debug)]
struct Entries<V> {
    by_tokens: HashMap<Tokens, Entry<V>>,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    last_use: u64,
}

impl<V: Clone> PromptCache<V> {
    /// A cache for `capacity` prompts, at least one.
    pub fn new(capacity: usize) -> Self {
        let entries = Entries { by_tokens: HashMap::new(), clock: 0 };
        Self { entries: Mutex::new(entries), capacity: capacity.max(1) }
    }

    /// The value for these ids.
    pub fn get(&self, ids: &[u32]) -> Option<V> {
        self.lock().get(ids)
    }

    /// The value for these tokens, or the result of `compute`, which is then kept. An error keeps nothing. If two
    /// threads compute one prompt at the same time, both get the value that was kept first.
    pub fn get_or_insert_with<E>(&self, tokens: Tokens, compute: impl FnOnce(&Tokens) -> Result<V, E>) -> Result<V, E> {
        if let Some(kept) = self.get(tokens.ids()) {
            return Ok(kept);
        }
        // Without the lock, since this takes as long as a frame.
        let value = compute(&tokens)?;
        let mut entries = self.lock();
        if let Some(kept) = entries.get(tokens.ids()) {
            return Ok(kept);
        }
        let evicted = entries.insert(tokens, value.clone(), self.capacity);
        drop(entries);
        drop(evicted);
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        // A panic elsewhere leaves the entries as they were before or after a change.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Entries<V> {
    fn get(&mut self, ids: &[u32]) -> Option<V> {
        self.clock += 1;
        let entry = self.by_tokens.get_mut(ids)?;
        entry.last_use = self.clock;
        Some(entry.value.clone())
    }

    /// Yields the entry that was evicted.
    fn insert(&mut self, tokens: Tokens, value: V, capacity: usize) -> Option<Entry<V>> {
        let mut evicted = None;
        if self.by_tokens.len() >= capacity {
            let oldest =
                self.by_tokens.iter().min_by_key(|(_, entry)| entry.last_use).map(|(tokens, _)| tokens.clone());
            evicted = oldest.and_then(|oldest| self.by_tokens.remove(&oldest));
        }
        self.by_tokens.insert(tokens, Entry { value, last_use: self.clock });
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn tokens(id: u32) -> Tokens {
        Tokens::from_ids(vec![0, id, 9])
    }

    fn keep(cache: &PromptCache<&'static str>, id: u32, value: &'static str) {
        cache.get_or_insert_with(tokens(id), |_| Ok::<_, ()>(value)).unwrap();
    }

    #[test]
    fn the_least_recently_used_goes() {
        let cache = PromptCache::new(2);
        keep(&cache, 1, "one");
        keep(&cache, 2, "two");
        assert_eq!(cache.get(tokens(1).ids()), Some("one"));
        keep(&cache, 3, "three");
        assert_eq!(cache.get(tokens(2).ids()), None);
        assert_eq!(cache.get(tokens(1).ids()), Some("one"));
        assert_eq!(cache.get(tokens(3).ids()), Some("three"));
    }

    #[test]
    fn a_value_is_computed_once_and_errors_are_not_kept() {
        let cache = PromptCache::new(0);
        assert_eq!(cache.get_or_insert_with(tokens(1), |_| Err("failed")), Err("failed"));
        assert_eq!(cache.get(tokens(1).ids()), None);
        assert_eq!(cache.get_or_insert_with(tokens(1), |t| Ok::<_, ()>(t.ids()[1])), Ok(1));
        assert_eq!(cache.get_or_insert_with(tokens(1), |_| Err("not called")), Ok(1));
        keep_one(&cache, 2);
        assert_eq!(cache.get(tokens(1).ids()), None, "there is room for one");
    }

    fn keep_one(cache: &PromptCache<u32>, id: u32) {
        cache.get_or_insert_with(tokens(id), |_| Ok::<_, ()>(id)).unwrap();
    }

    /// The other thread ends only after a kept prompt was found: with the lock held this would never return.
    #[test]
    fn a_kept_prompt_does_not_wait_for_a_new_one() {
        let cache = PromptCache::new(4);
        keep(&cache, 1, "kept");
        let (begun, encoding) = mpsc::channel();
        let (found, go_on) = mpsc::channel::<()>();
        let cache = &cache;
        std::thread::scope(|scope| {
            let slow = scope.spawn(move || {
                cache.get_or_insert_with(tokens(2), |_| {
                    begun.send(()).unwrap();
                    go_on.recv().map(|()| "new")
                })
            });
            encoding.recv().unwrap();
            let kept = cache.get_or_insert_with(tokens(1), |_| Err("computed again"));
            // Another new prompt does not wait either, and the same one is kept once.
            keep(cache, 3, "another");
            keep(cache, 2, "first");
            found.send(()).unwrap();
            assert_eq!(kept, Ok("kept"));
            assert_eq!(slow.join().unwrap(), Ok("first"));
        });
    }
}
