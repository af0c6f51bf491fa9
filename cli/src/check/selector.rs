//! Label selectors.

use culvert_enrolment::Map;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether the selector selects what has these labels; an empty one selects everything.
pub(crate) fn matches(selector: &LabelSelector, labels: &Map) -> bool {
    let equal = selector
        .match_labels
        .as_ref()
        .is_none_or(|all| includes(labels, all));
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    equal
        && expressions.iter().all(|it| {
            let value = labels.get(&it.key);
            let named = value
                .is_some_and(|value| it.values.as_ref().is_some_and(|all| all.contains(value)));
            match it.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether all of `wanted` is among the labels.
pub(crate) fn includes(labels: &Map, wanted: &Map) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::object;
    use serde_json::json;

    #[test]
    fn expressions_and_labels_all_count() {
        let labels = Map::from([("app".into(), "web".into())]);
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
                false,
            ),
        ] {
            assert_eq!(
                matches(&object(selector.clone()), &labels),
                expected,
                "{selector}"
            );
        }
    }
}
