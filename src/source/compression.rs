//! Decompression of a stream in bounded steps: what is pushed in comes out up to a limit,
//! and what does not fit waits, so that a small file that unpacks to a huge one costs time
//! and no memory. A file that ends inside a member or frame is an error.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::format::Compression;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What follows the first byte, 0x50 to 0x5f, of a frame that holds no data (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
/// The bytes that [`detect`] wants to see.
pub(super) const MAGIC_BYTES: usize = 4;
/// Output is produced in pieces of about this size, so a limit is overrun by no more.
const STEP_BYTES: usize = 64 * 1024;

/// What `Auto` stands for, by the ending of `name`; `None` if it does not tell.
pub(super) fn by_name(name: &str) -> Option<Compression> {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".gz") || name.ends_with(".gzip") {
        Some(Compression::Gzip)
    } else if name.ends_with(".zst") || name.ends_with(".zstd") {
        Some(Compression::Zstd)
    } else {
        None
    }
}

/// What `Auto` stands for, by the first bytes of the file.
pub(super) fn detect(start: &[u8]) -> Compression {
    let is_skippable =
        matches!(start, [0x50..=0x5f, rest @ ..] if rest.starts_with(ZSTD_SKIPPABLE));
    if start.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if start.starts_with(ZSTD_MAGIC) || is_skippable {
        Compression::Zstd
    } else {
        Compression::None
    }
}

/// A decompressor that bytes are pushed into.
pub(super) enum Inflate {
    /// The bytes are the file.
    None,
    /// Gzip, of one member or many.
    Gzip(Box<Gzip>),
    /// Zstandard, of one frame or many.
    Zstd(Box<Zstd>),
}

/// Gzip's decoder of one member, and where it stands. Between members and after the last one there
/// may be zeros, as tapes and block devices leave them; `gzip` takes no notice of them either.
pub(super) struct Gzip {
    member: GzDecoder<Vec<u8>>,
    /// A member has ended, and no other begun.
    between: bool,
}

/// Zstandard's decoder, and where it stands.
pub(super) struct Zstd {
    decoder: ZstdDecoder<'static>,
    /// A frame has ended with the last byte taken, so the file may end here.
    at_frame_end: bool,
    /// The last output was full: there may be more without more input.
    held_back: bool,
}

