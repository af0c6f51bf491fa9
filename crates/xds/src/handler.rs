//! What the resources of a response are given to.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::version::Version;

/// One resource of an [`Update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The resource's name, unique within its type.
    pub name: Arc<str>,
    /// The version that the server gave it.
    pub version: Version,
    /// The encoded message of the resource's type. It is a part of the whole response: whoever keeps it keeps all of that.
    pub body: Bytes,
}

/// What one response changes. Every name is in at most one of the lists, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Added or replaced.
    pub resources: Vec<Resource>,
    /// Sent, but without a body that could be given to the handler. They count as rejected already; a handler that must
    /// fail closed for what it cannot read learns of them here.
    pub unreadable: Vec<Rejected>,
    /// Gone.
    pub removed: Vec<Arc<str>>,
}

/// A resource, or the removal of one, that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The resource's name.
    pub name: Arc<str>,
    /// Why, naming the field.
    pub error: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

/// Applies updates. Each is applied as far as it is valid: a resource that is rejected changes nothing, so that its
/// previous version stays, and the others are applied.
pub trait Handler: Send {
    /// Applies the update of one type and names what it rejects. An empty update is the server saying that there is
    /// nothing of the type.
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected>;
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        (**self).apply(type_url, update)
    }
}

/// Several handlers as one, each for types of its own.
#[derive(Default)]
pub struct Handlers {
    types: Vec<(&'static str, usize)>,
    handlers: Vec<Box<dyn Handler>>,
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for some types. A type that has one already keeps it.
    #[must_use]
    pub fn with(mut self, types: &[&'static str], handler: impl Handler + 'static) -> Self {
        for url in types {
            if !self.types.iter().any(|(known, _)| known == url) {
                self.types.push((*url, self.handlers.len()));
            }
        }
        self.handlers.push(Box::new(handler));
        self
    }

    /// Every type that has a handler, in the order in which they were added.
    #[must_use]
    pub fn types(&self) -> Vec<&'static str> {
        self.types.iter().map(|(url, _)| *url).collect()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handlers").field(&self.types()).finish()
    }
}

impl Handler for Handlers {
    fn apply(&mut self, type_url: &str, update: Update) -> Vec<Rejected> {
        let index = self.types.iter().find(|(url, _)| *url == type_url);
        match index.and_then(|(_, index)| self.handlers.get_mut(*index)) {
            Some(handler) => handler.apply(type_url, update),
            None => reject_all(update, "no handler for this type"),
        }
    }
}

/// Rejects everything that an update would change.
pub(crate) fn reject_all(update: Update, error: &str) -> Vec<Rejected> {
    let resources = update.resources.into_iter().map(|resource| resource.name);
    resources
        .chain(update.removed)
        .map(|name| Rejected {
            name,
            error: error.to_owned(),
        })
        .collect()
}
