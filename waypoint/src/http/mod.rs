//! HTTP/1.1 and HTTP/2: a request's way through the waypoint, one file a step.
//!
//! `decode -> normalise -> match -> authorize -> (cors) -> fault -> pick -> try -> (retry) -> reply`
//!
//! Invariant: each step takes what the one before has made, so that none can be left out: what is sent was decoded,
//! normalised, matched and authorized.

mod activity;
mod affinity;
mod attempt;
pub mod body;
mod cors;
mod decode;
mod fault;
mod forwarded;
pub mod headers;
mod matching;
mod mirror;
mod normalise;
mod outbound;
mod pick;
mod refusal;
mod reply;
mod reply_body;
mod retry;
pub mod server;
mod session;
mod silence;
mod upgrade;

pub use activity::Busy;
pub use culvert_sniff::host;

pub(crate) use affinity::of_connection as key_of_connection;
pub(crate) use attempt::is_endpoints;
pub(crate) use pick::{destination as direct_backend, service, weighted};

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::framing::Switch;
use crate::permit::{InForce, check_destination};
use crate::telemetry::Record;
use crate::world::Session;

use activity::Activity;
use cors::Sharing;
use outbound::{BodyWish, Outbound};
use refusal::Refusal;
use reply_body::{Held, Place, ReplyBody};
use upgrade::{Upgrade, UpgradeSlot};

/// What a request needs to know of its connection.
#[derive(Debug, Clone)]
struct Connection {
    session: Rc<Session>,
    /// The connection's strict reader, which holds back what follows a change of protocol. HTTP/1 only.
    switch: Option<Rc<Switch>>,
    /// Where a change of protocol is left for the connection to carry out.
    upgrade: Rc<UpgradeSlot>,
    /// How many requests are open.
    activity: Rc<Activity>,
}

/// What the steps end with.
enum Reply {
    /// An answer of our own.
    Own(Response<ReplyBody>),
    /// A backend's answer, whose body is still to come.
    Backend(Response<()>, Box<Held>),
    /// A backend's consent to another protocol.
    Switch(Response<ReplyBody>, Box<Upgrade>),
}

impl Connection {
    /// Answers one request. The account of it leaves with what is still going on.
    async fn serve(self, request: Request<Incoming>) -> Response<ReplyBody> {
        let version = request.version();
        let mut record = self.session.record();
        record.busy(self.activity.enter());
        let mut sharing = None;
        let mut response = match self.steps(request, &mut record, &mut sharing).await {
            Ok(Reply::Own(response)) => response,
            Ok(Reply::Backend(head, held)) => head.map(|()| held.into_body(record)),
            Ok(Reply::Switch(response, upgrade)) => {
                self.upgrade.set(upgrade, record);
                return response;
            }
            Err(refusal) => {
                let outside = self.session.destination.arrival().is_some();
                reply::refuse(&refusal, outside, version, &mut record)
            }
        };
        if let Some(sharing) = sharing {
            sharing.tell(response.headers_mut());
        }
        if self.switch.as_ref().is_some_and(|switch| switch.refuse()) {
            reply::close(response.headers_mut(), Version::HTTP_11);
        }
        response
    }

    async fn steps(
        &self,
        request: Request<Incoming>,
        record: &mut Record,
        sharing: &mut Option<Box<Sharing>>,
    ) -> Result<Reply, Refusal> {
        let session = &self.session;
        let world = &session.core.world;
        let mut decoded = decode::decode(request, &session.default_host)?;
        if let Some(arrival) = session.destination.arrival() {
            forwarded::append(&mut decoded.parts.headers, &session.client, arrival);
        }
        record.asked(
            &decoded.parts.method,
            decoded.host_name(),
            decoded.parts.uri.path(),
            decoded.grpc,
        );
        let target = normalise::normalise(&decoded.parts)?;

        let routes = world.routes.load_full();
        let matched = matching::find(session, &routes, &decoded, target)?;
        let found = matched.rule();
        record.route = found.map(|found| Arc::clone(found.rule.route()));
        let rules = InForce {
            snapshot: &world.store.snapshot(),
            routes: &routes,
        };
        check_destination(rules, &session.client, &session.destination)?;
        if let Some(now) = cors::sharing(found, &decoded) {
            if let Some(response) = now.preflight(&decoded) {
                record.answered(response.status());
                return Ok(Reply::Own(response));
            }
            *sharing = Some(now);
        }
        let faults = matched.faults();
        fault::inject(faults, &decoded.parts.headers, &session.client, record).await?;
        if let Some(redirect) = reply::redirect(found, session, &decoded, target, record)? {
            return Ok(Reply::Own(redirect));
        }

        let (snapshot, headers) = (world.store.snapshot(), &decoded.parts.headers);
        let mut backend = pick::backend(session, &snapshot, matched, headers)?;
        let (balancer, client) = (&backend.settings.balancer, &session.client);
        backend
            .affinity
            .find_key(balancer, client, &decoded, target);
        record.backend = Some(Arc::clone(&backend.name));
        let place = Place::take(backend.settings.admission.as_ref())?;
        let mirrors = mirror::chosen(&backend);
        let keep = backend.settings.asked || !mirrors.is_empty();
        let outside = session.destination.arrival().is_some();
        // A call of gRPC may rest for as long as both ends like.
        let silence = (outside && !decoded.grpc).then_some(world.limits.client_body_silence);
        let body = BodyWish { keep, silence };
        let mut outbound = Outbound::new(decoded, &backend, outside, body)?;
        mirror::start(session, &mirrors, &outbound);

        let deadline = backend
            .settings
            .request_timeout
            .map(|timeout| Instant::now() + timeout);
        let mut answer = retry::run(session, &backend, &mut outbound, record, deadline).await?;
        if answer.switches() {
            let response = reply::switching(&mut answer, &backend, &outbound, record)?;
            return Ok(Reply::Switch(
                response,
                Box::new(Upgrade::new(answer, place)),
            ));
        }
        let head = reply::head(&mut answer, &backend, record)?;
        let by_try = backend
            .settings
            .backend_timeout
            .map(|timeout| answer.start + timeout);
        let deadline = [deadline, by_try].into_iter().flatten().min();
        Ok(Reply::Backend(
            head,
            Box::new(Held::new(answer, &outbound, deadline, place)),
        ))
    }
}
