//! Plots as SVG text: bars beside each other, and lines over a logarithmic axis. As much as the report needs.

use crate::figures::short;
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
const COLOURS: [&str; 4] = ["#8a8f98", "#1f77b4", "#d9822b", "#6aa84f"];

/// Some values under one name; what is missing leaves a gap.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

/// A line: its name and its points.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Groups of bars, one bar for each of `series`.
pub(super) fn bars(title: &str, series: &[&str], groups: &[Group]) -> String {
    let most = groups
        .iter()
        .flat_map(|group| group.values.iter().flatten())
        .fold(0.0_f64, |most, value| most.max(*value));
    let mut svg = Svg::new(title);
    svg.legend(series.iter().copied());
    let inner = HEIGHT - TOP - BOTTOM;
    let step = (WIDTH - LEFT - 20.0) / count(groups.len().max(1));
    let bar = step * 0.8 / count(series.len().max(1));
    svg.grid(most, |value| {
        TOP + inner * (1.0 - value / most.max(f64::MIN_POSITIVE))
    });
    for (i, group) in groups.iter().enumerate() {
        let x = LEFT + step * count(i) + step * 0.1;
        svg.text(
            x + step * 0.4,
            HEIGHT - BOTTOM + 18.0,
            "middle",
            &group.name,
        );
        for (j, value) in group.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let height = inner * value / most.max(f64::MIN_POSITIVE);
            let (x, y) = (x + bar * count(j), TOP + inner - height);
            let _ = writeln!(
                svg.text,
                r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" fill="{}"/>"#,
                bar * 0.92,
                colour(j)
            );
            svg.text(x + bar / 2.0, y - 4.0, "middle", &short(*value));
        }
    }
    svg.end()
}

/// Lines; `y` is logarithmic, `x` as it is, with the given ticks below it.
pub(super) fn lines(title: &str, ticks: &[(f64, &str)], lines: &[Line]) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter());
    let least = values()
        .fold(f64::MAX, |least, (_, y)| least.min(*y))
        .max(0.1)
        .log10()
        .floor();
    let most = values()
        .fold(1.0_f64, |most, (_, y)| most.max(*y))
        .log10()
        .ceil()
        .max(least + 1.0);
    let right = ticks
        .iter()
        .fold(0.0_f64, |right, (x, _)| right.max(*x))
        .max(f64::MIN_POSITIVE);
    let inner = HEIGHT - TOP - BOTTOM;
    let place = |x: f64, y: f64| {
        let up = (y.max(0.1).log10() - least) / (most - least);
        (
            LEFT + (WIDTH - LEFT - 20.0) * x / right,
            TOP + inner * (1.0 - up),
        )
    };
    let mut svg = Svg::new(title);
    svg.legend(lines.iter().map(|line| line.name.as_str()));
    let mut decade = least;
    while decade <= most {
        let value = 10_f64.powf(decade);
        svg.level(place(0.0, value).1, &short(value));
        decade += 1.0;
    }
    for (x, name) in ticks {
        svg.text(place(*x, 1.0).0, HEIGHT - BOTTOM + 18.0, "middle", name);
    }
    for (i, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (x, y) in &line.points {
            let (x, y) = place(*x, *y);
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(
            svg.text,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>"#,
            path.trim_end(),
            colour(i)
        );
    }
    svg.end()
}

struct Svg {
    text: String,
}

impl Svg {
    fn new(title: &str) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        let mut svg = Self { text };
        svg.text(LEFT, 18.0, "start", title);
        svg
    }

    fn legend<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for (i, name) in names.enumerate() {
            let x = LEFT + 150.0 * count(i);
            let _ = writeln!(
                self.text,
                r#"<rect x="{x}" y="26" width="10" height="10" fill="{}"/>"#,
                colour(i)
            );
            self.text(x + 15.0, 35.0, "start", name);
        }
    }

    fn grid(&mut self, most: f64, y: impl Fn(f64) -> f64) {
        for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
            self.level(y(most * part), &short(most * part));
        }
    }

    fn level(&mut self, y: f64, name: &str) {
        let right = WIDTH - 20.0;
        let _ = writeln!(
            self.text,
            r##"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#dddddd"/>"##
        );
        self.text(LEFT - 6.0, y + 4.0, "end", name);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.text,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="black">{text}</text>"#
        );
    }

    fn end(self) -> String {
        self.text + "</svg>"
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS
        .get(index % COLOURS.len())
        .copied()
        .unwrap_or("black")
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_leaves_a_gap_and_text_is_escaped() {
        let group = Group {
            name: "a<b".into(),
            values: vec![Some(1.0), None],
        };
        let svg = bars("t", &["x", "y"], &[group]);
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 1);
        assert!(svg.contains("a&lt;b") && svg.ends_with("</svg>"));
        assert!(lines("t", &[(1.0, "p50")], &[]).contains("p50"));
    }
}
