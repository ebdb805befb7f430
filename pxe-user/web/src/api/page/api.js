// Requests to the server's API.

import { takeClock } from "./times.js";

let refused = () => {};
/** Sets the function that is called when the server requires a token. */
export function onRefused(callback) {
  refused = callback;
}

/** Sends a request, with a time limit of ten seconds. A 401 calls the function of `onRefused`. */
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
