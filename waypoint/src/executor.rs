//! Lets the HTTP library spawn its tasks on the core that its connection lives on.

use std::future::Future;

use culvert_runtime::task;

/// Spawns on the current core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        task::spawn_local("http2_stream", async move {
            future.await;
        });
    }
}
