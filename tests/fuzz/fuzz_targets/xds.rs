//! Responses of a control plane: the state machine and the state that it fills survive any bytes, and whatever was
//! accepted is what a client would say that it holds.
#![no_main]

use culvert_proto::{ads::DeltaDiscoveryResponse, type_url};
use culvert_xds::{protocol::Machine, state::Settings, Store};
use prost::Message;

const TYPES: [&str; 4] = [
    type_url::TRUST_BUNDLE,
    type_url::MESH_SETTINGS,
    type_url::AUTHORIZATION,
    type_url::ADDRESS,
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut store = Store::new(Settings::default());
    let mut machine = Machine::new(Default::default(), &TYPES);
    // The input is a series of responses, each behind its length in two bytes and the index of its type.
    let mut rest = bytes;
    while let [high, low, kind, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, next) = tail.split_at(length);
        rest = next;
        let _ = machine.receive(frame.to_vec().into(), &mut store);
        let Ok(mut response) = DeltaDiscoveryResponse::decode(frame) else {
            continue;
        };
        if let Some(known) = TYPES.get(usize::from(*kind)) {
            (*known).clone_into(&mut response.type_url);
            for any in response.resources.iter_mut().filter_map(|found| found.resource.as_mut()) {
                (*known).clone_into(&mut any.type_url);
            }
        }
        if let Ok(reply) = machine.receive(response.encode_to_vec().into(), &mut store) {
            assert!(reply.rejected.is_empty() || reply.request.error_detail.is_some());
        }
        let snapshot = store.snapshot();
        for workload in snapshot.workloads() {
            let _ = snapshot.policies_for(workload);
        }
    }
});
