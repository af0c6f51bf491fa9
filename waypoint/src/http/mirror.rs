//! Copies of requests, whose answers nobody reads.
//!
//! Invariants: a copy never delays or changes the request itself. Copies at once are bounded on each core, and a body
//! is copied only if it is no longer than what is kept for retries.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use culvert_runtime::task;
use http_body_util::BodyExt as _;
use rand::Rng as _;

use super::affinity::Affinity;
use super::body::{Kept, RequestBody};
use super::outbound::Outbound;
use super::pick::Backend;
use crate::config::ServiceRef;
use crate::config::filter::Mirror;
use crate::routes::Settings;
use crate::telemetry::series;
use crate::upstream::endpoints::Wanted;
use crate::upstream::pool::{Connections, HttpVersion};
use crate::world::Session;

/// Copies at once on one core.
const MAX_COPIES: u32 = 128;
/// The time that one copy may take, with the reading of its answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// The mirrors of rule and backend that take this request.
pub(super) fn chosen<'a>(backend: &Backend<'a>) -> Vec<&'a Mirror> {
    let hit = |mirror: &&Mirror| rand::rng().random_range(0..10_000) < mirror.share.get();
    let filters = backend.filters.into_iter().flatten();
    filters
        .flat_map(|filters| &filters.mirrors)
        .filter(hit)
        .collect()
}

/// Starts a copy for each of `mirrors`.
pub(super) fn start(session: &Rc<Session>, mirrors: &[&Mirror], outbound: &Outbound) {
    for mirror in mirrors {
        let target = match &mirror.target {
            Ok(target) => target,
            Err(_) => {
                series::mirror("unresolved", "failed");
                continue;
            }
        };
        let copies = &session.core.mirrors;
        let Some(kept) = outbound.kept() else {
            series::mirror(&target.service, "body");
            continue;
        };
        if copies.get() >= MAX_COPIES {
            series::mirror(&target.service, "overload");
            continue;
        }
        copies.set(copies.get() + 1);
        let copy = Copy {
            session: Rc::clone(session),
            target: target.clone(),
            head: outbound.head(),
        };
        task::spawn_local("mirror", async move {
            let sent = tokio::time::timeout(DEADLINE, copy.send(kept)).await;
            let result = sent.unwrap_or(Err("failed")).err().unwrap_or("sent");
            series::mirror(&copy.target.service, result);
            let copies = &copy.session.core.mirrors;
            copies.set(copies.get().saturating_sub(1));
        });
    }
}

struct Copy {
    session: Rc<Session>,
    target: ServiceRef,
    head: Outbound,
}

impl Copy {
    /// Sends the copy and reads its answer to the end.
    async fn send(&self, kept: Option<Rc<Kept>>) -> Result<(), &'static str> {
        let body = match kept {
            None => RequestBody::empty(),
            Some(kept) => kept.whole().await.ok_or("body")?,
        };
        let core = &self.session.core;
        let snapshot = core.world.store.snapshot();
        let settings = Settings::default();
        let backend = Backend {
            name: Arc::clone(&self.target.service),
            endpoints: core
                .endpoints
                .of_service(&snapshot, &self.target, &core.series),
            settings: &settings,
            filters: [None, None],
            prefix: "",
            affinity: Affinity::default(),
        };
        let wanted = Wanted {
            copy: true,
            ..settings.wanted()
        };
        let picked = backend
            .endpoints
            .pick(&wanted, &[], &mut rand::rng())
            .ok_or("failed")?;
        let permit = self.session.grant(picked).map_err(|_| "denied")?;
        let endpoint = permit.endpoint();
        let version = self.head.version_for(endpoint);
        let mut lease = Connections::lease(endpoint, version, &core.dialer, None)
            .await
            .map_err(|_| "failed")?;
        let request = self
            .head
            .request(lease.version(), endpoint, body)
            .map_err(|_| "failed")?;
        let response = lease.send(request).await.map_err(|_| "failed")?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| "failed")?;
        }
        if version == HttpVersion::Http1 {
            lease.keep(endpoint);
        }
        Ok(())
    }
}
