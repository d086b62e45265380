// OpenAI's Node client on the gateway: what it gets, what it throws, and how often the provider is asked.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { gatewayUrl, key, limitedKey, limitedUrl, newClient, otherKey, providerUrl } from "./support.mjs";
import { ended, received, statuses, unique, until, weather } from "./support.mjs";

const client = newClient();
const patient = newClient({ maxRetries: 2 });
const provider = newClient({ baseURL: providerUrl });

const ask = (text, model = "mock", fields = {}) => ({ model, messages: [{ role: "user", content: text }], ...fields });
const chat = (to, ...args) => to.chat.completions.create(ask(...args));
const stream = (to, text, model, fields = {}) => chat(to, text, model, { ...fields, stream: true });

async function chunksOf(opening) {
  const chunks = [];
  for await (const chunk of await opening) chunks.push(chunk);
  return chunks;
}

function content(chunks, index = 0) {
  const choices = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
  return choices.map((choice) => choice.delta.content ?? "").join("");
}

/** What a promise is rejected with; being fulfilled is a failure. */
async function failure(work, expected) {
  const error = await Promise.resolve(work).then(
    () => assert.fail("no error"),
    (error) => error,
  );
  assert.ok(error instanceof expected, `${error?.constructor?.name}: ${error?.message}`);
  return error;
}

// Answers

test("an answer is the provider's", async () => {
  const text = unique();
  const [through, direct] = [await chat(client, text), await chat(provider, text)];
  assert.deepEqual(through, direct);
  assert.match(through.choices[0].message.content, new RegExp(text));
});

test("base url and key are all that an app changes", async () => {
  Object.assign(process.env, { OPENAI_BASE_URL: gatewayUrl, OPENAI_API_KEY: key });
  const text = unique();
  try {
    assert.match((await chat(new OpenAI(), text)).choices[0].message.content, new RegExp(text));
  } finally {
    delete process.env.OPENAI_BASE_URL;
    delete process.env.OPENAI_API_KEY;
  }
});

test("headers and the request id are there", async () => {
  const { data, response, request_id } = await client.chat.completions.create(ask(unique(), "renamed")).withResponse();
  assert.equal(response.headers.get("x-tollgate-deployment"), "mock/mock-renamed");
  assert.equal(response.headers.get("x-ratelimit-limit-tokens"), "1000000000");
  assert.ok(request_id);
  assert.deepEqual([data._request_id, response.headers.get("x-request-id")], [request_id, request_id]);
});

test("models are listed and found", async () => {
  const ids = (await client.models.list()).data.map((model) => model.id);
  assert.deepEqual(ids.slice(0, 3), ["gpt-4o-mini", "renamed", "failover"]);
  assert.equal((await client.models.retrieve("renamed")).id, "renamed");
  const others = await newClient({ apiKey: otherKey }).models.list();
  assert.deepEqual(others.data.map((model) => model.id), ["gpt-4o-mini"]);
});

test("several choices come whole and streamed", async () => {
  const text = unique();
  const whole = await chat(client, text, "mock", { n: 2 });
  const chunks = await chunksOf(stream(client, text, "mock", { n: 2 }));
  assert.deepEqual(
    [content(chunks, 0), content(chunks, 1)],
    whole.choices.map((choice) => choice.message.content),
  );
  assert.notEqual(content(chunks, 0), content(chunks, 1));
});

test("fields that the gateway does not know reach the provider", async () => {
  const text = unique();
  const unknown = { top_k: 5, nested: { list: [1, 2.5, null, "é"], empty: {} } };
  const fields = { ...unknown, response_format: { type: "json_object" } };
  await chat(client, text, "mock", fields);
  assert.deepEqual((await received(text))[0].body, ask(text, "mock", fields));
});

test("a prompt of a megabyte arrives unchanged", async () => {
  const text = unique();
  const prompt = `${text} ${"Grüße aus Köln 👩‍💻 ".repeat(40_000)}`;
  assert.ok(Buffer.byteLength(prompt) > 1_000_000);
  const answer = await chat(client, prompt);
  assert.ok((await received(text))[0].body.messages[0].content === prompt);
  assert.ok(answer.usage.prompt_tokens > 250_000);
});

