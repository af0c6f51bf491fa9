//! Pods that are replaced at a steady rate: one goes, another comes in its place, runs, and takes its place in the slice.

use super::load::{Writer, run, write};
use super::marks::{Kind, Marks};
use super::objects::{Pod, Size};
use anyhow::{Context, Result};
use http::Method;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// Replacements under way.
const AT_ONCE: usize = 64;

/// What a run came to.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Outcome {
    pub(crate) replaced: usize,
    pub(crate) seconds: f64,
}

/// Who is in which place now. Replacements in one service follow each other.
pub(crate) struct Churn {
    client: Writer,
    size: Size,
    marks: Marks,
    services: Vec<Mutex<Vec<Pod>>>,
}

impl Churn {
    pub(crate) fn new(client: Writer, size: Size, marks: Marks) -> Arc<Self> {
        let pods = |service| {
            let pods = size.pods_of(service);
            pods.map(|index| Pod {
                index,
                generation: 0,
            })
            .collect()
        };
        let services = (0..size.all_services()).map(|service| Mutex::new(pods(service)));
        let services = services.collect();
        Arc::new(Self {
            client,
            size,
            marks,
            services,
        })
    }

    /// Replaces so many pods a second for so long, or fewer if the API server cannot follow.
    pub(crate) async fn run(self: &Arc<Self>, rate: usize, seconds: u64) -> Result<Outcome> {
        let began = Instant::now();
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate as f64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut replaced = 0;
        while began.elapsed() < Duration::from_secs(seconds) {
            ticks.tick().await;
            let permit = permits.clone().acquire_owned().await?;
            // Through all services, and in each through all pods.
            let service = replaced * 7919 % self.services.len();
            let place = replaced / self.services.len();
            let churn = self.clone();
            tasks.spawn(async move {
                let outcome = churn.replace(service, place).await;
                drop(permit);
                outcome
            });
            replaced += 1;
            while let Some(ended) = tasks.try_join_next() {
                ended??;
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(Outcome { replaced, seconds })
    }

    async fn replace(&self, service: usize, place: usize) -> Result<()> {
        let mut pods = self
            .services
            .get(service)
            .context("no such service")?
            .lock()
            .await;
        let count = pods.len();
        let Some(pod) = pods.get_mut(place % count.max(1)) else {
            return Ok(());
        };
        let (old, new) = (
            *pod,
            Pod {
                generation: pod.generation + 1,
                ..*pod
            },
        );
        *pod = new;
        let name = |pod: Pod| format!("{}/{}", pod.namespace(), pod.name(self.size));
        let gone = self.marks.expect(Kind::Gone, &name(old));
        let now = json!({"gracePeriodSeconds": 0});
        write(&self.client, Method::DELETE, &old.path(self.size), &now).await?;
        self.marks.answered(&gone);
        let (path, value) = self.size.pod(new);
        write(&self.client, Method::POST, &path, &value).await?;
        let appeared = self.marks.expect(Kind::Appeared, &name(new));
        run(&self.client, self.size, new).await?;
        self.marks.answered(&appeared);
        let endpoint = self.marks.expect(Kind::Endpoint, &name(new));
        let endpoints = json!({"endpoints": self.size.endpoints(&pods)});
        let path = self.size.slice_path(service);
        write(&self.client, Method::PATCH, &path, &endpoints).await?;
        self.marks.answered(&endpoint);
        Ok(())
    }
}
