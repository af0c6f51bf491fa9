//! Texts that many objects have in common: each namespace of a cluster has the same `kube-root-ca.crt`.
//!
//! Invariant: a text that nobody uses any more is kept no longer than until there are twice as many.

use std::collections::HashSet;
use std::sync::Arc;

/// The least number of texts that are worth a look for unused ones.
const FEW: usize = 64;

/// Texts in use, each once.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    texts: HashSet<Arc<str>>,
    /// So many there may be before the next look.
    most: usize,
}

impl Bundles {
    /// The one text that says this.
    pub(super) fn one(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() >= self.most {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.most = FEW.max(2 * self.texts.len());
        }
        self.texts.insert(text.clone());
        text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_go() {
        let mut bundles = Bundles::default();
        let first = bundles.one(&"a".into());
        assert!(Arc::ptr_eq(&first, &bundles.one(&"a".into())));
        for n in 0..10 * FEW {
            bundles.one(&n.to_string().into());
        }
        assert!(bundles.texts.len() <= FEW + 1);
        assert!(Arc::ptr_eq(&first, &bundles.one(&"a".into())));
    }
}
