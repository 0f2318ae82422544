// Talks to a gateway with OpenAI's official client and prints what came back as JSON; test_gateway_clients.py judges it.
// node openai_client.mjs FOLDER URL [LIMITED_KEY]: FOLDER has node_modules; without a key a stream is left half-way.
import { createRequire } from "node:module";

const [folder, baseURL, limitedKey] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
// From another machine: there only real keys count.
const remote = (apiKey) =>
  new OpenAI({ baseURL, apiKey, maxRetries: 0, defaultHeaders: { "X-Forwarded-For": "203.0.113.9" } });
const question = { model: "jeeves", messages: [{ role: "user", content: "What is a node?" }] };

async function refusal(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    const { status, code, param } = error;
    return { kind: error.constructor.name, status, code, param, retryAfter: error.headers?.get("retry-after") };
  }
}

async function streamed() {
  const seen = { text: "", ids: [] };
  const stream = await client.chat.completions.create({
    ...question,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    seen.ids.push(chunk.id);
    seen.usage = chunk.usage;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.finishReason = choice.finish_reason;
      seen.annotations = choice.delta.annotations;
    }
  }
  return seen;
}

async function leftHalfWay() {
  const stream = await client.chat.completions.create({ ...question, stream: true });
  let text = "";
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    if (text) stream.controller.abort();
  }
  return { text, aborted: stream.controller.signal.aborted };
}

async function all() {
  const limited = remote(limitedKey);
  return {
    models: (await client.models.list()).data.map((model) => model.id),
    whole: await client.chat.completions.create(question),
    streamed: await streamed(),
    embedding: (await client.embeddings.create({ model: "jeeves", input: "a build agent" })).data[0].embedding,
    badRequest: await refusal(() => client.chat.completions.create({ ...question, n: 2 })),
    notFound: await refusal(() => client.chat.completions.create({ ...question, model: "gpt-9" })),
    unauthorized: await refusal(() => remote("wrong").chat.completions.create(question)),
    first: await refusal(() => limited.chat.completions.create(question)),
    rateLimited: await refusal(() => limited.chat.completions.create(question)),
  };
}

console.log(JSON.stringify(await (limitedKey ? all() : leftHalfWay())));
