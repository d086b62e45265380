//! Lays the vocabularies and the character classes out as data, so that a program finds them ready in its memory:
//! building them when it starts takes tiktoken some 200 ms.
//!
//! The vocabularies are those inside the package `tiktoken-rs`, the classes those of the package `regex` that it splits
//! with.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a build that fails may panic")]

use std::path::{Path, PathBuf};
use tiktoken_rs::CoreBPE;

#[path = "src/layout.rs"]
mod layout;
use layout::{EMPTY, RANK_BITS, place};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/layout.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    vocabulary(&out, "o200k_base", 199_998, &tiktoken_rs::o200k_base().expect("o200k_base"));
    vocabulary(&out, "cl100k_base", 100_256, &tiktoken_rs::cl100k_base().expect("cl100k_base"));
    classes(&out);
}

/// Three files: all tokens' bytes in the order of their ranks, where each ends, and the hash table.
fn vocabulary(out: &Path, name: &str, size: u32, bpe: &CoreBPE) {
    // More than half of the slots stay empty, so chains are short.
    let mut slots = vec![EMPTY; (2 * size as usize).next_power_of_two()];
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for rank in 0..size {
        let token = bpe.decode_bytes(&[rank]).expect("ranks have no gaps");
        let (mut slot, tag) = place(&token, slots.len());
        while slots[slot] != EMPTY {
            slot = (slot + 1) % slots.len();
        }
        assert!(rank < 1 << RANK_BITS);
        slots[slot] = tag | rank;
        bytes.extend_from_slice(&token);
        ends.push(u32::try_from(bytes.len()).expect("some megabytes"));
    }
    let little_endian = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let write = |what: &str, data: &[u8]| {
        std::fs::write(out.join(format!("{name}.{what}")), data).expect("OUT_DIR can be written");
    };
    write("bytes", &bytes);
    write("ends", &little_endian(&ends));
    write("slots", &little_endian(&slots));
}

/// The class of every character, in blocks of 256 of which equal ones are kept once.
fn classes(out: &Path) {
    let class = |pattern| regex::Regex::new(pattern).expect("a class");
    // The numbers are those of `class::Class`.
    let patterns = [
        (1, class(r"\A[\p{Lu}\p{Lt}]\z")),
        (2, class(r"\A\p{Ll}\z")),
        (3, class(r"\A[\p{Lm}\p{Lo}]\z")),
        (4, class(r"\A\p{M}\z")),
        (5, class(r"\A\p{N}\z")),
        (6, class(r"\A[\r\n]\z")),
        (7, class(r"\A\s\z")),
    ];
    let class_of = |code: u32| {
        let Some(c) = char::from_u32(code) else { return 0_u8 };
        let mut text = [0; 4];
        let text = c.encode_utf8(&mut text);
        patterns.iter().find(|(_, pattern)| pattern.is_match(text)).map_or(0, |(class, _)| *class)
    };
    let (mut blocks, mut block_of): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
    for first in (0..=u32::from(char::MAX)).step_by(256) {
        let block: Vec<u8> = (first..first + 256).map(class_of).collect();
        let known = blocks.iter().position(|known| *known == block).unwrap_or_else(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        block_of.push(u8::try_from(known).expect("fewer than 256 different blocks"));
    }
    std::fs::write(out.join("classes.block_of"), block_of).expect("OUT_DIR can be written");
    std::fs::write(out.join("classes.blocks"), blocks.concat()).expect("OUT_DIR can be written");
}
