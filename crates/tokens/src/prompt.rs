//! What a request's prompt is made of: texts, and tokens that are known without reading any.
//!
//! The overhead is that of OpenAI's chat format, <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>:
//! three tokens for each message beside its role and content, one more for a name, three that prime the answer.
//! The same is taken for the other providers, who do not publish theirs.

use crate::image;
use crate::json::{self, Elements, starts_with};
use crate::model::Model;
use crate::tools;
use crate::view::{ChatRequestView, InvalidRequest, MessageView, PartView};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

const TOKENS_PER_ANSWER: u64 = 3;
const TOKENS_PER_MESSAGE: u64 = 3;
/// Of a message that has none, which the provider will refuse.
const TOKENS_PER_MISSING_ROLE: u64 = 1;
const TOKENS_PER_NAME: u64 = 1;
/// Around the name and the arguments of a call that the model made, <https://hmarr.com/blog/counting-openai-tokens/>.
const TOKENS_PER_CALL: u64 = 3;

/// One token is 100 ms of a user's audio (<https://platform.openai.com/docs/guides/realtime-costs>). Its length in time is
/// not looked at: this is base64 of 64 kbit/s, below what speech is commonly sent with.
const BASE64_BYTES_PER_AUDIO_TOKEN: u64 = 1_067;

/// A file, or a kind of content that is not known here: its size says nothing about its tokens, so this is a
/// figure and not a count.
const TOKENS_PER_OTHER_PART: u64 = 1_000;

/// The parts of a prompt.
#[derive(Debug, Default)]
pub struct Prompt<'a> {
    /// Tokens that are no text: the format's, images, sound.
    pub fixed_tokens: u64,
    /// What is to be counted.
    pub texts: Vec<Text<'a>>,
}

/// A text of a prompt.
#[derive(Debug)]
pub enum Text<'a> {
    /// A JSON string, or another value that stands for its JSON.
    Sent(&'a RawValue),
    /// As the provider composes it.
    Composed(String),
}

impl Text<'_> {
    /// The text itself.
    pub fn read(&self) -> Cow<'_, str> {
        match self {
            Text::Sent(value) => json::text(value),
            Text::Composed(text) => Cow::Borrowed(text),
        }
    }
}

impl<'a> Prompt<'a> {
    /// The parts of a request, for a model.
    ///
    /// # Errors
    /// [`InvalidRequest`] names the message that is none, or the content that is neither text nor parts.
    pub fn of(model: &Model, request: &ChatRequestView<'a>) -> Result<Self, InvalidRequest> {
        let mut prompt = Prompt { fixed_tokens: TOKENS_PER_ANSWER, texts: Vec::new() };
        for (at, message) in Elements::<MessageView<'a>>::of(request.messages).enumerate() {
            let message =
                message.map_err(|at| InvalidRequest::field(format!("messages[{at}]"), "is not a message"))?;
            prompt.message(model, at, &message)?;
        }
        tools::add(&mut prompt, model, request.tools, request.functions);
        request.response_format.into_iter().for_each(|format| prompt.response_format(format));
        Ok(prompt)
    }

    /// Adds tokens that are no text.
    pub fn fixed(&mut self, tokens: u64) {
        self.fixed_tokens = self.fixed_tokens.saturating_add(tokens);
    }

    /// Adds a value as text.
    pub fn sent(&mut self, value: &'a RawValue) {
        self.texts.push(Text::Sent(value));
    }

    /// Adds a text that stands nowhere in the request.
    pub fn composed(&mut self, text: String) {
        self.texts.push(Text::Composed(text));
    }

    fn message(&mut self, model: &Model, at: usize, message: &MessageView<'a>) -> Result<(), InvalidRequest> {
        self.fixed(TOKENS_PER_MESSAGE);
        match message.role {
            Some(role) => self.sent(role),
            None => self.fixed(TOKENS_PER_MISSING_ROLE),
        }
        if let Some(name) = message.name {
            self.fixed(TOKENS_PER_NAME);
            self.sent(name);
        }
        message.function_call.into_iter().for_each(|call| self.call(Some(call), call));
        message.tool_calls.into_iter().for_each(|calls| self.tool_calls(calls));
        match message.content {
            None => Ok(()),
            Some(text) if starts_with(text, b'"') => {
                self.sent(text);
                Ok(())
            }
            Some(parts) if starts_with(parts, b'[') => self.parts(model, at, parts),
            Some(_) => {
                let param = format!("messages[{at}].content");
                Err(InvalidRequest::field(param, "must be a string or an array of parts"))
            }
        }
    }

    fn tool_calls(&mut self, calls: &'a RawValue) {
        #[derive(Deserialize)]
        struct ToolCall<'a> {
            #[serde(borrow)]
            function: Option<&'a RawValue>,
        }
        if !starts_with(calls, b'[') {
            return self.sent(calls);
        }
        for call in Elements::<&RawValue>::of(calls).flatten() {
            let known = serde_json::from_str::<ToolCall<'_>>(call.get());
            self.call(known.ok().and_then(|call| call.function), call);
        }
    }

    /// A call that the model made: its name and arguments, or all of it if it has another form.
    fn call(&mut self, function: Option<&'a RawValue>, whole: &'a RawValue) {
        #[derive(Deserialize)]
        struct Function<'a> {
            #[serde(borrow)]
            name: &'a RawValue,
            #[serde(borrow)]
            arguments: &'a RawValue,
        }
        self.fixed(TOKENS_PER_CALL);
        match function.and_then(|function| serde_json::from_str::<Function<'a>>(function.get()).ok()) {
            Some(Function { name, arguments }) => {
                self.sent(name);
                self.sent(arguments);
            }
            None => self.sent(whole),
        }
    }

    fn parts(&mut self, model: &Model, at: usize, parts: &'a RawValue) -> Result<(), InvalidRequest> {
        for part in Elements::<PartView<'a>>::of(parts) {
            let part = part.map_err(|part| {
                let param = format!("messages[{at}].content[{part}]");
                InvalidRequest::field(param, "must be an object with a `type`")
            })?;
            // Counted whatever the type says, so that a long text cannot pass as something small.
            part.text.into_iter().chain(part.refusal).for_each(|text| self.sent(text));
            match part.r#type.as_ref() {
                "text" | "refusal" => {}
                "image_url" => self.fixed(image::tokens(model.images, part.image_url)),
                "input_audio" => self.fixed(audio_tokens(part.input_audio)),
                _ => self.fixed(TOKENS_PER_OTHER_PART),
            }
        }
        Ok(())
    }

    /// A schema becomes part of the prompt; that the answer shall be text or any JSON does not.
    fn response_format(&mut self, format: &'a RawValue) {
        let Some(members) = json::members(format) else { return self.sent(format) };
        members.into_iter().filter(|(name, _)| name != "type").for_each(|(_, value)| self.sent(value));
    }
}

fn audio_tokens(audio: Option<&RawValue>) -> u64 {
    let bytes = audio.map_or(0, |audio| audio.get().len() as u64);
    bytes.div_ceil(BASE64_BYTES_PER_AUDIO_TOKEN)
}
