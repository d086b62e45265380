//! What is known of a model by its name: how its tokens are counted, or else estimated, and what an image costs.
//!
//! An estimate is the count in one of OpenAI's encodings times a factor, and something for each digit, because some
//! tokenizers take every digit for a token. The figures are fitted to the families' own tokenizers over `tests/corpus` by
//! `measure-estimates`, in whole hundredths; the errors stand in the crate's documentation.

use crate::image::ImageRule;
use bpe::Encoding::{self, Cl100kBase, O200kBase};

/// What is known of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// How texts are counted.
    pub tokenizer: Tokenizer,
    /// How images are.
    pub images: ImageRule,
    /// `func_init` of OpenAI's cookbook, see [`tools`](crate::tools).
    pub tokens_per_function: u64,
}

/// How texts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokenizer {
    /// By the model's own encoding.
    Exact(Encoding),
    /// By a similar one.
    Similar(Similar),
}

/// Another family's encoding, and what its tokens are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Similar {
    /// The encoding that is counted.
    pub encoding: Encoding,
    /// For each of its tokens.
    pub hundredths_per_token: u64,
    /// For each digit besides.
    pub hundredths_per_digit: u64,
}

const fn similar(encoding: Encoding, hundredths_per_token: u64, hundredths_per_digit: u64) -> Tokenizer {
    Tokenizer::Similar(Similar { encoding, hundredths_per_token, hundredths_per_digit })
}

/// Claude 2's tokenizer, the last that Anthropic published.
const CLAUDE: Tokenizer = similar(Cl100kBase, 106, 0);
/// Gemma's, said to be Gemini's too.
const GEMINI: Tokenizer = similar(O200kBase, 92, 66);
/// Llama 3's.
const LLAMA: Tokenizer = similar(O200kBase, 109, 0);
/// Mistral's since Nemo ("Tekken").
const MISTRAL: Tokenizer = similar(O200kBase, 108, 50);
/// The vocabularies of 32,000 tokens of 2023: Llama 2 (with it Phi 3, which counts the same over the whole corpus), Mistral 7B, Mixtral.
const OF_32K: Tokenizer = similar(Cl100kBase, 106, 59);
/// Qwen 2.5's.
const QWEN: Tokenizer = similar(O200kBase, 102, 48);
/// `cl100k_base` with other special tokens, by Microsoft's own library: <https://github.com/dotnet/machinelearning/pull/7396>. Its own
/// vocabulary is in no package that `measure-estimates` could take it from, so it is called an estimate. Phi 3 small is the same: <https://github.com/microsoft/onnxruntime-extensions/pull/729>.
const PHI_4: Tokenizer = similar(Cl100kBase, 100, 0);
/// `o200k_base` in the same way; its files name gpt-4o's: <https://github.com/ggml-org/llama.cpp/issues/12122>.
const PHI_4_MINI: Tokenizer = similar(O200kBase, 100, 0);
/// A model that is not known: the mean of all that were measured.
const UNKNOWN: Tokenizer = similar(O200kBase, 113, 13);

