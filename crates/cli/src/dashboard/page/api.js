// The REST API. Every failure is an Error whose message is for people.

/** The answer to `GET /api/v1/<path>`; undefined parameters are left out. */
export function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined));
  return request(`/api/v1/${path}${query.size ? `?${query}` : ''}`, {});
}

/** The answer to `POST /api/v1/<path>`. */
export function post(path, body) {
  return request(`/api/v1/${path}`, {
    method: 'POST',
    // No other site can make a browser send this header: it is what proves that the request is ours.
    headers: { 'Content-Type': 'application/json', 'X-Shardwright': '1' },
    body: JSON.stringify(body),
  });
}

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new Error('The dashboard did not answer.');
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error ?? `The dashboard answered with status ${response.status}.`);
  return answer;
}
