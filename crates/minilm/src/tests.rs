//! The real weights against published and recorded values, and the errors that need no weights.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;

/// The three sentences of the model's documentation.
const WEATHER: &str = "The weather is lovely today.";
const SUNNY: &str = "It's so sunny outside!";
const STADIUM: &str = "He drove to the stadium.";

/// Their cosines as published, computed with exact (erf) GELU:
/// <https://sbert.net/docs/sentence_transformer/usage/usage.html>.
const PUBLISHED: [(&str, &str, f32); 3] =
    [(WEATHER, SUNNY, 0.6660), (WEATHER, STADIUM, 0.1046), (SUNNY, STADIUM, 0.1411)];

/// The embedder as users get it.
static EMBEDDER: LazyLock<Embedder> = LazyLock::new(|| load(gelu_tanh));

fn published() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.spin/ai-models/all-minilm-l6-v2")
}

fn load(activation: Activation) -> Embedder {
    Embedder::load_with(&published(), activation).unwrap_or_else(|error| {
        panic!("{error}: {:?}\n\nThe weights are not in the repository: run scripts/fetch-model", error)
    })
}

/// Exact GELU, which the model was trained with.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x / std::f32::consts::SQRT_2))
}

fn embed(text: &str) -> Vec<f32> {
    EMBEDDER.embed(text).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn assert_cosines(embedder: &Embedder, tolerance: f32) {
    for (a, b, published) in PUBLISHED {
        let measured = cosine(&embedder.embed(a).unwrap(), &embedder.embed(b).unwrap());
        assert!((measured - published).abs() <= tolerance, "{a} / {b}: {measured}, published {published}");
    }
}

/// The published figures come from exact GELU: with it only rounding separates us from them, so a tight bound
/// proves weights, tokens and pooling.
#[test]
fn exact_gelu_reproduces_the_published_cosines() {
    assert_cosines(&load(gelu), 0.0005);
}

/// What we ship uses tanh-GELU as Spin does, which moves these cosines by about 1e-4: a wider bound,
/// and the comparison with Spin's vector below is the tight one.
#[test]
fn spins_tanh_gelu_stays_within_a_thousandth_of_the_published_cosines() {
    assert_cosines(&EMBEDDER, 1e-3);
}

/// The beginning of [`WEATHER`]'s embedding by Spin's own `bert.rs` and pooling, compiled with candle 0.11 and
/// run once on the same weights.
const SPINS_WEATHER: [f32; 6] = [0.01927876, 0.12004746, 0.15954624, 0.06708291, 0.05013538, -0.025999252];

/// The bound lies between rounding (1e-7) and what exact GELU would change (8e-5), so it tells the two apart.
#[test]
fn the_embedding_is_the_one_of_spins_engine() {
    let furthest = |embedder: &Embedder| {
        let embedding = embedder.embed(WEATHER).unwrap();
        embedding.iter().zip(SPINS_WEATHER).map(|(ours, spins)| (ours - spins).abs()).fold(0.0, f32::max)
    };
    let (tanh, exact) = (furthest(&EMBEDDER), furthest(&load(gelu)));
    assert!(tanh < 1e-5, "tanh-GELU is {tanh} away");
    assert!(exact > 1e-5, "exact GELU is only {exact} away");
}

#[test]
fn every_embedding_has_384_floats_and_length_one() {
    for text in [
        "",
        " ",
        "a",
        WEATHER,
        "Grüße aus Köln",
        "你好,世界",
        "👩‍👩‍👧 🇩🇪",
        "e\u{301}\0\u{200b}",
        &"long ".repeat(5000),
    ] {
        let embedding = embed(text);
        let norm = cosine(&embedding, &embedding).sqrt();
        let start: String = text.chars().take(20).collect();
        assert_eq!(embedding.len(), 384, "{start:?}");
        assert!((norm - 1.0).abs() < 1e-5, "{start:?}: norm {norm}");
    }
}

#[test]
fn the_same_text_gives_the_same_embedding() {
    assert_eq!(embed(WEATHER), embed(WEATHER));
}

#[test]
fn an_empty_text_is_its_two_markers() {
    assert_eq!(EMBEDDER.token_ids("").unwrap(), [101, 102]);
    assert_eq!(embed(""), embed(" \n\t"));
}

#[test]
fn a_short_text_is_not_padded() {
    // [CLS] the weather is lovely today . [SEP]
    assert_eq!(EMBEDDER.token_ids(WEATHER).unwrap().len(), 8);
}

#[test]
fn tokens_after_the_128th_do_not_count() {
    // "word" is one token, and the two markers count.
    let fits = "word ".repeat(126);
    let one_less = "word ".repeat(125);
    assert_eq!(EMBEDDER.token_ids(&one_less).unwrap().len(), 127);
    assert_eq!(EMBEDDER.token_ids(&fits).unwrap().len(), 128);
    assert_eq!(EMBEDDER.token_ids(&format!("{fits} stadium")).unwrap().len(), 128);

    assert_eq!(embed(&fits), embed(&format!("{fits} stadium weather")));
    assert_ne!(embed(&one_less), embed(&format!("{one_less} stadium")));
}

#[test]
fn multi_byte_text_keeps_its_meaning() {
    // Lower-cased and stripped of accents by the tokenizer, composed or not.
    assert_eq!(embed("Café Zürich"), embed("cafe\u{301} zurich"));
    // Chinese is cut per character, so different words differ.
    assert!(cosine(&embed("天气很好"), &embed("他开车去体育场")) < 0.99);
}

#[test]
fn one_embedder_serves_many_threads() {
    fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Embedder>();
    assert_shareable::<Error>();
}

#[test]
fn a_missing_file_is_named() {
    let missing = |dir: &Path, file: &str| match Embedder::load(dir) {
        Err(error @ Error::Read { .. }) => {
            let expected = format!("cannot read the model file {}", dir.join(file).display());
            assert_eq!(error.to_string(), expected);
        }
        other => panic!("{file}: {:?}", other.err()),
    };

    let dir = ScratchDir::new("missing");
    missing(&dir.0.join("nowhere"), "tokenizer.json");
    missing(&dir.0, "tokenizer.json");
    fs::write(dir.0.join("tokenizer.json"), MINIMAL_TOKENIZER).unwrap();
    missing(&dir.0, "model.safetensors");
}

#[test]
fn a_file_that_is_something_else_is_named() {
    let dir = ScratchDir::new("invalid");
    let tokenizer = dir.0.join("tokenizer.json");
    let weights = dir.0.join("model.safetensors");

    fs::write(&tokenizer, "{}").unwrap();
    let error = Embedder::load(&dir.0).err().unwrap();
    assert!(matches!(&error, Error::Tokenizer { path, .. } if *path == tokenizer), "{error:?}");

    fs::write(&tokenizer, MINIMAL_TOKENIZER).unwrap();
    // No safetensors at all, a well-formed file with no tensor in it, and one with a tensor of another size.
    let smaller =
        r#"{"embeddings.token_type_embeddings.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    for bytes in [b"not weights".to_vec(), safetensors("{}", &[]), safetensors(smaller, &[0; 4])] {
        fs::write(&weights, bytes).unwrap();
        let error = Embedder::load(&dir.0).err().unwrap();
        assert!(matches!(&error, Error::Weights { path, .. } if *path == weights), "{error:?}");
    }
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn a_token_that_the_model_does_not_have_is_an_error() {
    let dir = ScratchDir::new("tokens");
    let of_another_model = MINIMAL_TOKENIZER.replace(r#""[UNK]":0"#, r#""[UNK]":30522"#);
    fs::write(dir.0.join("tokenizer.json"), of_another_model).unwrap();
    fs::copy(published().join("model.safetensors"), dir.0.join("model.safetensors")).unwrap();
    let error = Embedder::load(&dir.0).unwrap().embed("text").unwrap_err();
    assert!(matches!(error, Error::UnknownToken(30522)), "{error:?}");
}

const MINIMAL_TOKENIZER: &str =
    r#"{"version":"1.0","model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;

/// A directory of one test, removed with the value.
struct ScratchDir(PathBuf);

impl ScratchDir {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("minilm-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
