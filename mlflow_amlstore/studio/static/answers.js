// What the server says when it refuses, and that it says nothing.

/** The server can't be reached. */
export class NotConnected extends Error {}

/** What a fetch gives, or the reading of its answer. Throws NotConnected where the network fails. */
export function connected(fetching) {
  return fetching.catch((cause) => {
    throw new NotConnected(cause.message, { cause });
  });
}

/** The sentence for a person in an answer that isn't a success. */
export async function refusal(response) {
  const text = await response.text();
  let message = "";
  try {
    const answer = JSON.parse(text);
    message = answer.message ?? answer.error?.message ?? "";
  } catch {
    if (text.length < 1000 && !text.trimStart().startsWith("<")) message = text;
  }
  return message || `The server answered ${response.status} ${response.statusText}`.trim();
}
