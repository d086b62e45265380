//! Where a text is split before its pieces are encoded: tiktoken's regular expressions, written out.
//!
//! A piece's end depends on what stands in it and the few characters after it, so a text can be split lazily, from any
//! piece's end on. Each function takes time linear in the piece that it returns; the regular expressions, which look
//! ahead, do not, and give up on long runs of white space. The expressions stand in
//! <https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py>; each step quotes its branch.

use crate::class::Class;

/// Length in bytes of the first piece of a text by `cl100k_base`, 0 only if the text is empty.
pub fn cl100k_base(text: &str) -> usize {
    let Some((first, class, after)) = char_at(text, 0) else { return 0 };
    // '(?i:[sdmt]|ll|ve|re)
    let contracted = contraction(text, 0);
    if contracted > 0 {
        return contracted;
    }
    // [^\r\n\p{L}\p{N}]?+\p{L}++
    let leads = class.may_lead() && char_at(text, after).is_some_and(|(_, next, _)| next.is_letter());
    if class.is_letter() || leads {
        return run(text, after, |_, class| class.is_letter());
    }
    // \p{N}{1,3}+
    if class == Class::Number {
        return number(text);
    }
    //  ?[^\s\p{L}\p{N}]++[\r\n]*+
    if let Some(end) = symbols(text, first, class, after) {
        return run(text, end, |_, class| class == Class::LineEnd);
    }
    // \s++$|\s*[\r\n]|\s+(?!\S)|\s
    let space = Space::of(text);
    if space.end == text.len() { space.end } else { space.piece() }
}

/// Length in bytes of the first piece of a text by `o200k_base`, 0 only if the text is empty.
pub fn o200k_base(text: &str) -> usize {
    let Some((first, class, after)) = char_at(text, 0) else { return 0 };
    // [^\r\n\p{L}\p{N}]?…(?i:'s|'t|'re|'ve|'m|'ll|'d)?, twice. A mark may lead and may be of the word: the same piece.
    let word_from = if class.may_lead() && class != Class::Mark { after } else { 0 };
    if let Some(end) = word(text, word_from) {
        return end + contraction(text, end);
    }
    // \p{N}{1,3}
    if class == Class::Number {
        return number(text);
    }
    //  ?[^\s\p{L}\p{N}]+[\r\n/]*
    if let Some(end) = symbols(text, first, class, after) {
        return run(text, end, |c, class| class == Class::LineEnd || c == '/');
    }
    // \s*[\r\n]+|\s+(?!\S)|\s+
    Space::of(text).piece()
}

/// The end of a word that starts at `from`, by the first of these that matches:
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`.
fn word(text: &str, from: usize) -> Option<usize> {
    let mut upper_end = from;
    // Where the first half can give back a character that the second half takes.
    let mut shared_end = None;
    while let Some((_, class, after)) = char_at(text, upper_end).filter(|(_, class, _)| class.is_upper_half())
    {
        upper_end = after;
        if class.is_lower_half() {
            shared_end = Some(after);
        }
    }
    let lower_end = run(text, upper_end, |_, class| class.is_lower_half());
    if lower_end > upper_end {
        return Some(lower_end);
    }
    shared_end.or((upper_end > from).then_some(upper_end))
}

/// The length of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `from`, in any case; 0 if there is none.
fn contraction(text: &str, from: usize) -> usize {
    let mut chars = text.get(from..).unwrap_or_default().chars();
    if chars.next() != Some('\'') {
        return 0;
    }
    let (first, second) = (chars.next(), chars.next());
    let lower = |c: Option<char>| c.map(|c| c.to_ascii_lowercase());
    match (lower(first), lower(second)) {
        (Some('s' | 't' | 'm' | 'd'), _) => 2,
        // The long s is an s to a pattern that ignores case, and has two bytes.
        (Some('\u{17F}'), _) => 3,
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

/// `\p{N}{1,3}`, where one is known to stand.
fn number(text: &str) -> usize {
    let digits = text.chars().take(3).take_while(|c| Class::of(*c) == Class::Number);
    digits.map(char::len_utf8).sum()
}

/// The end of ` ?[^\s\p{L}\p{N}]+`.
fn symbols(text: &str, first: char, class: Class, after: usize) -> Option<usize> {
    let follows = || char_at(text, after).is_some_and(|(_, next, _)| next.is_symbol());
    let is_here = class.is_symbol() || (first == ' ' && follows());
    is_here.then(|| run(text, after, |_, class| class.is_symbol()))
}

/// The white space that a text starts with.
struct Space {
    /// Its end.
    end: usize,
    /// Where its last character starts.
    last: usize,
    /// The end of its last `\r` or `\n`, 0 if it has none.
    line_end: usize,
    /// Whether the text ends with it.
    is_all: bool,
}

impl Space {
    fn of(text: &str) -> Self {
        let mut space = Space { end: 0, last: 0, line_end: 0, is_all: false };
        while let Some((_, class, after)) = char_at(text, space.end).filter(|(_, class, _)| class.is_space())
        {
            space.last = space.end;
            space.end = after;
            if class == Class::LineEnd {
                space.line_end = after;
            }
        }
        space.is_all = space.end == text.len();
        space
    }

    /// `\s*[\r\n]+`, else `\s+(?!\S)`, else `\s+`: up to the last line end, else all but the character that leads what
    /// follows, else that character.
    fn piece(&self) -> usize {
        if self.line_end > 0 {
            self.line_end
        } else if self.is_all || self.last == 0 {
            self.end
        } else {
            self.last
        }
    }
}

/// The end of the characters from `from` on that are `of` the run.
fn run(text: &str, from: usize, of: impl Fn(char, Class) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.find(|c| !of(c, Class::of(c))).map_or(text.len(), |length| from + length)
}

/// The character at a byte, its class, and where the next one starts.
fn char_at(text: &str, at: usize) -> Option<(char, Class, usize)> {
    let c = text.get(at..)?.chars().next()?;
    Some((c, Class::of(c), at + c.len_utf8()))
}
