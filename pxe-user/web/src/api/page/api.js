// The server's API: a request and its answer.

import { takeClock } from "./times.js";

let refused = () => {};
/** Names what is called when the server wants a token. */
export function onRefused(callback) {
  refused = callback;
}

/** Asks the API, for ten seconds at most. A 401 is told to whom `onRefused` has named. */
export async function request(path, options = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 10000);
  try {
    const answer = await fetch(`api/v1/${path}`, { ...options, signal: stop.signal, cache: "no-store" });
    if (answer.status === 401) refused();
    return answer;
  } finally {
    clearTimeout(timer);
  }
}

export async function read(path) {
  const answer = await request(path);
  if (!answer.ok) throw Object.assign(new Error(`HTTP ${answer.status}`), { status: answer.status });
  takeClock(Date.parse(answer.headers.get("date")));
  return answer.json();
}