// Streams

for (const model of ["mock", "renamed", "failover", "mock+comments", "mock+crlf", "mock+no-done"]) {
  test(`a stream says what the provider says: ${model}`, async () => {
    const text = unique();
    const chunks = await chunksOf(stream(client, text, model));
    assert.equal(content(chunks), (await chat(provider, text)).choices[0].message.content);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    assert.ok(chunks.length > 5, "the answer comes in pieces");
  });
}

for (const alphabet of ["emoji", "multibyte"]) {
  for (const split of [1, 2, 3, 7]) {
    test(`characters that are cut on the way arrive whole: ${alphabet}, ${split} bytes at a time`, async () => {
      const text = unique();
      const got = content(await chunksOf(stream(client, text, `mock+split=${split}+text=${alphabet}+tokens=40`)));
      const whole = await chat(provider, text, `mock+text=${alphabet}+tokens=40`);
      assert.equal(got, whole.choices[0].message.content);
      assert.equal(Buffer.byteLength(got), 160);
      assert.match(got, /[^\x00-\x7f]/);
    });
  }
}

test("usage ends a stream that asks for it", async () => {
  const text = unique();
  const chunks = await chunksOf(stream(client, text, "mock", { stream_options: { include_usage: true } }));
  assert.deepEqual(chunks.at(-1).usage, (await chat(provider, text)).usage);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
});

for (const options of [undefined, null, { include_usage: false }]) {
  test(`no usage comes unasked: ${JSON.stringify(options)}`, async () => {
    const text = unique();
    const chunks = await chunksOf(stream(client, text, "mock", { stream_options: options }));
    assert.ok(chunks.every((chunk) => !chunk.usage && chunk.choices.length === 1));
    assert.equal((await received(text))[0].body.stream_options.include_usage, true, "the gateway itself wants to know");
  });
}

test("an aborted stream stops the provider", async () => {
  const text = unique();
  const chunks = await stream(client, text, "mock+gap=20ms+tokens=2000");
  let heard = 0;
  for await (const _ of chunks) if (++heard === 3) chunks.controller.abort();
  assert.equal(await ended(text), "client_gone");
  const [entry] = await received(text);
  assert.ok(entry.chunks < 1_000, `${entry.chunks} chunks`);
});

test("leaving the loop of a stream stops the provider", async () => {
  const text = unique();
  for await (const _ of await stream(client, text, "mock+gap=20ms+tokens=2000")) break;
  assert.equal(await ended(text), "client_gone");
});

test("the stream helper puts an answer together", async () => {
  const text = unique();
  const runner = client.chat.completions.stream(ask(text, "mock", { n: 2, stream_options: { include_usage: true } }));
  const final = await runner.finalChatCompletion();
  const whole = await chat(provider, text, "mock", { n: 2 });
  assert.deepEqual(
    final.choices.map((choice) => choice.message.content),
    whole.choices.map((choice) => choice.message.content),
  );
  const { total_tokens } = await runner.totalUsage();
  assert.equal(total_tokens, whole.usage.total_tokens);
});

test("many streams at once all complete, and none gets another's words", async () => {
  const text = unique();
  const count = 32;
  const open = Promise.withResolvers?.() ?? withResolvers();
  let begun = 0;
  const one = async (i) => {
    const chunks = [];
    for await (const chunk of await stream(client, `${text}/${i}/`, "mock+gap=10ms+text=multibyte+tokens=40")) {
      chunks.push(chunk);
      if (chunks.length !== 2) continue;
      if (++begun === count) open.resolve();
      await open.promise; // nobody goes on before everybody has begun
    }
    return content(chunks);
  };
  const answers = await Promise.all(Array.from({ length: count }, (_, i) => one(i)));
  answers.forEach((answer, i) => {
    assert.ok(answer.includes(`${text}/${i}/`), answer);
    assert.equal(Buffer.byteLength(answer), 160);
  });
  assert.equal((await received(text)).length, count);
});

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