/// First match decides, so that a longer name stands before its beginning. A name matches as a whole or up to a sign
/// that is neither letter nor digit.
const MODELS: &[(&str, Tokenizer, ImageRule)] = {
    use ImageRule::{Claude, Gemini, Patches, Tiles};
    use Tokenizer::Exact;
    const GPT_4O: ImageRule = Tiles { base: 85, tile: 170 };
    const GPT_5: ImageRule = Tiles { base: 70, tile: 140 };
    const O_SERIES: ImageRule = Tiles { base: 75, tile: 150 };
    &[
        ("gpt-4o-mini", Exact(O200kBase), Tiles { base: 2_833, tile: 5_667 }),
        ("gpt-4o", Exact(O200kBase), GPT_4O),
        ("chatgpt-4o", Exact(O200kBase), GPT_4O),
        ("gpt-4.1-mini", Exact(O200kBase), Patches { hundredths_per_patch: 162 }),
        ("gpt-4.1-nano", Exact(O200kBase), Patches { hundredths_per_patch: 246 }),
        ("gpt-4.1", Exact(O200kBase), GPT_4O),
        ("gpt-4.5", Exact(O200kBase), GPT_4O),
        ("gpt-5-mini", Exact(O200kBase), Patches { hundredths_per_patch: 162 }),
        ("gpt-5-nano", Exact(O200kBase), Patches { hundredths_per_patch: 246 }),
        ("gpt-5", Exact(O200kBase), GPT_5),
        ("gpt-oss", Exact(O200kBase), GPT_4O),
        ("codex-mini", Exact(O200kBase), Patches { hundredths_per_patch: 172 }),
        ("computer-use-preview", Exact(O200kBase), Tiles { base: 65, tile: 129 }),
        ("o1", Exact(O200kBase), O_SERIES),
        ("o3", Exact(O200kBase), O_SERIES),
        ("o4-mini", Exact(O200kBase), Patches { hundredths_per_patch: 172 }),
        ("gpt-4", Exact(Cl100kBase), GPT_4O),
        ("gpt-3.5", Exact(Cl100kBase), GPT_4O),
        ("gpt-35", Exact(Cl100kBase), GPT_4O),
        ("text-embedding-3", Exact(Cl100kBase), GPT_4O),
        ("text-embedding-ada", Exact(Cl100kBase), GPT_4O),
        ("claude", CLAUDE, Claude),
        ("gemini", GEMINI, Gemini),
        ("gemma", GEMINI, Gemini),
        ("llama-2", OF_32K, GPT_4O),
        ("llama2", OF_32K, GPT_4O),
        ("codellama", OF_32K, GPT_4O),
        ("llama", LLAMA, GPT_4O),
        ("llama3", LLAMA, GPT_4O),
        ("llama4", LLAMA, GPT_4O),
        ("open-mistral-7b", OF_32K, GPT_4O),
        ("mistral-7b", OF_32K, GPT_4O),
        ("open-mixtral", OF_32K, GPT_4O),
        ("mixtral", OF_32K, GPT_4O),
        ("mistral", MISTRAL, GPT_4O),
        ("open-mistral", MISTRAL, GPT_4O),
        ("ministral", MISTRAL, GPT_4O),
        ("pixtral", MISTRAL, GPT_4O),
        ("codestral", MISTRAL, GPT_4O),
        ("devstral", MISTRAL, GPT_4O),
        ("magistral", MISTRAL, GPT_4O),
        ("qwen", QWEN, GPT_4O),
        ("qwen2", QWEN, GPT_4O),
        ("qwen2.5", QWEN, GPT_4O),
        ("qwen3", QWEN, GPT_4O),
        ("qwq", QWEN, GPT_4O),
        ("phi-4-mini", PHI_4_MINI, GPT_4O),
        ("phi4-mini", PHI_4_MINI, GPT_4O),
        ("phi-4-multimodal", PHI_4_MINI, GPT_4O),
        ("phi-4", PHI_4, GPT_4O),
        ("phi4", PHI_4, GPT_4O),
        ("phi-3-small", PHI_4, GPT_4O),
        ("phi-3", OF_32K, GPT_4O),
        ("phi3", OF_32K, GPT_4O),
    ]
};

impl Model {
    /// What is known of the model of this name. Upper and lower case are the same; what stands before the name proper is
    /// passed over: `openai/gpt-4o`, `us.anthropic.claude-…`, `ft:gpt-4o:acme`.
    pub fn named(name: &str) -> Model {
        let name = name.to_ascii_lowercase();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let known = MODELS.iter().find(|(known, ..)| is_of(name, known));
        let behind_a_vendor = || {
            let vendors = ["anthropic.", "meta.", "mistral.", "google.", "openai.", "qwen.", "meta-"];
            let proper =
                vendors.iter().find_map(|vendor| name.split_once(vendor).map(|(_, proper)| proper))?;
            MODELS.iter().find(|(known, ..)| is_of(proper, known))
        };
        let (tokenizer, images) = match known.or_else(behind_a_vendor) {
            Some((_, tokenizer, images)) => (*tokenizer, *images),
            None => (UNKNOWN, ImageRule::Tiles { base: 85, tile: 170 }),
        };
        let tokens_per_function = if tokenizer == Tokenizer::Exact(Cl100kBase) { 10 } else { 7 };
        Model { tokenizer, images, tokens_per_function }
    }
}

