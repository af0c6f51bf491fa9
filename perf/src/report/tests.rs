//! Medians by subject, ratios, and floors that are kept or missed.

use super::*;

fn machine() -> Machine {
    Machine {
        processor: "x".into(),
        cores: 2,
        kernel: "6".into(),
        congestion_control: "cubic",
    }
}

fn sample(
    round: usize,
    subject: &'static str,
    work: &str,
    figure: &'static str,
    value: f64,
) -> Sample {
    Sample {
        round,
        subject,
        work: work.into(),
        figures: Figures::from([(figure, value)]),
    }
}

#[test]
fn a_floor_compares_medians_of_the_same_run() {
    let samples = vec![
        sample(1, "direct", "bulk 4", RATE, 50.0),
        sample(1, "culvert", "bulk 4", RATE, 6.0),
        sample(1, "stock", "bulk 4", RATE, 8.0),
        sample(2, "culvert", "bulk 4", RATE, 1.0),
        sample(3, "culvert", "bulk 4", RATE, 7.0),
    ];
    let report = Report::new(machine(), samples);
    assert!(report.floors_kept());
    let text = report.to_string();
    assert!(text.contains("6.00 (1.00-7.00)"), "{text}");
    assert!(
        text.contains("floor kept: bulk 4: rate at least 0.7 of stock (0.75)"),
        "{text}"
    );
}

#[test]
fn a_missed_floor_is_told() {
    let samples = vec![
        sample(1, "culvert", "http 64", HOST_REQUEST, 90.0),
        sample(1, "stock", "http 64", HOST_REQUEST, 50.0),
        sample(1, "culvert", "http 1", HOST_REQUEST, 500.0),
        sample(1, "stock", "http 1", HOST_REQUEST, 50.0),
    ];
    let report = Report::new(machine(), samples);
    assert!(!report.floors_kept());
    assert_eq!(report.to_string().matches("floor ").count(), 1);
}

#[test]
fn without_a_peer_no_floor_is_claimed() {
    let report = Report::new(machine(), vec![sample(1, "culvert", "bulk 1", RATE, 1.0)]);
    assert!(report.floors_kept());
    assert!(
        report
            .to_string()
            .contains("no comparison with a stock ztunnel")
    );
}
