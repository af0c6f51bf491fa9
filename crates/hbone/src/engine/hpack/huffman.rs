//! The Huffman code of RFC 7541 appendix B. The code is canonical, so that the lengths of its words say everything; the
//! tables below are made of them when this is compiled.
//!
//! Invariant: a text has one code: other padding than ones, too much of it, and the word for the end are refused.

/// How many bits each symbol's word has; the last is the end's.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;

struct Tables {
    /// For the next eight bits: length and symbol of the word they begin with, or 0 where it is longer.
    short: [u16; 256],
    /// By length: the first word, and where its symbol stands in `symbols`, and how many words there are.
    first: [u32; LONGEST + 1],
    offset: [usize; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// Symbols in the order of their words.
    symbols: [u16; 257],
}

static TABLES: Tables = tables();

#[allow(
    clippy::cast_possible_truncation,
    reason = "symbols are below 257, lengths below 31"
)]
const fn tables() -> Tables {
    let mut tables = Tables {
        short: [0; 256],
        first: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let mut word: u32 = 0;
    let mut at = 0;
    let mut length = 1;
    while length <= LONGEST {
        word <<= 1;
        tables.first[length] = word;
        tables.offset[length] = at;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                if length <= 8 {
                    let low = (word as usize) << (8 - length);
                    let mut index = low;
                    while index < low + (1 << (8 - length)) {
                        tables.short[index] = (length as u16) << 8 | symbol as u16;
                        index += 1;
                    }
                }
                tables.symbols[at] = symbol as u16;
                at += 1;
                word += 1;
                tables.count[length] += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    tables
}

/// No text has this code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends the text of a code.
pub(super) fn decode(code: &[u8], text: &mut Vec<u8>) -> Result<(), Malformed> {
    // The last `have` bits of `bits` are to be read.
    let mut bits: u64 = 0;
    let mut have: u32 = 0;
    for &byte in code {
        bits = bits << 8 | u64::from(byte);
        have += 8;
        while have >= 8 {
            let next = (bits >> (have - 8) & 0xff) as usize;
            match TABLES.short.get(next) {
                Some(&entry) if entry != 0 => {
                    text.push((entry & 0xff) as u8);
                    have -= u32::from(entry >> 8);
                }
                _ => match long(bits, have)? {
                    Some((symbol, length)) => {
                        text.push(symbol);
                        have -= length;
                    }
                    None => break,
                },
            }
        }
    }
    // What is left is shorter than eight bits, or the beginning of a long word, which is no padding.
    while have > 0 && have < 8 {
        let padded = (bits << (8 - have) | ((1 << (8 - have)) - 1)) & 0xff;
        let entry = TABLES.short.get(padded as usize).copied().unwrap_or(0);
        let length = u32::from(entry >> 8);
        if length == 0 || length > have {
            break;
        }
        text.push((entry & 0xff) as u8);
        have -= length;
    }
    let ones = (1u64 << have) - 1;
    if have < 8 && bits & ones == ones {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// The word of more than eight bits at the front, if it is there whole.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a word has 30 bits, a symbol of a text 8"
)]
fn long(bits: u64, have: u32) -> Result<Option<(u8, u32)>, Malformed> {
    for length in 9..=(LONGEST as u32).min(have) {
        let word = (bits >> (have - length)) as u32 & ((1 << length) - 1);
        let at = length as usize;
        let (Some(first), Some(count), Some(offset)) = (
            TABLES.first.get(at),
            TABLES.count.get(at),
            TABLES.offset.get(at),
        ) else {
            break;
        };
        if word >= *first && word - first < *count {
            let symbol = TABLES.symbols.get(offset + (word - first) as usize);
            return match symbol {
                Some(&symbol) if symbol < 256 => Ok(Some((symbol as u8, length))),
                _ => Err(Malformed),
            };
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for &byte in text {
            let length = LENGTHS[byte as usize] as usize;
            let at = TABLES.symbols[TABLES.offset[length]..]
                .iter()
                .position(|&s| s == u16::from(byte))
                .unwrap();
            let word = TABLES.first[length] + at as u32;
            bits.extend((0..length).rev().map(|bit| word >> bit & 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(1);
        }
        bits.chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
            .collect()
    }

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut text = Vec::new();
        decode(code, &mut text).map(|()| text)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7541 appendix C.4.1 and C.6.1.
        let code = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&code).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decoded(&[]).unwrap(), b"");
        assert_eq!(TABLES.first[30] + TABLES.count[30] - 1, 0x3fff_ffff);
    }

    #[test]
    fn other_padding_and_the_end_are_refused() {
        // '0' is 00000: the rest is not ones.
        assert_eq!(decoded(&[0x00]), Ok(b"0".to_vec()).and(Err(Malformed)));
        assert_eq!(decoded(&[0x07]), Ok(b"0".to_vec()));
        assert_eq!(
            decoded(&[0x07, 0xff]),
            Err(Malformed),
            "more than seven bits"
        );
        assert_eq!(decoded(&[0xff]), Err(Malformed));
        assert_eq!(decoded(&[0xff; 4]), Err(Malformed), "the end's word");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        #[test]
        fn a_text_has_one_code(code in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decoded(&code) {
                prop_assert_eq!(encode(&text), code);
            }
        }
    }
}
