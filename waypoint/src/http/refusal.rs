//! Why a request was answered here and not by a backend. One variant, one reason, one status, one flag.

use culvert_policy::DenyReason;
use http::StatusCode;

use crate::config::fault::Abort;
use crate::path::PathError;
use crate::permit::Denied;

/// Why a request got no answer from a backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The head could be read in two ways, or in none.
    #[error("{0}")]
    Malformed(&'static str),
    /// The path could be read in two ways.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The body was malformed, or the client went away.
    #[error("the request's body ended early")]
    ClientBody,
    /// The body did not come.
    #[error("the request's body did not go on")]
    ClientSilent,
    /// An expectation other than 100-continue.
    #[error("unknown expectation")]
    Expectation,
    /// Policy says no.
    #[error(transparent)]
    Denied(Denied),
    /// Routes are attached and none matches.
    #[error("no route matches")]
    NoRoute,
    /// The host belongs to another listener than the one that has shaken hands.
    #[error("the host is served on another connection")]
    Misdirected,
    /// A backend or filter that could not be made sense of.
    #[error("{0}")]
    Unresolved(String),
    /// A fault that somebody asked for.
    #[error("fault injected")]
    Fault(Abort),
    /// The service has no endpoint.
    #[error("no endpoint can take the request")]
    NoEndpoint,
    /// A limit is reached.
    #[error("too many requests at once")]
    Overload,
    /// It would be tried again, were it not for the budget, whose policy wants it to be refused then.
    #[error("the retry budget is spent")]
    RetryBudget,
    /// No connection to the endpoint.
    #[error("connection failed: {0}")]
    Connect(DenyReason),
    /// The connection ended before a response, or the response made no sense.
    #[error("the backend's connection ended before its response")]
    Reset,
    /// No response in time.
    #[error("the backend did not answer in time")]
    Timeout,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied.reason {
            // It went between being picked and being asked for: no policy says anything of it.
            DenyReason::NoEndpoint => Self::NoEndpoint,
            _ => Self::Denied(denied),
        }
    }
}

impl Refusal {
    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::ClientSilent => StatusCode::REQUEST_TIMEOUT,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unresolved(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Fault(abort) => abort.status,
            Self::NoEndpoint
            | Self::Overload
            | Self::RetryBudget
            | Self::Connect(_)
            | Self::Reset => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The reason in metrics and in the `culvert-deny-reason` header.
    pub(super) fn reason(&self) -> DenyReason {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::ClientBody | Self::Expectation => {
                DenyReason::MalformedRequest
            }
            Self::ClientSilent => DenyReason::IdleTimeout,
            Self::Denied(denied) => denied.reason,
            Self::NoRoute => DenyReason::RouteNotFound,
            Self::Misdirected => DenyReason::Misdirected,
            Self::Unresolved(_) => DenyReason::BackendUnresolved,
            Self::Fault(_) => DenyReason::FaultInjected,
            Self::NoEndpoint => DenyReason::NoEndpoint,
            Self::Overload | Self::RetryBudget => DenyReason::Overload,
            Self::Connect(reason) => *reason,
            Self::Reset => DenyReason::ConnectFailed,
            Self::Timeout => DenyReason::RequestTimeout,
        }
    }

    /// The flag in metrics and in the access log, as Envoy and Istio write it.
    pub(super) fn flag(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::Expectation => "DPE",
            Self::ClientBody => "DC",
            Self::ClientSilent => "SI",
            Self::Denied(denied) => denied.reason.response_flag(),
            Self::NoRoute | Self::Misdirected | Self::Unresolved(_) => "NR",
            Self::Fault(_) => "FI",
            Self::NoEndpoint => "UH",
            Self::Overload | Self::RetryBudget => "UO",
            Self::Connect(_) => "UF",
            Self::Reset => "UC",
            Self::Timeout => "UT",
        }
    }

    /// The status of the answer to a gRPC request.
    pub(super) fn grpc_status(&self) -> u32 {
        match self {
            Self::Fault(Abort {
                grpc: Some(status), ..
            }) => *status,
            // As the Gateway API has it for a backend that does not exist.
            Self::Unresolved(_) => 14,
            _ => match self.status().as_u16() {
                400 => 13,
                401 => 16,
                403 => 7,
                404 | 421 => 12,
                429 | 502..=504 => 14,
                _ => 2,
            },
        }
    }
}
