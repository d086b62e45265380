// The Vercel AI SDK on the gateway, with its provider for OpenAI's chat completions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, NoObjectGeneratedError, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { gatewayUrl, key, limitedKey, limitedUrl, received, statuses, unique } from "./support.mjs";

const openai = createOpenAI({ baseURL: gatewayUrl, apiKey: key });
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string(), days: z.number() }),
  execute: async ({ city }) => `Rain in ${city}.`,
});

/** What a promise is rejected with; being fulfilled is a failure. */
const failure = (work) => work.then(() => assert.fail("no error"), (error) => error);

/** A whole stream: its text, its errors, and what it used. */
async function heard(result) {
  const parts = { text: "", errors: [], usage: undefined };
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") parts.text += part.text;
    if (part.type === "error") parts.errors.push(part.error);
    if (part.type === "finish") parts.usage = part.totalUsage;
  }
  return parts;
}

test("a text is generated, with its usage", async () => {
  const prompt = unique();
  const { text, usage, finishReason } = await generateText({ model: openai.chat("mock"), prompt });
  assert.ok(text.includes(prompt));
  assert.equal(finishReason, "stop");
  assert.equal(usage.outputTokens, Math.ceil(Buffer.byteLength(text) / 4));
  assert.ok(usage.inputTokens > 5, `${usage.inputTokens}`);
});

test("a text is streamed, with its usage, whatever the frames", async () => {
  const prompt = unique();
  const { text, errors, usage } = await heard(
    streamText({ model: openai.chat("mock+split=3+text=emoji+tokens=40"), prompt, onError: () => {} }),
  );
  assert.deepEqual(errors, []);
  assert.ok(text.includes(prompt) && !text.includes("\ufffd"));
  assert.equal(Buffer.byteLength(text), 160);
  assert.equal(usage.outputTokens, 40);
});

test("tools are called in a stream, and their results go back", async () => {
  const prompt = unique();
  const model = openai.chat("mock+tool+split=5");
  const result = streamText({ model, prompt, tools: { weather }, stopWhen: stepCountIs(3) });
  assert.ok(await result.text);
  const [first, second] = await result.steps;
  assert.deepEqual(first.toolCalls.map((call) => call.input), [{ city: prompt, days: 1 }]);
  assert.equal(second.finishReason, "stop");
  const [, again] = await received(prompt);
  assert.match(again.body.messages.at(-1).content, new RegExp(`Rain in ${prompt}`));
});

test("a schema reaches the provider", async () => {
  const prompt = unique();
  const schema = z.object({ city: z.string() });
  // The mock does not write by a schema, so the client must refuse what it says.
  const error = await failure(generateObject({ model: openai.chat("gpt-4o-mini"), prompt, schema, maxRetries: 0 }));
  assert.ok(NoObjectGeneratedError.isInstance(error), `${error}`);
  const [{ body }] = await received(prompt);
  assert.equal(body.response_format.type, "json_schema");
  assert.deepEqual(body.response_format.json_schema.schema.properties, { city: { type: "string" } });
});

test("a stream that is cut is an error, not an end", async () => {
  const { errors } = await heard(streamText({ model: openai.chat("mock+cut=3"), prompt: unique(), onError: () => {} }));
  assert.equal(errors.length, 1);
  assert.match(JSON.stringify(errors[0]?.message ?? errors[0]), /incomplete/);
});

test("a wrong key is an error of status 401 with our message", async () => {
  const stranger = createOpenAI({ baseURL: gatewayUrl, apiKey: "wrong" });
  const error = await failure(generateText({ model: stranger.chat("mock"), prompt: unique() }));
  assert.ok(APICallError.isInstance(error), `${error}`);
  assert.deepEqual([error.statusCode, error.isRetryable, error.data.error.code], [401, false, "invalid_api_key"]);
});

test("a server error is retried by the gateway, and again by a client that does not read x-should-retry", async () => {
  const prompt = unique();
  const error = await failure(generateText({ model: openai.chat("mock+status=500"), prompt, maxRetries: 1 }));
  assert.equal(error.lastError.statusCode, 500);
  assert.deepEqual(await statuses(prompt), Array(6).fill(500), "two of the client's tries, three of the gateway's in each");
});

test("over the limit is an error of status 429 that never reached the provider", async () => {
  const limited = createOpenAI({ baseURL: limitedUrl, apiKey: limitedKey }).chat("mock");
  const prompt = unique();
  const error = await failure(generateText({ model: limited, prompt, maxOutputTokens: 2_000, maxRetries: 0 }));
  assert.equal(error.statusCode, 429);
  assert.equal(error.data.error.code, "rate_limit_exceeded");
  assert.deepEqual(await received(prompt), []);
});
