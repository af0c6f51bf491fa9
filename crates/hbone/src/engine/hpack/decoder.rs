//! What a peer sends: any block of HPACK.
//!
//! Invariants: every block is decoded to its end, even where nobody wants it, because the table must stay as the peer
//! has it; what exceeds the limit of a list is counted and passed on to nobody.

use super::table::{OVERHEAD, Table};
use super::{TABLE, huffman};

/// The block cannot be decoded. The table is then unknown, so that the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HpackError(&'static str);

const CUT: HpackError = HpackError("a header block that is cut short");
const INDEX: HpackError = HpackError("a header that stands in no table");
const INTEGER: HpackError = HpackError("a number in a header block that is too large");

/// The decoder of one connection.
pub(crate) struct Decoder {
    table: Table,
    /// Texts that were in Huffman code. Kept no longer than a block.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let (&first, rest) = self.0.split_first().ok_or(CUT)?;
        self.0 = rest;
        Ok(first)
    }

    /// Section 5.1: a number that begins in the last `prefix` bits of `first`.
    fn integer(&mut self, first: u8, prefix: u32) -> Result<usize, HpackError> {
        let mask = (1u8 << prefix) - 1;
        let mut value = usize::from(first & mask);
        if first & mask != mask {
            return Ok(value);
        }
        // 28 bits are more than any length or index that we would take.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(INTEGER)
    }

    /// Section 5.2. `text` holds what was in Huffman code.
    fn string<'t>(&mut self, text: &'t mut Vec<u8>) -> Result<&'t [u8], HpackError>
    where
        'a: 't,
    {
        let first = self.byte()?;
        let length = self.integer(first, 7)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        if first & 0x80 == 0 {
            return Ok(bytes);
        }
        text.clear();
        huffman::decode(bytes, text).map_err(|_| HpackError("a malformed Huffman code"))?;
        Ok(text)
    }
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(TABLE),
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Decodes a block and gives its fields to `field` for as long as the list, counted as section 4.1 counts, is at
    /// most `limit` long; whether it was.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        limit: usize,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<bool, HpackError> {
        let mut size = 0usize;
        let result = self.fields(block, &mut |name, value| {
            size = size.saturating_add(name.len() + value.len() + OVERHEAD);
            if size <= limit {
                field(name, value);
            }
        });
        (self.name, self.value) = (Vec::new(), Vec::new());
        result.map(|()| size <= limit)
    }

    fn fields(
        &mut self,
        block: &[u8],
        field: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), HpackError> {
        let mut input = Input(block);
        let mut began = false;
        while let Ok(first) = input.byte() {
            match first {
                0x80.. => {
                    let index = input.integer(first, 7)?;
                    let (name, value) = self.table.get(index).ok_or(INDEX)?;
                    field(name, value);
                }
                0x40.. => self.literal(&mut input, first, 6, field)?,
                0x20.. => {
                    let size = input.integer(first, 5)?;
                    if began || size > TABLE {
                        return Err(HpackError("a table size that is not allowed"));
                    }
                    self.table.set_limit(size);
                    continue;
                }
                _ => self.literal(&mut input, first, 4, field)?,
            }
            began = true;
        }
        Ok(())
    }

    /// Section 6.2. A prefix of six bits is one that the table keeps.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        first: u8,
        prefix: u32,
        field: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), HpackError> {
        let index = input.integer(first, prefix)?;
        let name = if index == 0 {
            input.string(&mut self.name)?
        } else {
            // Adding the field may drop the entry that its name is taken from.
            let (name, _) = self.table.get(index).ok_or(INDEX)?;
            self.name.clear();
            self.name.extend_from_slice(name);
            &self.name
        };
        let value = input.string(&mut self.value)?;
        field(name, value);
        if prefix == 6 {
            self.table.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;
    use proptest::prelude::*;

    type Fields = Vec<(String, String)>;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, HpackError> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, usize::MAX, |name, value| {
            fields.push((text(name), text(value)));
        })?;
        Ok(fields)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| std::str::from_utf8(pair).unwrap().to_owned();
        digits
            .chunks(2)
            .map(|d| u8::from_str_radix(&pair(d), 16).unwrap())
            .collect()
    }

    fn fields(list: &[(&str, &str)]) -> Fields {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    /// RFC 7541 appendix C.4: three requests on one connection, in Huffman code.
    #[test]
    fn the_requests_of_the_rfc() {
        let mut decoder = Decoder::new();
        let first = decode(&mut decoder, &hex("828684418cf1e3c2e5f23a6ba0ab90f4ff"));
        let common = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ];
        assert_eq!(first.unwrap(), fields(&common));
        assert_eq!(decoder.table.size(), 57);
        let second = decode(&mut decoder, &hex("828684be5886a8eb10649cbf"));
        let mut expected = common.to_vec();
        expected.push(("cache-control", "no-cache"));
        assert_eq!(second.unwrap(), fields(&expected));
        let third = decode(
            &mut decoder,
            &hex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
        );
        let expected = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(third.unwrap(), fields(&expected));
        assert_eq!(decoder.table.size(), 164);
    }

    #[test]
    fn what_we_encode_is_decoded() {
        let long = "v".repeat(300);
        let mut block = Vec::new();
        let mut encoder = Encoder::new(&mut block, true);
        encoder.connect();
        encoder.authority("10.0.0.1:80");
        encoder.status(200);
        encoder.status(400);
        encoder.status(503);
        encoder.field("baggage", long.as_bytes());
        let mut decoder = Decoder::new();
        let expected = [
            (":method", "CONNECT"),
            (":authority", "10.0.0.1:80"),
            (":status", "200"),
            (":status", "400"),
            (":status", "503"),
            ("baggage", &long),
        ];
        assert_eq!(decode(&mut decoder, &block).unwrap(), fields(&expected));
        assert_eq!(decoder.table.size(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_sizes_come_first() {
        let mut decoder = Decoder::new();
        for n in 0..1000 {
            let mut block = vec![0x40, 1, b'n'];
            block.push(100);
            block.extend([b'a' + (n % 26) as u8; 100]);
            decode(&mut decoder, &block).unwrap();
            assert!(decoder.table.size() <= TABLE);
        }
        // One that does not fit at all empties the table.
        let mut block = vec![0x40, 1, b'n', 0x7f, 0x81, 0x7f];
        block.extend([b'x'; 127 + 1 + 127 * 128]);
        decode(&mut decoder, &block).unwrap();
        assert_eq!(decoder.table.size(), 0);
        assert!(decode(&mut decoder, &[0x82, 0x20]).is_err(), "a late size");
        assert!(
            decode(&mut decoder, &[0x3f, 0xe2, 0x1f]).is_err(),
            "4097 is too large"
        );
        assert!(decode(&mut decoder, &[0x3f, 0xe1, 0x1f, 0x20, 0x82]).is_ok());
        decode(&mut decoder, &[0x40, 1, b'a', 1, b'b']).unwrap();
        assert_eq!(decoder.table.size(), 0, "the size is 0 now");
    }

    #[test]
    fn an_expansion_is_counted_and_not_kept() {
        let mut decoder = Decoder::new();
        let mut block = vec![0x40, 1, b'c', 0x7f, 0x81, 0x1d];
        block.extend([b'x'; 127 + 1 + 29 * 128]);
        block.extend([0xbe; 10_000]);
        let mut kept = 0;
        let fits = decoder.decode(&block, 16_384, |name, value| {
            kept += name.len() + value.len()
        });
        assert_eq!(fits, Ok(false));
        assert!((1..=16_384).contains(&kept), "{kept}");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for block in [
            "80",
            "ff",
            "be",
            "40",
            "4001",
            "400161",
            "40016102",
            "7f",
            "00ff8080808001",
            "0f2f",
            "0001618100",
            "1f",
        ] {
            let result = decode(&mut Decoder::new(), &hex(block));
            assert!(result.is_err(), "{block}: {result:?}");
        }
    }

    proptest! {
        #[test]
        fn any_block_is_survived(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..10)) {
            let mut decoder = Decoder::new();
            for block in blocks {
                let _ = decode(&mut decoder, &block);
                prop_assert!(decoder.table.size() <= TABLE);
            }
        }
    }
}
