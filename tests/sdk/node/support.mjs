// What the Node tests share: where things are, clients, and the provider's own view of what it was asked.

import OpenAI from "openai";

/** A setting that test_openai_node.py gives; without it nothing here can be tested. */
function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are started by test_openai_node.py`);
  return value;
}

export const gatewayUrl = `${setting("GATEWAY_URL")}/v1`;
export const limitedUrl = `${setting("LIMITED_GATEWAY_URL")}/v1`;
export const providerUrl = `${setting("MOCK_URL")}/v1`;
export const key = setting("GATEWAY_KEY");
export const otherKey = setting("OTHER_KEY");
export const limitedKey = setting("LIMITED_KEY");
const run = setting("RUN");

let serial = 0;

/** A text that no other test sends, so that no other test's cached answer or log entry is met. */
export const unique = () => `${run} question ${serial++} of this run`;

/** A client of the gateway that does not retry, unless told otherwise. */
export const newClient = (options = {}) =>
  new OpenAI({ baseURL: gatewayUrl, apiKey: key, maxRetries: 0, logLevel: "off", ...options });

/** What the provider received with this text in its body, in order. */
export async function received(text) {
  const log = await (await fetch(`${setting("MOCK_URL")}/mock/log`)).json();
  return log.filter((entry) => JSON.stringify(entry.body).includes(text));
}

/** The statuses that the provider gave to requests with this text, in order. */
export const statuses = async (text) => (await received(text)).map((entry) => entry.status);

/** The first value of `condition()` that is not falsy. */
export async function until(what, condition, withinMs = 60_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** How the provider's only answer to this text ended, once it has. */
export const ended = (text) => until("the answer's end", async () => (await received(text))[0].ended);

export const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, days: { type: "integer" } },
      required: ["city", "days"],
    },
  },
};