// Tools

/** Tool calls of a stream, by index. */
function assembled(chunks) {
  const calls = [];
  for (const delta of chunks.flatMap((chunk) => chunk.choices).flatMap((choice) => choice.delta.tool_calls ?? [])) {
    const call = (calls[delta.index] ??= { id: "", name: "", arguments: "" });
    call.id += delta.id ?? "";
    call.name += delta.function.name ?? "";
    call.arguments += delta.function.arguments ?? "";
  }
  return calls;
}

for (const faults of ["", "+split=3"]) {
  test(`tool calls in a stream can be put together: mock+tool=2${faults}`, async () => {
    const text = unique();
    const chunks = await chunksOf(stream(client, text, `mock+tool=2${faults}`, { tools: [weather] }));
    const calls = assembled(chunks);
    assert.deepEqual(
      calls.map((call) => [call.name, JSON.parse(call.arguments)]),
      [1, 2].map((days) => ["get_weather", { city: text, days }]),
    );
    assert.ok(calls.every((call) => call.id));
    assert.notEqual(calls[0].id, calls[1].id);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
  });
}

test("the client's own tool loop runs to its end", async () => {
  const text = unique();
  const asked = [];
  const tool = {
    type: "function",
    function: {
      ...weather.function,
      parse: JSON.parse,
      function: (wanted) => {
        asked.push(wanted);
        return "Rain.";
      },
    },
  };
  const runner = client.chat.completions.runTools(ask(text, "mock+tool", { tools: [tool], stream: true }));
  assert.ok(await runner.finalContent());
  assert.deepEqual(asked, [{ city: text, days: 1 }]);
  const [, second] = await received(text);
  assert.equal(second.body.messages.at(-1).content, "Rain.");
});

// Cached answers

/**
 * Asks until the answer comes from the cache, where it is put some 150 ms after the first answer has gone out.
 * And how often it did not come from there: `miss` before it is put there, `bypass` where the cache was slow.
 */
const fromCache = async (request, maySay = ["miss", "bypass"]) => {
  await new Promise((resolve) => setTimeout(resolve, 400));
  let misses = 0;
  const data = await until("an answer from the cache", async () => {
    const { data, response } = await client.chat.completions.create(request).withResponse();
    const says = response.headers.get("x-tollgate-cache");
    if (says === "exact") return data;
    assert.ok(maySay.includes(says), says);
    if (request.stream) await chunksOf(data);
    misses++;
  });
  return { data, misses };
};

