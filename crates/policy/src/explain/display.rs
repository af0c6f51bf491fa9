//! An explanation as text: a tree of policies, rules, clauses and fields, each marked `[x]` where it matched.

use std::fmt::{self, Write as _};

use super::{ClauseExplanation, Explanation, Outcome, PolicyExplanation};

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, &self.policy) {
            (None, Some(policy)) => write!(f, "allowed by {policy}"),
            (None, None) => f.write_str("allowed: no ALLOW policy applies"),
            (Some(reason), Some(policy)) => {
                write!(f, "denied ({reason}) by {policy}: {}", reason.explanation())
            }
            (Some(reason), None) => write!(f, "denied ({reason}): {}", reason.explanation()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.outcome)?;
        if let Some(dry_run) = &self.dry_run {
            writeln!(f, "with the dry-run policies: {dry_run}")?;
        }
        self.policies
            .iter()
            .try_for_each(|policy| write!(f, "{policy}"))
    }
}

impl fmt::Display for PolicyExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dry_run = if self.dry_run { " (dry run)" } else { "" };
        writeln!(
            f,
            "{} {} {}{dry_run}",
            tick(self.matched),
            self.action,
            self.name
        )?;
        if let Some(error) = &self.malformed {
            return writeln!(f, "  could not be read and fails closed: {error}");
        }
        if self.rules.is_empty() {
            writeln!(f, "  has no rules and never matches")?;
        }
        for (index, rule) in self.rules.iter().enumerate() {
            writeln!(
                f,
                "  {} rule {index}{}",
                tick(rule.matched),
                unless(rule.clauses.len())
            )?;
            for (index, clause) in rule.clauses.iter().enumerate() {
                write_clause(f, index, clause)?;
            }
        }
        Ok(())
    }
}

fn write_clause(
    f: &mut fmt::Formatter<'_>,
    index: usize,
    clause: &ClauseExplanation,
) -> fmt::Result {
    writeln!(
        f,
        "    {} clause {index}{}",
        tick(clause.matched),
        unless(clause.matches.len())
    )?;
    for m in &clause.matches {
        f.write_str("      ")?;
        f.write_str(tick(m.matched))?;
        if m.fields.is_empty() {
            f.write_str(" names no field and matches nothing")?;
        }
        for (index, field) in m.fields.iter().enumerate() {
            let and = if index == 0 { "" } else { " and" };
            let expected = field.expected.join(", ");
            write!(
                f,
                "{and} {} [{expected}] {} {}",
                field.field,
                relation(field.matched),
                field.actual
            )?;
        }
        f.write_char('\n')?;
    }
    Ok(())
}

fn tick(matched: bool) -> &'static str {
    if matched { "[x]" } else { "[ ]" }
}

fn relation(matched: bool) -> &'static str {
    if matched { "holds for" } else { "fails for" }
}

fn unless(conditions: usize) -> &'static str {
    if conditions == 0 {
        ": sets no condition"
    } else {
        ""
    }
}
