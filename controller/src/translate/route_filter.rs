//! Filters of HTTPRoutes.

use culvert_proto::waypoint::{
    Cors, Header, HeaderChange, HttpFilter, Mirror, PathChange, Redirect, Rewrite,
    http_filter::Kind, path_change,
};

use super::backend::Context;
use crate::api::{self, Filter, HeaderModifier, HeaderValue, PathModifier};
use crate::path::FieldPath;

const ALL: u32 = 10_000;

pub(super) fn all(
    context: &mut Context<'_>,
    filters: &[Filter],
    at: &FieldPath,
) -> Vec<HttpFilter> {
    let one = |(i, filter)| HttpFilter {
        kind: Some(one(context, filter, &at.index(i))),
    };
    filters.iter().enumerate().map(one).collect()
}

/// Filters of one of a rule's backends. What other origins may do is asked before a backend is picked.
pub(super) fn of_backend(
    context: &mut Context<'_>,
    filters: &[Filter],
    at: &FieldPath,
) -> Vec<HttpFilter> {
    let one = |(i, filter): (usize, &Filter)| {
        let at = at.index(i);
        let kind = if filter.cors.is_none() {
            one(context, filter, &at)
        } else {
            let message = "filter CORS belongs to a rule, not to a backend: its requests get 500";
            context.unsupported(&at.key("type"), message.into());
            Kind::Unresolved(message.into())
        };
        HttpFilter { kind: Some(kind) }
    };
    filters.iter().enumerate().map(one).collect()
}

fn one(context: &mut Context<'_>, filter: &Filter, at: &FieldPath) -> Kind {
    if let Some(headers) = &filter.request_header_modifier {
        Kind::RequestHeaders(header_change(headers))
    } else if let Some(headers) = &filter.response_header_modifier {
        Kind::ResponseHeaders(header_change(headers))
    } else if let Some(redirect) = &filter.request_redirect {
        Kind::Redirect(Redirect {
            scheme: redirect.scheme.clone().unwrap_or_default(),
            hostname: redirect.hostname.clone().unwrap_or_default(),
            path: redirect.path.as_ref().map(path_change),
            port: redirect.port.map_or(0, |port| port.get().into()),
            status: redirect.status_code.unwrap_or(302).into(),
        })
    } else if let Some(rewrite) = &filter.url_rewrite {
        Kind::Rewrite(Rewrite {
            hostname: rewrite.hostname.clone().unwrap_or_default(),
            path: rewrite.path.as_ref().map(path_change),
        })
    } else if let Some(mirror) = &filter.request_mirror {
        let at = at.key("requestMirror").key("backendRef");
        Kind::Mirror(Mirror {
            backend: Some(context.backend(&mirror.backend_ref, &at)),
            per_ten_thousand: share(mirror),
        })
    } else if let Some(cors) = &filter.cors {
        Kind::Cors(Cors {
            allow_origins: cors.allow_origins.clone(),
            allow_credentials: cors.allow_credentials.unwrap_or_default(),
            allow_methods: cors.allow_methods.clone(),
            allow_headers: cors.allow_headers.clone(),
            expose_headers: cors.expose_headers.clone(),
            max_age: cors.max_age.unwrap_or_default(),
        })
    } else {
        let message = format!(
            "filter {:?} is not supported: requests of this rule get 500",
            filter.kind
        );
        context.unsupported(&at.key("type"), message.clone());
        Kind::Unresolved(message)
    }
}

fn share(mirror: &api::Mirror) -> u32 {
    let by_percent = mirror.percent.map(|percent| percent * (ALL / 100));
    let by_fraction = mirror.fraction.map(|fraction| {
        let denominator = u64::from(fraction.denominator.unwrap_or(100)).max(1);
        let share = u64::from(fraction.numerator) * u64::from(ALL) / denominator;
        u32::try_from(share).unwrap_or(ALL).min(ALL)
    });
    by_percent.or(by_fraction).unwrap_or(ALL)
}

fn header_change(headers: &HeaderModifier) -> HeaderChange {
    let list = |list: &[HeaderValue]| {
        let header = |h: &HeaderValue| Header {
            name: h.name.to_ascii_lowercase(),
            value: h.value.clone(),
        };
        list.iter().map(header).collect()
    };
    HeaderChange {
        set: list(&headers.set),
        add: list(&headers.add),
        remove: headers
            .remove
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
    }
}

fn path_change(path: &PathModifier) -> PathChange {
    let full = path.replace_full_path.clone().map(path_change::Kind::Full);
    let prefix = path
        .replace_prefix_match
        .clone()
        .map(path_change::Kind::Prefix);
    let kind = match path.kind {
        api::PathModifierType::ReplaceFullPath => full,
        api::PathModifierType::ReplacePrefixMatch => prefix,
    };
    PathChange { kind }
}
