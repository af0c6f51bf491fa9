//! Which Ingresses are ours.
//!
//! Invariant: an Ingress is served by one controller at most, as far as its class can tell.

use crate::model::Ingress;
use crate::world::World;

/// The controller that classes of ours name.
const CONTROLLER: &str = "culvert.dev/ingress";
/// The class that is installed; its Ingresses are ours without the object, too.
const CLASS: &str = "culvert";

/// Whether an Ingress is ours to speak of.
#[must_use]
pub fn is_ours(world: &World, ingress: &Ingress) -> bool {
    let classes = &world.cache.ingress_classes;
    if let Some(name) = &ingress.class {
        return match classes.find("", name) {
            Some(class) => class.spec.controller == CONTROLLER,
            None => name == CLASS,
        };
    }
    // Kubernetes lets no Ingress without a class in while there are two defaults.
    let mut defaults = classes.iter().filter(|class| class.spec.is_default);
    let ours = defaults
        .next()
        .is_some_and(|class| class.spec.controller == CONTROLLER);
    ours && defaults.all(|class| class.spec.controller == CONTROLLER)
}

/// Why Ingresses of its class are not served. Parameters that nobody reads must not look as if they counted.
pub(super) fn refused(world: &World, ingress: &Ingress) -> Option<String> {
    let classes = &world.cache.ingress_classes;
    let class = match &ingress.class {
        Some(name) => classes.find("", name),
        None => classes.iter().find(|class| class.spec.is_default),
    };
    let class = class.filter(|class| class.spec.has_parameters)?;
    Some(format!(
        "IngressClass {} has parameters: leave them out, a class has none",
        class.meta.name
    ))
}

/// Whether an Ingress is ours, and nothing of its class forbids to serve it.
pub(super) fn is_served(world: &World, ingress: &Ingress) -> bool {
    is_ours(world, ingress) && refused(world, ingress).is_none()
}
