//! Whether the API server answers.

use std::time::Duration;

use culvert_runtime::drain::Drain;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;

use crate::metrics;

/// Between two questions, and how long an answer may take.
const ASK: Duration = Duration::from_secs(3);

/// Since when the API server is out of reach, and what it was last.
pub type Unreachable = Option<(Timestamp, String)>;

/// Ask until the drain.
pub(super) async fn watch(client: Client, tell: watch::Sender<Unreachable>, drain: Drain) {
    loop {
        let answer = tokio::time::timeout(ASK, client.apiserver_version()).await;
        let wrong = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some(format!("no answer in {ASK:?}")),
        };
        observe(&tell, wrong);
        tokio::select! {
            () = drain.signaled() => return,
            () = tokio::time::sleep(ASK) => {}
        }
    }
}

fn observe(tell: &watch::Sender<Unreachable>, wrong: Option<String>) {
    metrics::UNREACHABLE
        .with_label_values::<&str>(&[])
        .set(i64::from(wrong.is_some()));
    tell.send_if_modified(|state| match (&state, wrong) {
        (None, None) | (Some(_), Some(_)) => false,
        (None, Some(error)) => {
            tracing::warn!(
                error,
                "the API server is out of reach; what was known before is served"
            );
            *state = Some((crate::clock::now(), error));
            true
        }
        (Some(_), None) => {
            tracing::info!("the API server is back");
            *state = None;
            true
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_since_when() {
        let (tell, state) = watch::channel(None);
        observe(&tell, Some("refused".into()));
        let since = state.borrow().clone();
        assert_eq!(since.as_ref().unwrap().1, "refused");
        observe(&tell, Some("no answer".into()));
        assert_eq!(*state.borrow(), since);
        observe(&tell, None);
        assert_eq!(*state.borrow(), None);
    }
}
