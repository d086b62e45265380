//! What an image costs, by the provider's published rule, from its size in pixels where the request holds the image
//! itself; else the most that the rule allows.
//!
//! - OpenAI, <https://platform.openai.com/docs/guides/images-vision#calculating-costs>
//! - Anthropic, <https://docs.claude.com/en/docs/build-with-claude/vision#evaluate-image-size>
//! - Google, <https://ai.google.dev/gemini-api/docs/tokens#multimodal-tokens>
//!
//! OpenAI's rule is taken for every other provider, too.

use crate::image_size::{self, Size};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How a model counts images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRule {
    /// OpenAI: so many tokens for the overview and for each tile of 512 pixels.
    Tiles {
        /// For any image, and all that `detail: "low"` costs.
        base: u64,
        /// For each tile.
        tile: u64,
    },
    /// OpenAI's small models: patches of 32 pixels.
    Patches {
        /// What a patch is worth.
        hundredths_per_patch: u64,
    },
    /// A token for 750 pixels.
    Claude,
    /// 258 tokens for each tile of 768 pixels.
    Gemini,
}

/// Tokens of an `image_url` part.
pub fn tokens(rule: ImageRule, image_url: Option<&RawValue>) -> u64 {
    #[derive(Deserialize)]
    struct Image<'a> {
        #[serde(borrow)]
        url: Option<&'a RawValue>,
        #[serde(borrow)]
        detail: Option<&'a RawValue>,
    }
    let image = image_url.and_then(|raw| serde_json::from_str::<Image<'_>>(raw.get()).ok());
    let url = image.as_ref().and_then(|image| json::string(image.url?));
    let detail = image.as_ref().and_then(|image| json::string(image.detail?));
    let size = url.as_deref().and_then(image_size::of_data_url);
    tokens_of(rule, size, detail.as_deref() == Some("low"))
}

fn tokens_of(rule: ImageRule, size: Option<Size>, is_low_detail: bool) -> u64 {
    match rule {
        ImageRule::Tiles { base, .. } if is_low_detail => base,
        ImageRule::Tiles { base, tile } => base + tile * size.map_or(MOST_TILES, openai_tiles),
        ImageRule::Patches { hundredths_per_patch } => {
            (hundredths_per_patch * size.map_or(MOST_PATCHES, openai_patches)).div_ceil(100)
        }
        ImageRule::Claude => {
            size.map_or(MOST_OF_CLAUDE, |size| (pixels(size) / 750).clamp(1, MOST_OF_CLAUDE))
        }
        ImageRule::Gemini => 258 * size.map_or(MOST_OF_GEMINI, gemini_tiles),
    }
}

fn pixels(size: Size) -> u64 {
    u64::from(size.width) * u64::from(size.height)
}

/// 2,048 × 768 pixels, the most that is left after scaling.
const MOST_TILES: u64 = 8;

/// Fitted into a square of 2,048 pixels, then to 768 on the shorter side; tiles of 512 cover it. Nothing is enlarged.
fn openai_tiles(size: Size) -> u64 {
    let within = |size: Size, side: u32, max: u32| {
        let scaled = |length: u32| if side > max { scale(length, max, side) } else { length };
        Size { width: scaled(size.width), height: scaled(size.height) }
    };
    let size = within(size, size.width.max(size.height), 2_048);
    let size = within(size, size.width.min(size.height), 768);
    u64::from(size.width.div_ceil(512)) * u64::from(size.height.div_ceil(512))
}