/// Whether a name is a known one, or goes on from it with something that begins neither with a letter nor a digit.
fn is_of(name: &str, known: &str) -> bool {
    name.strip_prefix(known).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

impl Tokenizer {
    /// The encoding whose tokens are counted.
    pub fn encoding(self) -> Encoding {
        match self {
            Tokenizer::Exact(encoding) => encoding,
            Tokenizer::Similar(similar) => similar.encoding,
        }
    }

    /// Tokens of a text that has so many in [`Self::encoding`], and so many digits.
    pub fn worth(self, tokens: u64, digits: u64) -> u64 {
        match self {
            Tokenizer::Exact(_) => tokens,
            Tokenizer::Similar(Similar { hundredths_per_token, hundredths_per_digit, .. }) => (tokens
                .saturating_mul(hundredths_per_token))
            .saturating_add(digits.saturating_mul(hundredths_per_digit))
            .div_ceil(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_name_wherever_it_is_offered() {
        use Tokenizer::Exact;
        for (name, tokenizer) in [
            ("gpt-4o", Exact(O200kBase)),
            ("gpt-4o-2024-11-20", Exact(O200kBase)),
            ("openai/GPT-4o-mini", Exact(O200kBase)),
            ("ft:gpt-4o-mini:acme::x", Exact(O200kBase)),
            ("gpt-4.1-nano", Exact(O200kBase)),
            ("gpt-5.2-codex", Exact(O200kBase)),
            ("gpt-oss:20b", Exact(O200kBase)),
            ("openai.gpt-oss-120b-1:0", Exact(O200kBase)),
            ("o1", Exact(O200kBase)),
            ("o3-mini", Exact(O200kBase)),
            ("gpt-4", Exact(Cl100kBase)),
            ("gpt-4-turbo", Exact(Cl100kBase)),
            ("gpt-35-turbo-16k", Exact(Cl100kBase)),
            ("claude-opus-4-1", CLAUDE),
            ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", CLAUDE),
            ("gemini-2.5-flash", GEMINI),
            ("google/gemma-3-27b-it", GEMINI),
            ("meta-llama/Llama-3.3-70B-Instruct", LLAMA),
            ("meta.llama3-70b-instruct-v1:0", LLAMA),
            ("llama3.1:8b", LLAMA),
            ("Meta-Llama-3.1-8B-Instruct", LLAMA),
            ("llama-2-13b-chat", OF_32K),
            ("mistralai/Mistral-7B-Instruct-v0.3", OF_32K),
            ("mistral-large-latest", MISTRAL),
            ("Qwen/Qwen2.5-72B-Instruct", QWEN),
            ("qwen3:8b", QWEN),
            ("microsoft/phi-4", PHI_4),
            ("Phi-4-reasoning", PHI_4),
            ("microsoft/Phi-4-mini-instruct", PHI_4_MINI),
            ("phi4-mini:3.8b", PHI_4_MINI),
            ("Phi-4-multimodal-instruct", PHI_4_MINI),
            ("phi3:mini", OF_32K),
            ("Phi-3.5-mini-instruct", OF_32K),
            ("Phi-3-small-8k-instruct", PHI_4),
            ("deepseek-chat", UNKNOWN),
            ("gpt-40", UNKNOWN),
            ("gpt-6", UNKNOWN),
            ("olmo-2", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(Model::named(name).tokenizer, tokenizer, "{name}");
        }
    }
}
