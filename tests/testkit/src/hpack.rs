//! As much of HPACK (RFC 7541) as a test client needs: literals without Huffman out, the response's status in.

use anyhow::{Context, Result, bail};

/// A header block of literals that no table keeps.
pub fn encode(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0x00);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() < 127 {
        block.push(u8::try_from(bytes.len()).unwrap_or(127));
    } else {
        block.push(127);
        let mut rest = bytes.len() - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap_or_default() | 0x80);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap_or_default());
    }
    block.extend(bytes);
}

/// The status of a response, whose first field it is.
pub fn status(block: &[u8]) -> Result<u16> {
    // Size updates of the dynamic table may come first.
    let block = block
        .iter()
        .position(|byte| byte & 0xe0 != 0x20)
        .and_then(|start| block.get(start..));
    let block = block.context("an empty header block")?;
    let (&first, rest) = block.split_first().context("an empty header block")?;
    if first & 0x80 != 0 {
        return match first & 0x7f {
            8 => Ok(200),
            9 => Ok(204),
            10 => Ok(206),
            11 => Ok(304),
            12 => Ok(400),
            13 => Ok(404),
            14 => Ok(500),
            index => bail!("index {index} is no status of the static table"),
        };
    }
    let index = if first & 0x40 != 0 {
        first & 0x3f
    } else {
        first & 0x0f
    };
    if !(8..=14).contains(&index) {
        bail!("the first field of the response is not its status: {first:#x}");
    }
    let (&length, value) = rest.split_first().context("a field without a value")?;
    let value = value
        .get(..usize::from(length & 0x7f))
        .context("a value cut short")?;
    let digits = if length & 0x80 != 0 {
        huffman_digits(value)?
    } else {
        value.to_vec()
    };
    String::from_utf8(digits)?.parse().context("status")
}

/// Huffman codes of digits (RFC 7541 appendix B): 0, 1 and 2 have 5 bits, the others 6.
fn huffman_digits(bytes: &[u8]) -> Result<Vec<u8>> {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1))
        .collect();
    let mut digits = Vec::new();
    let mut at = 0;
    while bits.len() - at >= 5 {
        let number = |length: usize| {
            bits.get(at..at + length)
                .map(|code| code.iter().fold(0, |sum, bit| sum * 2 + bit))
        };
        match (number(5), number(6)) {
            (Some(code @ 0..=2), _) => {
                digits.push(b'0' + code);
                at += 5;
            }
            (_, Some(code @ 0x19..=0x1f)) => {
                digits.push(b'3' + code - 0x19);
                at += 6;
            }
            // Padding.
            _ if bits.iter().skip(at).all(|bit| *bit == 1) => break,
            _ => bail!("not digits: {bytes:02x?}"),
        }
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        assert_eq!(status(&[0x88]).unwrap(), 200);
        assert_eq!(status(&[0x20, 0x8c]).unwrap(), 400);
        assert_eq!(status(b"\x48\x03401").unwrap(), 401);
        // RFC 7541 appendix C.6.1: 302.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]).unwrap(), 302);
        // RFC 7541 appendix C.6.2: 307.
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]).unwrap(), 307);
        assert!(status(&[]).is_err());
        assert!(status(b"\x40\x01a\x01b").is_err());
    }

    #[test]
    fn long_strings_have_long_lengths() {
        let block = encode(&[("x", &[b'a'; 400])]);
        assert_eq!(&block[..6], [0, 1, b'x', 127, 0x91, 0x02]);
        assert_eq!(block.len(), 6 + 400);
    }
}
