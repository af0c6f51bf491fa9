//! Whether a pod may start.
//!
//! Invariant: a pod of the mesh starts by the agent's word only; the cluster's own namespaces wait for nothing.

use culvert_cni_wire::Answer;
use culvert_enrolment::SYSTEM_NAMESPACE;

use crate::agent;
use crate::api::{self, Member};
use crate::call::{self, Call, Failure, Verb};

/// Without these, nothing of the node would come back after a reboot.
const AT_ONCE: [&str; 2] = ["kube-system", SYSTEM_NAMESPACE];

/// What goes to standard output.
pub(crate) fn answer(call: &Call) -> Result<String, Failure> {
    match call.verb {
        Verb::Version => Ok(call::versions("1.0.0")),
        Verb::Quiet => Ok(String::new()),
        Verb::Del => {
            // Nobody is kept from leaving.
            drop(agent::ask(call));
            Ok(String::new())
        }
        Verb::Add => {
            let previous = call.previous.as_ref();
            let previous = previous.ok_or_else(|| {
                Failure::invalid("prevResult is missing: culvert-cni gives no network, it comes after a plugin that does")
            })?;
            admit(call)?;
            Ok(format!("{previous}\n"))
        }
    }
}

fn admit(call: &Call) -> Result<(), Failure> {
    // Without a name it is no pod: a runtime's own test, say.
    if call.name.is_empty() || AT_ONCE.contains(&call.namespace.as_str()) {
        return Ok(());
    }
    let error = match agent::ask(call) {
        Ok(Answer::Start) => return Ok(()),
        Ok(Answer::Refuse(reason)) => return Err(Failure::later(reason)),
        Err(error) => error,
    };
    let pod = format!("{}/{}", call.namespace, call.name);
    let see = "Kubelet tries again. See: kubectl -n culvert-system get pods -o wide";
    match api::member(call) {
        Ok(Member::Outside) => Ok(()),
        Ok(Member::Inside) => Err(Failure::later(format!(
            "pod {pod} is in the mesh, but this node's culvert-agent does not answer ({error}), so its traffic cannot be \
             captured. {see}"
        ))),
        Err(unknown) => Err(Failure::later(format!(
            "this node's culvert-agent does not answer ({error}), and whether pod {pod} is in the mesh cannot be told \
             without it ({unknown}). {see}"
        ))),
    }
}

#[cfg(test)]
mod tests;
