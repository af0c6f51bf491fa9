//! The mesh's own ports in a pod, which no application may be reached at or through.
//!
//! Invariant: nothing that a peer or an application names leads back into this proxy.

/// Where what applications dial is led to.
pub(crate) const OUTBOUND: u16 = 15001;
/// Where plain text that reaches the pod is led to.
pub(crate) const INBOUND: u16 = 15006;
/// Where other proxies reach the pod, and the port of their tunnels everywhere in the mesh.
pub(crate) const HBONE: u16 = 15008;
/// Where DNS questions of applications are led to.
pub(crate) const DNS: u16 = 15053;

/// Whether a destination of this port in a pod of ours would be this proxy and not an application.
pub(crate) fn is_own(port: u16) -> bool {
    matches!(port, OUTBOUND | INBOUND | HBONE | DNS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn own_ports_are_those_of_the_listeners_and_no_others() {
        let own: Vec<u16> = (0..=u16::MAX).filter(|&port| super::is_own(port)).collect();
        assert_eq!(own, [15001, 15006, 15008, 15053]);
    }
}