/// `length × to ÷ from` to the nearest pixel, of two the lower, as the API was seen to do: 2,049 × 513 pixels take eight
/// tiles, 2,050 × 513 four
/// (<https://community.openai.com/t/vision-pricing-calculator-inaccurate-resizing-rounding-vs-api-costs/1281361>).
fn scale(length: u32, to: u32, from: u32) -> u32 {
    let (length, to, from) = (u64::from(length), u64::from(to), u64::from(from));
    let scaled = (2 * length * to).saturating_sub(from).div_ceil(2 * from).max(1);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

const MOST_PATCHES: u64 = 1_536;

/// Patches of 32 pixels; an image that needs more than 1,536 is scaled until that many cover it, and a little more, so
/// that whole patches fit one of its sides.
fn openai_patches(size: Size) -> u64 {
    let patches = u64::from(size.width.div_ceil(32)) * u64::from(size.height.div_ceil(32));
    if patches <= MOST_PATCHES {
        return patches;
    }
    let (width, height) = (f64::from(size.width) / 32.0, f64::from(size.height) / 32.0);
    let shrink = (1_536.0 / (width * height)).sqrt();
    let (width, height) = (width * shrink, height * shrink);
    // A side shorter than a patch is one patch however it is scaled.
    let fits = [width, height].into_iter().filter(|side| *side >= 1.0).map(|side| side.floor() / side);
    let fit = fits.fold(1.0, f64::min);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2³² ÷ 32")]
    let whole = |side: f64| ((side * fit).round() as u64).max(1);
    (whole(width) * whole(height)).min(MOST_PATCHES)
}

/// Larger images are scaled down to this.
const MOST_OF_CLAUDE: u64 = 1_600;

/// 3,072 × 3,072 pixels, to which larger images are scaled down.
const MOST_OF_GEMINI: u64 = 16;

/// One for an image of at most 384 pixels either way, else one for each 768 pixels.
fn gemini_tiles(size: Size) -> u64 {
    let tiles = u64::from(size.width.div_ceil(768)) * u64::from(size.height.div_ceil(768));
    tiles.min(MOST_OF_GEMINI)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GPT_4O: ImageRule = ImageRule::Tiles { base: 85, tile: 170 };
    const GPT_4_1_MINI: ImageRule = ImageRule::Patches { hundredths_per_patch: 162 };
    const ONE_EACH: ImageRule = ImageRule::Patches { hundredths_per_patch: 100 };

    #[test]
    fn images_cost_what_the_providers_write() {
        for (rule, width, height, expected) in [
            (GPT_4O, 1_024, 1_024, 765),
            (GPT_4O, 2_048, 4_096, 1_105),
            (GPT_4O, 512, 512, 255),
            (GPT_4O, 1, 1, 255),
            (GPT_4O, 2_049, 513, 1_445),
            (GPT_4O, 2_050, 513, 765),
            (ONE_EACH, 1_024, 1_024, 1_024),
            (ONE_EACH, 1_800, 2_400, 1_452),
            (GPT_4_1_MINI, 1_800, 2_400, 2_353),
            (GPT_4_1_MINI, 1_024, 1_024, 1_659),
            (ImageRule::Claude, 1_092, 1_092, 1_589),
            (ImageRule::Claude, 200, 200, 53),
            (ImageRule::Claude, 8_000, 8_000, 1_600),
            (ImageRule::Gemini, 384, 384, 258),
            (ImageRule::Gemini, 1_536, 768, 516),
        ] {
            let size = Some(Size { width, height });
            assert_eq!(tokens_of(rule, size, false), expected, "{rule:?} {width} × {height}");
        }
    }

    #[test]
    fn an_image_of_unknown_size_costs_the_most() {
        for (rule, expected, low) in
            [(GPT_4O, 1_445, 85), (GPT_4_1_MINI, 2_489, 2_489), (ImageRule::Claude, 1_600, 1_600)]
        {
            assert_eq!(
                (tokens_of(rule, None, false), tokens_of(rule, None, true)),
                (expected, low),
                "{rule:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_image_costs_more_than_one_of_unknown_size(width in 1..=u32::MAX, height in 1..=u32::MAX) {
            for rule in [GPT_4O, GPT_4_1_MINI, ImageRule::Claude, ImageRule::Gemini] {
                let tokens = tokens_of(rule, Some(Size { width, height }), false);
                prop_assert!((1..=tokens_of(rule, None, false)).contains(&tokens), "{:?}: {}", rule, tokens);
            }
        }
    }
}