test("a whole answer is replayed as a stream", async () => {
  const text = unique();
  const request = ask(text, "mock+text=emoji+tokens=30");
  const whole = await client.chat.completions.create(request);
  const first = await fromCache(request);
  assert.deepEqual(first.data, whole);
  const then = await fromCache({ ...request, stream: true, stream_options: { include_usage: true } }, ["bypass"]);
  const chunks = await chunksOf(then.data);
  assert.equal(content(chunks), whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
  assert.equal((await received(text)).length, 1 + first.misses + then.misses, "the provider is not asked");
});

test("a tool call is replayed as a stream", async () => {
  const request = ask(unique(), "mock+tool=2", { tools: [weather] });
  const whole = await client.chat.completions.create(request);
  await fromCache(request);
  const calls = assembled(await chunksOf(client.chat.completions.create({ ...request, stream: true })));
  assert.deepEqual(
    calls,
    whole.choices[0].message.tool_calls.map((call) => ({ id: call.id, ...call.function })),
  );
});

// Errors

test("an unknown key is an authentication error, and no retry mends it", async () => {
  const text = unique();
  const error = await failure(chat(newClient({ apiKey: "wrong", maxRetries: 2 }), text), OpenAI.AuthenticationError);
  assert.deepEqual([error.status, error.code, error.type], [401, "invalid_api_key", "authentication_error"]);
  assert.ok(error.requestID);
  assert.deepEqual(await received(text), []);
});

test("a model of others is a permission error", async () => {
  const text = unique();
  const error = await failure(chat(newClient({ apiKey: otherKey }), text, "renamed"), OpenAI.PermissionDeniedError);
  assert.deepEqual([error.code, error.param], ["model_not_allowed", "model"]);
  assert.deepEqual(await received(text), []);
});

for (const [fields, param] of [
  [{ messages: [] }, "messages"],
  [{ model: 5 }, "model"],
  [{ model: "" }, "model"],
  [{ stream_options: 5 }, "stream_options"],
]) {
  test(`a wrong field is a bad request that names it: ${JSON.stringify(fields)}`, async () => {
    const text = unique();
    const error = await failure(chat(client, "Hello", "mock", { user: text, ...fields }), OpenAI.BadRequestError);
    assert.deepEqual([error.code, error.param, error.type], ["invalid_request", param, "invalid_request_error"]);
    assert.deepEqual(await received(text), []);
  });
}

test("a path or a model that is not there is not found", async () => {
  const embeddings = client.embeddings.create({ model: "text-embedding-3-small", input: "Hello" });
  assert.equal((await failure(embeddings, OpenAI.NotFoundError)).code, "not_found");
  const model = await failure(client.models.retrieve("missing"), OpenAI.NotFoundError);
  assert.deepEqual([model.code, model.param], ["model_not_found", "model"]);
});

for (const [model, expected, status, code] of [
  ["mock+status=400+code=context_length_exceeded", OpenAI.BadRequestError, 400, "context_length_exceeded"],
  ["mock+status=403", OpenAI.PermissionDeniedError, 403, "unsupported_country_region_territory"],
  ["nope", OpenAI.NotFoundError, 404, "model_not_found"],
  ["mock+status=409", OpenAI.ConflictError, 409, null],
  ["mock+status=422", OpenAI.UnprocessableEntityError, 422, null],
  ["mock+status=429", OpenAI.RateLimitError, 429, "rate_limit_exceeded"],
  ["mock+status=500", OpenAI.InternalServerError, 500, null],
  ["mock+status=503", OpenAI.InternalServerError, 503, "overloaded"],
]) {
  for (const open of [chat, stream]) {
    test(`the provider's error is the client's own: ${model}, ${open === stream ? "streamed" : "whole"}`, async () => {
      const text = unique();
      const [through, direct] = [
        await failure(open(client, text, model), expected),
        await failure(open(provider, text, model), expected),
      ];
      assert.deepEqual([through.status, through.code], [status, code]);
      assert.deepEqual([through.error, through.message], [direct.error, direct.message]);
    });
  }
}

for (const [model, status, code] of [
  ["mock+truncated-json", 502, "upstream_failed"],
  ["mock+not-json", 502, "upstream_bad_reply"],
  ["impatient", 504, "upstream_timeout"],
]) {
  test(`a provider that gives nothing usable is an internal server error: ${model}`, async () => {
    const error = await failure(chat(client, unique(), model), OpenAI.InternalServerError);
    assert.deepEqual([error.status, error.code, error.type], [status, code, "server_error"]);
  });
}

for (const [model, code, heard] of [
  ["mock+cut=3", "upstream_failed", 3],
  ["mock+clean-cut=3", "upstream_truncated", 3],
  ["mock+clean-cut=0", "upstream_truncated", 0],
  ["mock+malformed=3", "upstream_bad_reply", 2],
  ["mock+error-in-stream=3", "server_error", 3],
  ["impatient-stream", "upstream_timeout", 3],
]) {
  test(`a stream that is not finished throws: ${model}`, async () => {
    const chunks = [];
    const listen = async () => {
      for await (const chunk of await stream(client, unique(), model)) chunks.push(chunk);
    };
    const error = await failure(listen(), OpenAI.APIError);
    assert.deepEqual([error.code, error.type], [code, "server_error"]);
    assert.equal(content(chunks).length, 4 * heard, "what came before the failure is handed on");
  });
}

test("a client that does not wait gets a timeout and asks again", async () => {
  const text = unique();
  const asking = chat(newClient({ maxRetries: 1, timeout: 2_000 }), text, "mock+silence");
  await failure(asking, OpenAI.APIConnectionTimeoutError);
  await until("both are asked", async () => (await statuses(text)).length === 2);
  assert.deepEqual(await statuses(text), [null, null]);
});

// Retries

test("a server error is retried by the gateway, and then by nobody", async () => {
  const text = unique();
  await failure(chat(patient, text, "mock+status=500"), OpenAI.InternalServerError);
  assert.deepEqual(await statuses(text), [500, 500, 500]);
  const counts = (await received(text)).map((entry) => entry.headers["x-stainless-retry-count"]);
  assert.deepEqual(counts, ["0", "0", "0"], "each try is the gateway's");
});

test("what is the request's own fault is not retried", async () => {
  for (const status of [400, 403, 404, 422]) {
    const text = unique();
    await failure(chat(patient, text, `mock+status=${status}`), OpenAI.APIError);
    assert.deepEqual(await statuses(text), [status]);
  }
});

test("the client waits as long as the provider says", async () => {
  const text = unique();
  await failure(chat(patient, text, "mock+status=429+retry-after-ms=1100"), OpenAI.RateLimitError);
  const times = (await received(text)).map((entry) => entry.received_at_ms);
  assert.equal(times.length, 3);
  // Left to itself it would wait at most 0.5 s, then at most 1 s.
  const waits = [times[1] - times[0], times[2] - times[1]];
  assert.ok(Math.min(...waits) >= 1_090, `${waits}`);
});

test("a provider that recovers is never noticed", async () => {
  const text = unique();
  const options = { headers: { "x-mock-id": text } };
  const request = ask(text, "mock+flaky=2+status=503+retry-after-ms=10", { stream: true });
  const chunks = await chunksOf(patient.chat.completions.create(request, options));
  assert.ok(content(chunks).includes(text));
  assert.deepEqual(await statuses(text), [503, 503, 200]);
});

for (const [model, status] of [["given-up", 500], ["given-up-unreachable", 502]]) {
  for (const open of [chat, stream]) {
    const how = open === stream ? "streamed" : "whole";
    test(`retries of gateway and client do not multiply: ${model}, ${how}`, async () => {
      const text = unique();
      const error = await failure(open(patient, text, model), OpenAI.InternalServerError);
      assert.deepEqual([error.status, error.headers.get("x-should-retry")], [status, "false"]);
      assert.equal((await received(text)).length, 3, "the gateway's budget, whatever the client's");
    });
  }
}

// Our own limit

test("over the limit is a rate limit error that says when to come back", async () => {
  const limited = newClient({ baseURL: limitedUrl, apiKey: limitedKey });
  const text = unique();
  await chat(limited, text, "mock+tokens=700", { max_tokens: 700 });
  const error = await failure(chat(limited, text, "mock+tokens=701", { max_tokens: 701 }), OpenAI.RateLimitError);
  assert.deepEqual([error.code, error.type, error.param], ["rate_limit_exceeded", "rate_limit_error", null]);
  const seconds = Number(error.headers.get("retry-after"));
  assert.ok(seconds >= 1 && seconds <= 120, `${seconds}`);
  assert.equal(error.headers.get("x-ratelimit-limit-tokens"), "1000");
  assert.deepEqual(await statuses(text), [200], "what is refused never reaches the provider");
});

test("a request larger than its limit is refused once and for all", async () => {
  let sent = 0;
  const counting = (...args) => (sent++, fetch(...args));
  const limited = newClient({ baseURL: limitedUrl, apiKey: limitedKey, maxRetries: 2, fetch: counting });
  const text = unique();
  const error = await failure(chat(limited, text, "mock", { max_tokens: 2_000 }), OpenAI.RateLimitError);
  assert.equal(error.headers.get("x-should-retry"), "false");
  assert.equal(sent, 1);
  assert.deepEqual(await received(text), []);
});