impl Inflate {
    /// A decompressor; [`Compression::Auto`] is to be resolved before.
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Auto | Compression::None => Self::None,
            Compression::Gzip => {
                Self::Gzip(Box::new(Gzip { member: GzDecoder::new(Vec::new()), between: false }))
            }
            Compression::Zstd => Self::Zstd(Box::new(Zstd {
                decoder: ZstdDecoder::new()?,
                at_frame_end: true,
                held_back: false,
            })),
        })
    }

    /// Takes from the start of `input`, and appends to `out` until that is about
    /// `out_bytes_max` long; returns the bytes taken. What is not taken is to be given again.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        out_bytes_max: usize,
    ) -> io::Result<usize> {
        match self {
            Self::None => {
                let taken = input.len().min(out_bytes_max.saturating_sub(out.len()));
                out.extend_from_slice(&input[..taken]);
                Ok(taken)
            }
            Self::Gzip(gzip) => {
                // The decoder writes into a buffer of its own; lend it ours.
                std::mem::swap(gzip.member.get_mut(), out);
                let taken = gzip.push(input, out_bytes_max);
                std::mem::swap(gzip.member.get_mut(), out);
                taken
            }
            Self::Zstd(zstd) => zstd.push(input, out, out_bytes_max),
        }
    }

    /// Ends the input: appends what is left to `out`, as `push` does. Returns whether that
    /// was all; an error if the input was cut off.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, out_bytes_max: usize) -> io::Result<bool> {
        match self {
            Self::None => Ok(true),
            Self::Gzip(gzip) if gzip.between => Ok(true),
            Self::Gzip(gzip) => {
                std::mem::swap(gzip.member.get_mut(), out);
                let finished = gzip.member.try_finish();
                std::mem::swap(gzip.member.get_mut(), out);
                // The decoder does not tell a file that is cut off from one that is damaged.
                finished.map(|()| true).map_err(|_| {
                    let message = "it is cut off, or its checksum does not match";
                    io::Error::new(io::ErrorKind::InvalidData, message)
                })
            }
            Self::Zstd(zstd) => {
                zstd.push(&[], out, out_bytes_max)?;
                match (zstd.held_back, zstd.at_frame_end) {
                    (true, _) => Ok(false),
                    (false, true) => Ok(true),
                    (false, false) => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

impl Gzip {
    fn push(&mut self, input: &[u8], out_bytes_max: usize) -> io::Result<usize> {
        let mut taken = 0;
        while taken < input.len() && self.member.get_ref().len() < out_bytes_max {
            if self.between {
                taken += input[taken..].iter().take_while(|byte| **byte == 0).count();
                if taken == input.len() {
                    break;
                }
                let out = std::mem::take(self.member.get_mut());
                self.member = GzDecoder::new(out);
                self.between = false;
            }
            let end = input.len().min(taken + STEP_BYTES);
            match self.member.write(&input[taken..end])? {
                // The member takes nothing more: it is whole.
                0 => {
                    self.member.try_finish()?;
                    self.between = true;
                }
                written => taken += written,
            }
        }
        Ok(taken)
    }
}

impl Zstd {
    fn push(&mut self, input: &[u8], out: &mut Vec<u8>, out_bytes_max: usize) -> io::Result<usize> {
        let mut source = InBuffer::around(input);
        while (source.pos() < input.len() || self.held_back) && out.len() < out_bytes_max {
            let before = source.pos();
            out.reserve(STEP_BYTES);
            let start = out.len();
            let mut target = OutBuffer::around_pos(out, start);
            let hint = self.decoder.run(&mut source, &mut target)?;
            let full = target.pos() == target.capacity();
            let moved = target.pos() > start || source.pos() > before;
            self.held_back = full;
            if moved {
                self.at_frame_end = hint == 0;
            } else if !full {
                break;
            }
        }
        Ok(source.pos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000)
            .flat_map(|n: u32| {
                format!("line {} of {n}\n", n.wrapping_mul(2_654_435_761)).into_bytes()
            })
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn unpack(
        compression: Compression,
        packed: &[u8],
        step: usize,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let mut inflate = Inflate::new(compression)?;
        let (mut whole, mut out) = (Vec::new(), Vec::new());
        for chunk in packed.chunks(step) {
            let mut chunk = chunk;
            while !chunk.is_empty() {
                let taken = inflate.push(chunk, &mut out, limit)?;
                assert!(
                    out.len() <= limit + 2 * STEP_BYTES,
                    "{} bytes came out at once",
                    out.len()
                );
                chunk = &chunk[taken..];
                whole.append(&mut out);
            }
        }
        while !inflate.finish(&mut out, limit)? {
            whole.append(&mut out);
        }
        whole.append(&mut out);
        Ok(whole)
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let text = text();
        let (head, tail) = text.split_at(text.len() / 3);
        for step in [1, 7, 4096, usize::MAX] {
            let packed = [gzip(head), gzip(b""), gzip(tail)].concat();
            assert!(unpack(Compression::Gzip, &packed, step, 10_000).unwrap() == text);
            let packed = [zst(head), zst(b""), zst(tail)].concat();
            assert!(unpack(Compression::Zstd, &packed, step, 10_000).unwrap() == text);
        }
    }

    #[test]
    fn zeros_after_a_member_and_frames_without_data_are_nothing() {
        let skippable = |byte: u8| [&[byte, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        for step in [1, 5, usize::MAX] {
            let zeros = [0; 700];
            let packed = [&gzip(b"one")[..], &zeros, &gzip(b"two"), &zeros].concat();
            assert_eq!(unpack(Compression::Gzip, &packed, step, 100).unwrap(), b"onetwo");
            let packed = [&gzip(b"one")[..], &zeros, b"x"].concat();
            assert!(unpack(Compression::Gzip, &packed, step, 100).is_err(), "no member");
            let packed = [skippable(0x50), zst(b"one"), skippable(0x5f), zst(b"two")].concat();
            assert_eq!(unpack(Compression::Zstd, &packed, step, 100).unwrap(), b"onetwo");
            assert_eq!(detect(&packed), Compression::Zstd);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_an_error() {
        let text = &text()[..5_000];
        for (compression, packed) in
            [(Compression::Gzip, gzip(text)), (Compression::Zstd, zst(text))]
        {
            for end in 1..packed.len() {
                assert!(
                    unpack(compression, &packed[..end], usize::MAX, 1 << 20).is_err(),
                    "{compression:?} {end}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_comes_out_in_pieces() {
        let zeros = vec![0; 50 << 20];
        assert_eq!(
            unpack(Compression::Gzip, &gzip(&zeros), usize::MAX, 1 << 20).unwrap().len(),
            zeros.len()
        );
        assert_eq!(
            unpack(Compression::Zstd, &zst(&zeros), usize::MAX, 1 << 20).unwrap().len(),
            zeros.len()
        );
    }

    #[test]
    fn damage_is_an_error() {
        let mut packed = gzip(&text());
        let middle = packed.len() - 6;
        packed[middle] ^= 1;
        assert!(unpack(Compression::Gzip, &packed, 4096, 1 << 20).is_err());
        assert!(unpack(Compression::Gzip, b"plain text", 4096, 1 << 20).is_err());
        assert!(unpack(Compression::Zstd, b"plain text", 4096, 1 << 20).is_err());
    }

    #[test]
    fn names_and_first_bytes_tell_the_compression() {
        assert_eq!(by_name("a/b.json.GZ"), Some(Compression::Gzip));
        assert_eq!(by_name("b.zst"), Some(Compression::Zstd));
        assert_eq!(by_name("b.json"), None);
        assert_eq!(detect(&gzip(b"x")), Compression::Gzip);
        assert_eq!(detect(&zst(b"x")), Compression::Zstd);
        assert_eq!(detect(b"{\"a\""), Compression::None);
    }
}
