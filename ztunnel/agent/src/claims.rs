//! Which pod owns which network namespace: two pods that name the same one must not both be captured
//! in it, each with rules of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use culvert_runtime::netns::NetnsId;

/// Owners by namespace.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<NetnsId, String>>);

impl Claims {
    /// Claim `id` for `uid`, which gives up what it claimed before; an error names the owner.
    pub fn claim(&self, id: NetnsId, uid: &str) -> Result<(), String> {
        let mut owners = self.lock();
        match owners.get(&id) {
            Some(owner) if owner != uid => return Err(owner.clone()),
            Some(_) => return Ok(()),
            None => {}
        }
        owners.retain(|_, owner| owner != uid);
        owners.insert(id, uid.to_owned());
        Ok(())
    }

    /// Give up what `uid` claimed.
    pub fn release(&self, uid: &str) {
        self.lock().retain(|_, owner| owner != uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NetnsId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let claims = Claims::default();
        let id = |inode| NetnsId { dev: 1, inode };
        assert_eq!(claims.claim(id(1), "a"), Ok(()));
        assert_eq!(claims.claim(id(1), "b"), Err("a".into()));
        assert_eq!(claims.claim(id(2), "a"), Ok(()), "moved");
        assert_eq!(claims.claim(id(1), "b"), Ok(()));
        claims.release("a");
        assert_eq!(claims.claim(id(2), "c"), Ok(()));
    }
}
