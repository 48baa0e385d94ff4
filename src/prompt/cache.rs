//! Keeps what was last computed for a few prompts.

use super::Tokens;
use std::collections::HashMap;

/// A cache of bounded size, by token ids; the entry that was used longest ago makes room for a new one.
///
/// Room for a frame loop's prompts is a handful of entries, so finding the oldest is a scan, and a hit is one look-up.
#[derive(Debug)]
pub struct PromptCache<V> {
    entries: HashMap<Tokens, Entry<V>>,
    capacity: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    last_use: u64,
}

impl<V> PromptCache<V> {
    /// Room for `capacity` prompts, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity: capacity.max(1), clock: 0 }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// What is kept for these ids. Allocates nothing.
    pub fn get(&mut self, ids: &[u32]) -> Option<&V> {
        self.clock += 1;
        let entry = self.entries.get_mut(ids)?;
        entry.last_use = self.clock;
        Some(&entry.value)
    }

    /// Keeps a value, and gives back the one that had to go: the same prompt's, or the least recently used.
    pub fn insert(&mut self, tokens: Tokens, value: V) -> Option<V> {
        self.clock += 1;
        let mut evicted = None;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(tokens.ids()) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(tokens, _)| tokens.clone());
            evicted = oldest.and_then(|oldest| self.entries.remove(&oldest));
        }
        let replaced = self.entries.insert(tokens, Entry { value, last_use: self.clock });
        replaced.or(evicted).map(|entry| entry.value)
    }

    /// What is kept for these tokens, or what `compute` makes of them, kept. An error keeps nothing.
    pub fn get_or_insert_with<E>(
        &mut self,
        tokens: &Tokens,
        compute: impl FnOnce(&Tokens) -> Result<V, E>,
    ) -> Result<&V, E> {
        if !self.entries.contains_key(tokens.ids()) {
            let value = compute(tokens)?;
            self.insert(tokens.clone(), value);
        }
        Ok(self.get(tokens.ids()).expect("kept just now"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(id: u32) -> Tokens {
        Tokens::from_ids(vec![0, id, 9])
    }

    #[test]
    fn the_least_recently_used_goes() {
        let mut cache = PromptCache::new(2);
        assert_eq!(cache.insert(tokens(1), "one"), None);
        assert_eq!(cache.insert(tokens(2), "two"), None);
        assert_eq!(cache.get(tokens(1).ids()), Some(&"one"));
        assert_eq!(cache.insert(tokens(3), "three"), Some("two"));
        assert_eq!(cache.get(tokens(2).ids()), None);
        assert_eq!(cache.get(tokens(1).ids()), Some(&"one"));
        assert_eq!(cache.get(tokens(3).ids()), Some(&"three"));
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn replacing_a_prompt_evicts_no_other() {
        let mut cache = PromptCache::new(2);
        cache.insert(tokens(1), 1);
        cache.insert(tokens(2), 2);
        assert_eq!(cache.insert(tokens(1), 10), Some(1));
        assert_eq!(cache.get(tokens(2).ids()), Some(&2));
        assert_eq!(cache.get(tokens(1).ids()), Some(&10));
    }

    #[test]
    fn a_value_is_computed_once_and_errors_are_not_kept() {
        let mut cache = PromptCache::new(0);
        assert_eq!(cache.capacity(), 1);
        assert_eq!(cache.get_or_insert_with(&tokens(1), |_| Err("failed")), Err("failed"));
        assert!(cache.is_empty());
        assert_eq!(cache.get_or_insert_with(&tokens(1), |t| Ok::<_, ()>(t.ids()[1])), Ok(&1));
        assert_eq!(cache.get_or_insert_with(&tokens(1), |_| Err("not called")), Ok(&1));
    }
}
