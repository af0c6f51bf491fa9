//! The kernel's WireGuard between the two nodes, with everything as it is by default: what encrypting by node, without
//! identities of workloads, costs here.

use anyhow::Result;
use culvert_lab::{Lab, programs};

const DEVICE: &str = "wg";
const PORT: u16 = 51820;
/// Makes keys and tells them to the device.
const TOOL: programs::Program = ("wg", "wireguard-tools");

/// Up until it is dropped.
pub(crate) struct WireGuard<'lab> {
    lab: &'lab Lab,
}

/// Whether this kernel has it and its tool is there; if not, says so.
pub(crate) fn available(lab: &Lab) -> Result<bool> {
    let [node, _] = lab.nodes();
    let words = ["ip", "link", "add", DEVICE, "type", "wireguard"];
    if let Err(error) = node.net.run(&words) {
        eprintln!("this kernel has no WireGuard, which is not measured: {error:#}");
        return Ok(false);
    }
    node.net.run(&["ip", "link", "del", DEVICE])?;
    if let Err(error) = programs::require(&[TOOL]) {
        eprintln!("WireGuard is not measured: {error:#}");
        return Ok(false);
    }
    Ok(true)
}

impl<'lab> WireGuard<'lab> {
    /// Everything between the nodes' pods goes through it from now on.
    pub(crate) fn up(lab: &'lab Lab) -> Result<Self> {
        let dir = lab.subdir("wireguard")?.display().to_string();
        let guard = Self { lab };
        for node in lab.nodes() {
            let name = node.name();
            node.net.script(&format!(
                "umask 077
                 wg genkey > {dir}/{name}.key
                 wg pubkey < {dir}/{name}.key > {dir}/{name}.pub
                 ip link add {DEVICE} type wireguard
                 wg set {DEVICE} listen-port {PORT} private-key {dir}/{name}.key
                 ip link set {DEVICE} up"
            ))?;
        }
        let [one, two] = lab.nodes();
        for (node, peer) in [(one, two), (two, one)] {
            let ranges: Vec<String> = peer
                .ranges(lab.family())
                .into_iter()
                .map(|(range, _)| range)
                .collect();
            node.net.script(&format!(
                "wg set {DEVICE} peer $(cat {dir}/{}.pub) endpoint {}:{PORT} allowed-ips {}",
                peer.name(),
                peer.address(lab.family()),
                ranges.join(",")
            ))?;
        }
        lab.lead_over(Some(DEVICE))?;
        Ok(guard)
    }
}

impl Drop for WireGuard<'_> {
    fn drop(&mut self) {
        let _ = self.lab.lead_over(None);
        for node in self.lab.nodes() {
            let _ = node.net.run(&["ip", "link", "del", DEVICE]);
        }
    }
}
