//! Which part of its share each endpoint of a set takes, where some take less than the whole.
//!
//! Invariant: an endpoint that is left out has no part; whoever picks has only those to pick from that have one.

/// The parts, by the endpoints' indices.
#[derive(Debug, Default)]
pub struct Shares {
    of: Box<[f32]>,
    open: Box<[usize]>,
    sum: f32,
    even: bool,
}

impl Shares {
    /// Of parts from 0 to 1; none where all take the whole.
    pub fn new(of: Vec<f32>) -> Option<Self> {
        if of.iter().all(|share| *share >= 1.0) {
            return None;
        }
        let open = of.iter().zip(0..).filter(|(share, _)| **share > 0.0);
        let open: Box<[usize]> = open.map(|(_, index)| index).collect();
        let share = |index: &usize| of.get(*index).copied().unwrap_or_default();
        let first = open.first().map(share).unwrap_or_default();
        // Endpoints that all grow alike take as much as each other.
        let even = open.iter().all(|index| (share(index) - first).abs() < 0.01);
        Some(Self {
            sum: of.iter().sum(),
            even,
            open,
            of: of.into(),
        })
    }

    /// The part of one.
    pub fn of(&self, index: usize) -> f32 {
        self.of.get(index).copied().unwrap_or_default()
    }

    /// Those that have one.
    pub fn open(&self) -> &[usize] {
        &self.open
    }

    /// All parts together.
    pub fn sum(&self) -> f32 {
        self.sum
    }

    /// Whether all that have one have the same.
    pub fn even(&self) -> bool {
        self.even
    }

    /// The one of `among` at this point of the way along their parts, from 0 to 1.
    pub fn at(&self, among: &[usize], point: f32) -> Option<usize> {
        let whole: f32 = among.iter().map(|index| self.of(*index)).sum();
        let mut left = point * whole;
        for index in among {
            left -= self.of(*index);
            if left < 0.0 {
                return Some(*index);
            }
        }
        among.last().copied()
    }
}
