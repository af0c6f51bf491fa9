//! Which pod a process belongs to, by the name of its control group.
//!
//! Kubelet names a pod's group `pod<UID>` (cgroupfs driver) or `kubepods-...-pod<UID_WITH_UNDERSCORES>.slice` (systemd
//! driver), in every hierarchy of version 1 and in the one of version 2.
//!
//! Invariant: the outermost name counts. A container may make groups below its own and call them what it likes.

/// The uid of the pod that a process with this `/proc/PID/cgroup` belongs to.
#[must_use]
pub fn pod_uid(cgroup: &str) -> Option<String> {
    // "7:memory:/kubepods/besteffort/pod.../..." or "0::/kubepods.slice/...". A controller's name may hold no colon.
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        path.split('/').find_map(component)
    })
}

/// The uid in one component of a path.
fn component(name: &str) -> Option<String> {
    if let Some(uid) = name.strip_prefix("pod") {
        return uid_of(uid);
    }
    // With systemd the name repeats the names of the groups above: kubepods-burstable-pod1_2.slice.
    let name = name.strip_suffix(".slice")?;
    let at = name.rfind("-pod")?;
    uid_of(name.get(at + "-pod".len()..)?)
}

/// A uid has hexadecimal digits and dashes, which systemd needs written otherwise. A static pod's has no dashes.
fn uid_of(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let valid = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (uid.len() >= 32 && uid.bytes().all(valid)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b8f2c5e-1d0f-4c1c-9c38-2f7b5a7d9e10";

    #[test]
    fn every_driver_and_version() {
        let under = UID.replace('-', "_");
        let hash = UID.replace('-', "");
        for text in [
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-c.scope\n"
            ),
            format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-c.scope\n"),
            format!("0::/kubepods/besteffort/pod{UID}/c\n"),
            format!("0::/kubepods/pod{UID}/c\n"),
            // Seen from a container with a group namespace of its own.
            format!("0::/../../kubepods-besteffort-pod{under}.slice/cri-containerd-c.scope\n"),
            format!("12:pids:/\n11:memory:/node2/kubepods/burstable/pod{UID}/c\n0::/\n"),
            format!(
                "1:name=systemd:/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/c\n"
            ),
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{under}.slice/c\n"
            ),
        ] {
            assert_eq!(pod_uid(&text).as_deref(), Some(UID), "{text}");
        }
        let text = format!("0::/kubepods/besteffort/pod{hash}/c");
        assert_eq!(pod_uid(&text), Some(hash), "a static pod");
    }

    #[test]
    fn what_is_no_pod() {
        for text in [
            "",
            "0::/",
            "0::/system.slice/containerd.service",
            "0::/user.slice/podman.slice",
            "0::/kubepods/podium",
            "0::/kubepods/pod../c",
            "garbage",
            "0::/kubepods.slice/kubepods-pod.slice",
        ] {
            assert_eq!(pod_uid(text), None, "{text}");
        }
    }

    #[test]
    fn a_pod_cannot_pass_for_another() {
        let other = UID.replace('0', "1");
        let text = format!("0::/kubepods/besteffort/pod{UID}/c/pod{other}/x");
        assert_eq!(pod_uid(&text).as_deref(), Some(UID));
        let under = other.replace('-', "_");
        let text = format!("0::/kubepods/pod{UID}/c/kubepods-pod{under}.slice/x");
        assert_eq!(pod_uid(&text).as_deref(), Some(UID));
    }
}
