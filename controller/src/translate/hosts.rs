//! Hosts that a listener and a route both allow.

/// Hosts that are a listener's and a route's; the empty list means every host. None: they have none in common.
pub(super) fn both(listener: &str, route: &[String]) -> Option<Vec<String>> {
    if listener.is_empty() {
        return Some(route.to_vec());
    }
    if route.is_empty() {
        return Some(vec![listener.to_owned()]);
    }
    let mut common: Vec<String> = Vec::new();
    for host in route.iter().filter_map(|host| narrower(listener, host)) {
        if common.iter().all(|known| known != host) {
            common.push(host.to_owned());
        }
    }
    (!common.is_empty()).then_some(common)
}

/// The one of two that the other covers. `*.` covers any number of labels, and not none.
fn narrower<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let covers = |wide: &str, narrow: &str| {
        let suffix = wide.strip_prefix('*');
        suffix.is_some_and(|suffix| {
            let name = narrow.strip_prefix('*').unwrap_or(narrow);
            name.ends_with(suffix) && (name.len() > suffix.len() || narrow.starts_with('*'))
        })
    };
    if one == other || covers(one, other) {
        Some(other)
    } else if covers(other, one) {
        Some(one)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_allow() {
        type Hosts<'a> = &'a [&'a str];
        let all: [(&str, Hosts<'_>, Option<Hosts<'_>>); 11] = [
            ("", &[], Some(&[])),
            ("", &["a.x"], Some(&["a.x"])),
            ("a.x", &[], Some(&["a.x"])),
            ("a.x", &["a.x", "b.x"], Some(&["a.x"])),
            ("a.x", &["b.x"], None),
            (
                "*.x",
                &["a.x", "b.a.x", "x", "a.y"],
                Some(&["a.x", "b.a.x"]),
            ),
            ("a.x", &["*.x"], Some(&["a.x"])),
            ("x", &["*.x"], None),
            ("*.x", &["*.a.x"], Some(&["*.a.x"])),
            ("*.a.x", &["*.x", "*.a.x"], Some(&["*.a.x"])),
            ("*.ax", &["*.bax"], None),
        ];
        for (listener, route, expected) in all {
            let route: Vec<_> = route.iter().map(ToString::to_string).collect();
            let expected =
                expected.map(|hosts| hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(both(listener, &route), expected, "{listener} {route:?}");
        }
    }
}
