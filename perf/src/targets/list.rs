//! The targets themselves.

use super::{Compared, Of, Target};
use crate::{
    figures::{HOST_GB, HOST_REQUEST, P50, P99, UNSERVED},
    stage::Place,
    subject::{CULVERT, DIRECT, ENVOY, ONE_CORE, STOCK},
    work::names,
};

const PEER: &str = "stock ztunnel";
const TWO: Place = Place::TwoNodes;

/// All of them.
pub(super) fn all() -> Vec<Target> {
    let mut all = bulk();
    all.extend(requests());
    all.extend(memory());
    all.extend(absolute());
    all.extend(names::Hop::ALL.into_iter().flat_map(hop));
    all
}

fn bulk() -> Vec<Target> {
    let stock = |work, at_most, place, streams| Target {
        work,
        measure: "host CPU per GB",
        peer: PEER,
        at_most,
        compared: beside_stock(of(place, names::bulk(streams), HOST_GB)),
    };
    let same_node = Compared::Figure {
        ours: of(Place::SameNode, names::bulk(1), HOST_GB),
        theirs: of(TWO, names::bulk(1), HOST_GB).by(STOCK),
        less: None,
    };
    vec![
        stock("bulk, 1 stream", 0.75, TWO, 1),
        stock("bulk, 16 streams", 0.65, TWO, 16),
        Target {
            compared: same_node,
            ..stock("bulk, same node (stock: two nodes)", 0.35, TWO, 1)
        },
        stock(
            "pass-through to outside the mesh, bulk",
            0.50,
            Place::Outside,
            1,
        ),
    ]
}

fn requests() -> Vec<Target> {
    let stock = |work, measure, at_most, ours| Target {
        work,
        measure,
        peer: PEER,
        at_most,
        compared: added(ours),
    };
    let pooled = |measure, quantile| Target {
        work: "open loop at half of ztunnel's capacity, 64",
        measure,
        peer: PEER,
        at_most: 0.60,
        compared: added_quantile(of(TWO, names::OPEN_HALF.into(), P99), quantile),
    };
    let http = |connections, figure| of(TWO, names::http(connections, "64B"), figure);
    let (one, cpu) = (
        "HTTP keep-alive, 1 connection",
        "added host CPU per request",
    );
    let connect = of(TWO, names::CONNECT.into(), HOST_REQUEST);
    vec![
        stock(one, "added p50", 0.80, http(1, P50)),
        stock(one, cpu, 0.80, http(1, HOST_REQUEST)),
        stock(
            "HTTP keep-alive, 64 connections",
            cpu,
            0.60,
            http(64, HOST_REQUEST),
        ),
        pooled("added p99", 0.99),
        pooled("added p99.9", 0.999),
        stock(
            "a new connection a request",
            "added host CPU per connection",
            0.50,
            connect,
        ),
    ]
}

fn memory() -> Vec<Target> {
    let stock = |work, measure, at_most, ours| Target {
        work,
        measure,
        peer: PEER,
        at_most,
        compared: beside_stock(ours),
    };
    let large = "100,000 workloads";
    let catalogue = |figure| of(TWO, names::catalogue(100_000), figure);
    vec![
        stock(
            "idle connections",
            "memory of the pair",
            0.30,
            of(TWO, names::IDLE.into(), names::IDLE_BYTES),
        ),
        stock(large, "memory", 0.50, catalogue(names::CATALOGUE_MB)),
        stock(
            large,
            "time to first use",
            0.50,
            catalogue(names::FIRST_USE),
        ),
    ]
}

fn absolute() -> Vec<Target> {
    let work = "1,000 requests/s beside an elephant";
    let elephant = |figure| of(TWO, names::ELEPHANT.into(), figure);
    let beside_direct = Compared::Pooled {
        ours: elephant(P99),
        theirs: elephant(P99).by(DIRECT),
        less: None,
        quantile: 0.99,
    };
    let cores = |work, streams| {
        let ours = of(TWO, names::bulk(streams), HOST_GB);
        Target {
            work,
            measure: "host CPU per GB",
            peer: ONE_CORE,
            at_most: 1.1,
            compared: Compared::Figure {
                theirs: ours.clone().by(ONE_CORE),
                ours,
                less: None,
            },
        }
    };
    vec![
        Target {
            work,
            measure: "p99",
            peer: DIRECT,
            at_most: 5.0,
            compared: beside_direct,
        },
        Target {
            work,
            measure: "unserved",
            peer: "none",
            at_most: 0.0,
            compared: Compared::Greatest(elephant(UNSERVED)),
        },
        cores("bulk, 1 stream, 2 data cores", 1),
        cores("bulk, 16 streams, 2 data cores", 16),
    ]
}

/// The waypoint beside Envoy, in one mode with so many routes.
fn hop(hop: names::Hop) -> Vec<Target> {
    let ours = |figure| of(TWO, hop.name(), figure);
    let base = |subject| of(TWO, hop.without(), P99).by(subject);
    let target = |measure, at_most, compared| Target {
        work: hop.title(),
        measure,
        peer: ENVOY,
        at_most,
        compared,
    };
    let figure = |figure| Compared::Figure {
        ours: ours(figure),
        theirs: ours(figure).by(ENVOY),
        less: None,
    };
    let latency = Compared::Pooled {
        ours: ours(P99),
        theirs: ours(P99).by(ENVOY),
        less: Some([base(CULVERT), base(ENVOY)]),
        quantile: 0.99,
    };
    vec![
        target("CPU per request", 0.40, figure(names::HOP_REQUEST)),
        target("open loop, added p99", 0.60, latency),
        target("memory", 0.25, figure(names::HOP_MB)),
    ]
}

fn of(place: Place, work: String, figure: &'static str) -> Of {
    Of {
        place,
        work,
        subject: CULVERT,
        figure,
    }
}

fn beside_stock(ours: Of) -> Compared {
    Compared::Figure {
        theirs: ours.clone().by(STOCK),
        ours,
        less: None,
    }
}

fn added(ours: Of) -> Compared {
    let direct = ours.clone().by(DIRECT);
    Compared::Figure {
        theirs: ours.clone().by(STOCK),
        ours,
        less: Some([direct.clone(), direct]),
    }
}

fn added_quantile(ours: Of, quantile: f64) -> Compared {
    let direct = ours.clone().by(DIRECT);
    Compared::Pooled {
        theirs: ours.clone().by(STOCK),
        ours,
        less: Some([direct.clone(), direct]),
        quantile,
    }
}

impl Of {
    fn by(self, subject: &'static str) -> Self {
        Self { subject, ..self }
    }
}
