//! The objects of a large mesh as files: namespaces of 500 pods and 50 services, all elsewhere.

use culvert_lab::Mesh;
use std::{fmt::Write as _, net::Ipv4Addr};

use anyhow::Result;

const PODS: usize = 500;
const SERVICES: usize = 50;
/// Of the second half of 10.0.0.0/8, where no pod of a laboratory is.
const PODS_FROM: u32 = 0x0a80_0000;
/// Below them: of the pods that come and go.
const REPLACED_FROM: u32 = 0x0a7f_0000;
/// Behind the services of a laboratory.
const SERVICES_FROM: u32 = 0x0a60_8000;

/// Writes the objects that a mesh of `workloads` lacks when one of `known` is there.
pub(crate) fn write(mesh: &Mesh<'_>, known: usize, workloads: usize) -> Result<()> {
    for number in known.div_ceil(PODS)..workloads.div_ceil(PODS) {
        mesh.put(&format!("many-{number}"), &namespace(number))?;
    }
    Ok(())
}

/// Removes all of them.
pub(crate) fn remove(mesh: &Mesh<'_>, workloads: usize) -> Result<()> {
    (0..workloads.div_ceil(PODS)).try_for_each(|number| mesh.remove(&format!("many-{number}")))
}

/// One namespace with all that it holds.
fn namespace(number: usize) -> String {
    let name = format!("many-{number}");
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    culvert.dev/dataplane-mode: ambient\n"
    );
    for service in 0..SERVICES {
        let ip = address(SERVICES_FROM, number * SERVICES + service);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: svc-{service}\n  namespace: {name}\n\
             spec:\n  selector:\n    app: app-{service}\n  clusterIP: {ip}\n  clusterIPs: [{ip}]\n  ports:\n  \
             - name: http\n    port: 80\n    targetPort: 8080\n    protocol: TCP\n"
        );
    }
    for index in 0..PODS {
        let ip = address(PODS_FROM, number * PODS + index);
        let app = index % SERVICES;
        let pod = pod(&name, &format!("app-{app}-{index:05}"), app, ip);
        let _ = write!(text, "---\n{pod}");
    }
    text
}

/// A pod of the first service of the first namespace, in its `generation`: under a new name, at another address than the
/// one before.
pub(super) fn replaced(number: usize, generation: usize) -> String {
    let ip = address(REPLACED_FROM, 2 * number + generation % 2);
    pod("many-0", &format!("replaced-{number}-{generation}"), 0, ip)
}

fn pod(namespace: &str, name: &str, app: usize, ip: Ipv4Addr) -> String {
    let number = u32::from(ip);
    let (account, node) = (number % 5, number % 100);
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    \
         app: app-{app}\nspec:\n  nodeName: other-{node}\n  serviceAccountName: account-{account}\n\
         status:\n  phase: Running\n  podIP: {ip}\n  podIPs: [{{ip: {ip}}}]\n"
    )
}

fn address(from: u32, number: usize) -> Ipv4Addr {
    Ipv4Addr::from(from + u32::try_from(number).unwrap_or(u32::MAX - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_largest_mesh_do_not_meet() {
        assert_eq!(address(PODS_FROM, 100_000).to_string(), "10.129.134.160");
        assert_eq!(address(SERVICES_FROM, 10_000).to_string(), "10.96.167.16");
        assert!(namespace(3).contains("name: app-7-00057\n"));
    }
}
