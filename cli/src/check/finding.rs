//! What a check found, and how findings are shown.
//!
//! Invariant: a finding names one object and says what to do, so that nobody has to guess from a symptom.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::agents;
use super::facts::Facts;
use crate::table::Table;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Traffic fails, or will.
    Error,
    /// Traffic may fail, or something is not known.
    Warning,
    /// Worth knowing; nothing is to be done.
    Info,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The check's name, as `docs/check.md` lists it.
    pub(crate) check: &'static str,
    /// `Kind NAMESPACE/NAME`.
    pub(crate) object: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        check: &'static str,
        object: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            object: object.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// Whether anything is wrong.
pub(crate) fn wrong(findings: &[Finding]) -> bool {
    findings.iter().any(|it| it.severity < Severity::Info)
}

/// For programs.
pub(crate) fn value(findings: &[Finding], facts: &Facts) -> Value {
    json!({
        "findings": findings,
        "errors": count(findings, Severity::Error),
        "warnings": count(findings, Severity::Warning),
        "kubernetes": facts.version,
        "nodes": facts.nodes.iter().map(|node| {
            let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
            json!({
                "name": node.metadata.name,
                "kernel": info.map(|it| &it.kernel_version),
                "containerRuntime": info.map(|it| &it.container_runtime_version),
                "rules": node.metadata.name.as_deref().and_then(|it| agents::rules(facts, it)),
                "operatingSystem": info.map(|it| &it.os_image),
            })
        }).collect::<Vec<_>>(),
    })
}

/// For people: the findings, then what to do about them.
pub(crate) fn text(findings: &[Finding]) -> String {
    let mut table = Table::new(&["severity", "check", "object", "what"]);
    let mut remedies = BTreeMap::<&str, &str>::new();
    for it in findings {
        let severity = it.severity.as_str().to_owned();
        table.row([
            severity,
            it.check.to_owned(),
            it.object.clone(),
            it.message.clone(),
        ]);
        if !it.remedy.is_empty() {
            remedies.insert(&it.remedy, it.check);
        }
    }
    let mut text = String::new();
    if !table.is_empty() {
        text = format!("{table}\n");
    }
    if !remedies.is_empty() {
        let mut todo = Table::new(&["check", "what to do"]);
        let mut remedies: Vec<_> = remedies.into_iter().collect();
        remedies.sort_by_key(|(remedy, check)| (*check, *remedy));
        for (remedy, check) in remedies {
            todo.row([check.to_owned(), remedy.to_owned()]);
        }
        text += &format!("{todo}\n");
    }
    let (errors, warnings) = (
        count(findings, Severity::Error),
        count(findings, Severity::Warning),
    );
    text + &format!("{errors} errors, {warnings} warnings\n")
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|it| it.severity == severity).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_counts_and_what_is_worth_knowing_does_not() {
        let finding = |severity| Finding::new(severity, "c", "Pod a/b", "is so", "do that");
        assert!(!wrong(&[]) && !wrong(&[finding(Severity::Info)]));
        assert!(wrong(&[
            finding(Severity::Info),
            finding(Severity::Warning)
        ]));
        assert!(wrong(&[finding(Severity::Error)]));
        let found = [finding(Severity::Error), finding(Severity::Error)];
        let text = text(&found);
        assert_eq!(text.matches("do that").count(), 1, "{text}");
        assert!(text.ends_with("2 errors, 0 warnings\n"), "{text}");
        let value = value(&found, &Facts::default());
        assert_eq!(
            (&value["errors"], &value["findings"][0]["severity"]),
            (&json!(2), &json!("error"))
        );
    }
}
