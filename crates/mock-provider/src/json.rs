//! Writes JSON by hand into a byte buffer: the answers are one pass over fixed text, with few values between.

use serde::Serialize;

/// Appends `literal` as it stands.
pub fn put(out: &mut Vec<u8>, literal: &str) {
    out.extend_from_slice(literal.as_bytes());
}

/// Appends `value` as JSON; strings are quoted and escaped.
pub fn put_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(&mut *out, value);
    // Writing to memory cannot fail, and no type here has a serializer of its own.
    debug_assert!(written.is_ok());
}

/// Appends sixteen hexadecimal digits.
pub fn put_hex(out: &mut Vec<u8>, number: u64) {
    for shift in (0..16).rev() {
        let digit = (number >> (shift * 4)) & 0xf;
        let digit = u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 16)).unwrap_or('0');
        out.extend_from_slice(digit.encode_utf8(&mut [0; 1]).as_bytes());
    }
}
