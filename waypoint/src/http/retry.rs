//! retry: another try, if the last one failed in a way that somebody wants tried again and the budget allows it.
//!
//! Invariants: nothing is tried again once response headers went to the client; every retry that somebody asked for, and
//! every one where somebody states a budget, is taken from the service's budget.

use std::rc::Rc;

use http::Response;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Answer, Failure, Limits, attempt};
use super::headers;
use super::outbound::Outbound;
use super::pick::{self, Backend};
use super::refusal::Refusal;
use crate::config::retry::Outcome;
use crate::telemetry::{Record, series};
use crate::upstream::endpoint::Endpoint;
use crate::world::Session;

/// Tries until there is an answer to pass on, at most until `deadline`.
pub(super) async fn run(
    session: &Session,
    backend: &Backend<'_>,
    outbound: &mut Outbound,
    record: &mut Record,
    deadline: Option<Instant>,
) -> Result<Answer, Refusal> {
    let settings = backend.settings;
    if let Some(budget) = &settings.budget {
        budget.deposit();
    }
    let limit = match (settings.retry.per_try_timeout, settings.backend_timeout) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let mut tried: Vec<Rc<Endpoint>> = Vec::new();
    loop {
        let permit = pick::endpoint(session, backend, &tried, record)?;
        let endpoint = Rc::clone(permit.endpoint());
        record.tries += 1;
        let result = attempt(
            &session.core.dialer,
            permit,
            outbound,
            Limits {
                one: limit,
                all: deadline,
            },
            settings.connections.as_ref(),
        )
        .await;
        let outcome = match &result {
            Ok(answer) => Some(outcome(&answer.response)),
            Err(failure) => failure.outcome(),
        };
        let next = match outcome {
            Some(outcome) => next(backend, outbound, record, outcome),
            None => Next::End,
        };
        match next {
            Next::Again => {}
            Next::End => return result.map_err(|failure| refuse(failure, record)),
            Next::Refuse => return Err(Refusal::RetryBudget),
        }
        // The answer, if there is one, goes with its connection: its body is not worth reading.
        drop(result);
        series::retry(&backend.name, "sent");
        tried.push(endpoint);
        let pause = tokio::time::sleep(settings.retry.backoff(record.tries, &mut rand::rng()));
        match deadline {
            Some(at) => timeout_at(at, pause).await.map_err(|_| Refusal::Timeout)?,
            None => pause.await,
        }
    }
}

/// What comes after a try.
enum Next {
    /// Another one.
    Again,
    /// Nothing: the last one counts.
    End,
    /// Nothing, and 503 whatever the last one came to.
    Refuse,
}

/// What comes after a try that ended with `outcome`.
fn next(backend: &Backend<'_>, outbound: &Outbound, record: &mut Record, outcome: Outcome) -> Next {
    let settings = backend.settings;
    if !settings.retry.wants(outcome) {
        return Next::End;
    }
    let no = |why: &str| {
        series::retry(&backend.name, why);
        Next::End
    };
    if record.tries > settings.retry.attempts {
        record.flags = "URX";
        return no("exhausted");
    }
    if !outbound.can_repeat() {
        return no("body");
    }
    match &settings.budget {
        Some(budget) if !budget.withdraw() => match (no("budget"), budget.settings().refuse) {
            (_, true) => Next::Refuse,
            (end, false) => end,
        },
        _ => Next::Again,
    }
}

fn refuse(failure: Failure, record: &mut Record) -> Refusal {
    let refusal = Refusal::from(failure);
    tracing::debug!(service = %record.service, %refusal, tries = record.tries, "request failed");
    refusal
}

/// How a response counts.
fn outcome<B>(response: &Response<B>) -> Outcome {
    let grpc = headers::grpc_status(response.headers()).map(u32::from);
    Outcome::Response(response.status().as_u16(), grpc)
}
