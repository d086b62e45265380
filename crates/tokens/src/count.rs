//! The size of a prompt: its texts counted, and what is no text added.

use crate::estimate::estimate_tokens;
use crate::model::{Model, Tokenizer};
use crate::prompt::Prompt;
use crate::view::{ChatRequestView, InvalidRequest};
use bpe::Counter;
use openai_types::Characters;

/// How much is counted between two pauses, in bytes of ordinary text: 0.06 ms, and half a millisecond for the texts that
/// take longest (native, of a core's time). Another request waits for some ten of these, one at each of its own awaits.
const BETWEEN_PAUSES: usize = 2 * 1024;

/// A number of tokens and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Tokens of the whole prompt.
    pub tokens: u64,
    /// Whether its texts were estimated rather than counted by the model's own tokenizer.
    pub estimated: bool,
}

/// Tokens of the prompt, as `model` will see it: counted where the tokenizer is known, else estimated from a similar one.
///
/// `pause` is called between portions of the work, so that a component can let its other requests run.
///
/// # Errors
/// [`InvalidRequest`] names the message that is none, or the content that is neither text nor parts.
pub async fn count_prompt(
    model: &str,
    request: &ChatRequestView<'_>,
    mut pause: impl AsyncFnMut(),
) -> Result<Count, InvalidRequest> {
    let model = Model::named(model);
    let prompt = Prompt::of(&model, request)?;
    let (mut tokens, mut digits, mut until_pause) = (0_u64, 0_u64, BETWEEN_PAUSES);
    for text in &prompt.texts {
        let text = text.read();
        if let Tokenizer::Similar(_) = model.tokenizer {
            digits = digits.saturating_add(text.bytes().filter(u8::is_ascii_digit).count() as u64);
        }
        let mut counter = Counter::new(model.tokenizer.encoding(), &text);
        while let Some(work) = counter.step() {
            until_pause = until_pause.saturating_sub(work);
            if until_pause == 0 {
                pause().await;
                until_pause = BETWEEN_PAUSES;
            }
        }
        tokens = tokens.saturating_add(counter.tokens());
    }
    let tokens = model.tokenizer.worth(tokens, digits).saturating_add(prompt.fixed_tokens);
    Ok(Count { tokens, estimated: matches!(model.tokenizer, Tokenizer::Similar(_)) })
}

/// Tokens of the prompt, its texts estimated by their characters: for who must not carry the vocabularies.
///
/// # Errors
/// As [`count_prompt`].
pub fn estimate_prompt(model: &str, request: &ChatRequestView<'_>) -> Result<Count, InvalidRequest> {
    let prompt = Prompt::of(&Model::named(model), request)?;
    let texts = prompt.texts.iter().map(|text| estimate_tokens(&Characters::of(&text.read())));
    let tokens = texts.fold(prompt.fixed_tokens, u64::saturating_add);
    Ok(Count { tokens, estimated: true })
}
