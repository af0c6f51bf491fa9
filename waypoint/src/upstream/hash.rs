//! Which endpoint a key belongs to: rendezvous hashing. Of all endpoints, the one whose hash together with the key's is the
//! greatest has the key.
//!
//! Invariants: every waypoint, in every version, hashes alike. An endpoint that goes gives away its own keys and no
//! others; one that comes takes keys from all others alike, and moves none between them.

/// The first number of FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// The hash of a text.
pub fn of(bytes: &[u8]) -> u64 {
    more(BASIS, bytes)
}

/// The hash of what `before` is the hash of, and `bytes`.
pub fn more(before: u64, bytes: &[u8]) -> u64 {
    let mixed = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    mix(bytes.iter().fold(before, mixed))
}

/// Spreads a number over all of its bits.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The index of the endpoint of `key` among those whose hashes are `endpoints`. One with a share of zero has no keys, one
/// with a part of the whole has that part of its keys; a greater part takes more and gives none away. If the endpoint
/// does not fit, the next one of this key that does; if none fits, the first.
pub fn pick(
    key: u64,
    endpoints: &[u64],
    share: impl Fn(usize) -> f32,
    fits: impl Fn(usize) -> bool,
) -> Option<usize> {
    let has = |score, index| takes_part(score, share(index));
    let first = best(key, endpoints, has);
    if let Some(index) = first.filter(|index| fits(*index)) {
        return Some(index);
    }
    // Where all are full or take part of their keys only, the key still has to go somewhere.
    best(key, endpoints, |score, index| {
        has(score, index) && fits(index)
    })
    .or_else(|| best(key, endpoints, |_, index| share(index) > 0.0 && fits(index)))
    .or(first)
    .or_else(|| best(key, endpoints, |_, index| share(index) > 0.0))
}

/// The one with the greatest score of those that take the key.
fn best(key: u64, endpoints: &[u64], takes: impl Fn(u64, usize) -> bool) -> Option<usize> {
    let mut best: Option<(u64, usize)> = None;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let score = mix(key ^ endpoint);
        if best.is_none_or(|(known, _)| known < score) && takes(score, index) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

/// Whether the key with this score is in the part of an endpoint's keys that `share` is.
fn takes_part(score: u64, share: f32) -> bool {
    share >= 1.0 || fraction(mix(!score)) < share
}

/// A number from 0 to 1, of the upper bits.
#[expect(
    clippy::cast_precision_loss,
    reason = "24 bits are what an f32 holds exactly"
)]
pub fn fraction(number: u64) -> f32 {
    const BITS: u32 = 24;
    (number >> (u64::BITS - BITS)) as f32 / (1_u32 << BITS) as f32
}

#[cfg(test)]
mod tests;
