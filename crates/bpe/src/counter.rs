//! Counting a text piece by piece, so that whoever counts can do something else in between.

use crate::merge::{LongMerge, Pair, tokens_of_short};
use crate::split;
use crate::vocabulary::{CL100K_BASE, O200K_BASE, Vocabulary};

/// The longest piece that is encoded whole, in bytes: what bounds memory (under 1 MB for a piece) and the time until
/// the next pause (1 to 3 ms). A longer one, which only a run of letters, of symbols or of white space of that length makes, is
/// cut there; see the crate's documentation for what that does to the count.
pub const MAX_PIECE_BYTES: usize = 16 * 1024;

/// From here on the heap is faster (tiktoken draws the line at 100, too).
const LONG_PIECE_BYTES: usize = 100;
/// Candidates of a long piece that are looked at in one step.
const CANDIDATES_PER_STEP: usize = 512;

/// An encoding of OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// gpt-4o and everything since.
    O200kBase,
    /// gpt-4 and gpt-3.5.
    Cl100kBase,
}

impl Encoding {
    /// Tokens of a text, special tokens taken as ordinary text.
    pub fn count(self, text: &str) -> u64 {
        let mut counter = Counter::new(self, text);
        while counter.step().is_some() {}
        counter.tokens()
    }

    fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Encoding::O200kBase => &O200K_BASE,
            Encoding::Cl100kBase => &CL100K_BASE,
        }
    }

    fn first_piece(self, text: &str) -> usize {
        match self {
            Encoding::O200kBase => split::o200k_base(text),
            Encoding::Cl100kBase => split::cl100k_base(text),
        }
    }
}

/// A count under way.
#[derive(Debug)]
pub struct Counter<'t> {
    encoding: Encoding,
    rest: &'t str,
    tokens: u64,
    /// The piece that is being merged in portions: the first so many bytes of the rest.
    long: Option<(usize, LongMerge)>,
    scratch: Vec<Pair>,
}

impl<'t> Counter<'t> {
    /// Nothing counted yet.
    pub fn new(encoding: Encoding, text: &'t str) -> Self {
        Counter { encoding, rest: text, tokens: 0, long: None, scratch: Vec::new() }
    }

    /// Does a little; says how much, roughly in bytes of ordinary text ([`MAX_PIECE_BYTES`] at most), or `None` when all is counted.
    pub fn step(&mut self) -> Option<usize> {
        let vocabulary = self.encoding.vocabulary();
        if let Some((length, mut merge)) = self.long.take() {
            match merge.advance(vocabulary, self.head(length), CANDIDATES_PER_STEP) {
                Some(tokens) => self.counted(length, tokens),
                None => self.long = Some((length, merge)),
            }
            return Some(CANDIDATES_PER_STEP);
        }
        let window = self.rest.get(..self.rest.floor_char_boundary(MAX_PIECE_BYTES)).unwrap_or(self.rest);
        let length = self.encoding.first_piece(window);
        if length == 0 {
            return None;
        }
        let piece = self.head(length);
        if vocabulary.rank(piece).is_some() {
            self.counted(length, 1);
        } else if length < LONG_PIECE_BYTES {
            let tokens = tokens_of_short(vocabulary, piece, &mut self.scratch);
            self.counted(length, tokens);
        } else {
            self.long = Some((length, LongMerge::new(vocabulary, piece)));
        }
        Some(length)
    }

    /// Tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    fn head(&self, length: usize) -> &'t [u8] {
        self.rest.as_bytes().get(..length).unwrap_or_default()
    }

    fn counted(&mut self, length: usize, tokens: u64) {
        self.rest = self.rest.get(length..).unwrap_or_default();
        self.tokens = self.tokens.saturating_add(tokens);
    }
}
