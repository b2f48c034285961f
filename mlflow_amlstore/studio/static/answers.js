// What the server says when it refuses.

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
