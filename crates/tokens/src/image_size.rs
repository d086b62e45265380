//! The size of an image in a `data:` URL, from its header: PNG, JPEG, GIF and WebP. Only the bytes that are looked at are
//! decoded, so an image of any size takes no memory.

/// The most segments of a JPEG that are passed over in search of its size; photographs have some twenty.
const MAX_JPEG_SEGMENTS: usize = 1_000;

/// Pixels, neither of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The size of the image that the URL holds; `None` if it holds none that is known here.
pub fn of_data_url(url: &str) -> Option<Size> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    kind.ends_with(";base64").then_some(())?;
    let image = Base64(data.as_bytes());
    let size = png(image).or_else(|| gif(image)).or_else(|| webp(image)).or_else(|| jpeg(image));
    size.filter(|size| size.width > 0 && size.height > 0)
}

/// <https://www.w3.org/TR/png-3/#11IHDR>
fn png(image: Base64<'_>) -> Option<Size> {
    (image.bytes(0)? == *b"\x89PNG\r\n\x1a\n").then_some(())?;
    Some(Size { width: u32::from_be_bytes(image.bytes(16)?), height: u32::from_be_bytes(image.bytes(20)?) })
}

/// <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>, section 18
fn gif(image: Base64<'_>) -> Option<Size> {
    matches!(&image.bytes(0)?, b"GIF87a" | b"GIF89a").then_some(())?;
    let length = |at| image.bytes(at).map(u16::from_le_bytes).map(u32::from);
    Some(Size { width: length(6)?, height: length(8)? })
}

/// RFC 9649, section 2
fn webp(image: Base64<'_>) -> Option<Size> {
    (image.bytes(0)? == *b"RIFF" && image.bytes(8)? == *b"WEBP").then_some(())?;
    match &image.bytes(12)? {
        b"VP8X" => {
            let length = |at| {
                let [low, middle, high] = image.bytes(at)?;
                Some(u32::from_le_bytes([low, middle, high, 0]) + 1)
            };
            Some(Size { width: length(24)?, height: length(27)? })
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes(image.bytes(21)?);
            Some(Size { width: (bits & 0x3FFF) + 1, height: ((bits >> 14) & 0x3FFF) + 1 })
        }
        b"VP8 " => {
            let length = |at| image.bytes(at).map(u16::from_le_bytes).map(|bits| u32::from(bits & 0x3FFF));
            Some(Size { width: length(26)?, height: length(28)? })
        }
        _ => None,
    }
}

/// ITU-T T.81, B.1 and B.2.2: segments up to the frame's header.
fn jpeg(image: Base64<'_>) -> Option<Size> {
    (image.bytes(0)? == [0xFF, 0xD8]).then_some(())?;
    let mut at = 2;
    for _ in 0..MAX_JPEG_SEGMENTS {
        let [0xFF, marker] = image.bytes(at)? else { return None };
        match marker {
            // A fill byte; markers that stand alone.
            0xFF => at += 1,
            0x01 | 0xD0..=0xD7 => at += 2,
            // Start of a frame, of whatever process; the other three of this range are tables.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let length = |at| image.bytes(at).map(u16::from_be_bytes).map(u32::from);
                return Some(Size { width: length(at + 7)?, height: length(at + 5)? });
            }
            _ => at += 2 + usize::from(u16::from_be_bytes(image.bytes(at + 2)?)),
        }
    }
    None
}

/// Base64 (RFC 4648), decoded where it is looked at.
#[derive(Clone, Copy)]
struct Base64<'a>(&'a [u8]);

impl Base64<'_> {
    fn bytes<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (offset, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(at.checked_add(offset)?)?;
        }
        Some(bytes)
    }

    fn byte(self, at: usize) -> Option<u8> {
        let digit = |at: usize| self.0.get(at).copied().and_then(value_of_digit);
        // Three bytes are four digits; a byte begins in one digit and ends in the next.
        let first = at / 3 * 4 + at % 3;
        let (high, low) = (digit(first)?, digit(first + 1)?);
        let shift = 2 * (at % 3);
        let bits = (u16::from(high) << 6) | u16::from(low);
        u8::try_from((bits >> (4 - shift)) & 0xFF).ok()
    }
}

fn value_of_digit(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn size_of(image: &[u8]) -> Option<Size> {
        of_data_url(&format!("data:image/any;base64,{}", STANDARD.encode(image)))
    }

    #[test]
    fn headers_say_how_large_an_image_is() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x07\x80\0\0\x04\x38\x08\x02\0\0\0";
        let gif = b"GIF89a\x80\x07\x38\x04\xf7\0\0";
        let vp8 = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\x30\x01\0\x9d\x01\x2a\x80\x47\x38\x84";
        let vp8l = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x7f\xc7\x0d\x11";
        let vp8x = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\x7f\x07\0\x37\x04\0";
        let jpeg = b"\xff\xd8\xff\xe0\0\x06JFIF\xff\xff\xc4\0\x03\0\xff\xc2\0\x11\x08\x04\x38\x07\x80\x03";
        for image in [&png[..], gif, vp8, vp8l, vp8x, jpeg] {
            assert_eq!(size_of(image), Some(Size { width: 1_920, height: 1_080 }), "{image:?}");
        }
    }

    #[test]
    fn what_is_no_image_has_no_size() {
        for url in [
            "",
            "https://x/y.png",
            "data:,",
            "data:image/png;base64,",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:x;base64,é",
        ] {
            assert_eq!(of_data_url(url), None, "{url}");
        }
        assert_eq!(size_of(b"GIF89a\0\0\x38\x04"), None, "no columns");
        assert_eq!(size_of(&[&b"\xff\xd8"[..], &b"\xff\xe0\0\0".repeat(2_000)].concat()), None, "no end");
    }

    proptest! {
        #[test]
        fn base64_is_read_as_others_write_it(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let text = STANDARD.encode(&bytes);
            let read: Vec<u8> = (0..).map_while(|at| Base64(text.as_bytes()).byte(at)).collect();
            prop_assert_eq!(read, bytes);
        }

        #[test]
        fn damaged_images_do_no_harm(
            start in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X", b"\xff\xd8\xff"]),
            rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _size = size_of(&[start, &rest].concat());
        }
    }
}
