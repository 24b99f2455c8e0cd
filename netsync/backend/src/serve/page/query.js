// GraphiQL on the page: how its operations are called, and how its subscriptions listen.
'use strict';

const MESSAGES_WAITING_MAX = 1000;

const FIRST_DOCUMENT = `# Ctrl+Enter runs the operation at the cursor. Subscriptions listen until they are stopped.
# An "Authorization" under "Headers" takes the place of the API key above.

`;

const status = element('status');

/** What proves who is calling: the headers of the editor, or else the key of the page. */
function credentialsOf(headers) {
  const names = Object.keys(headers).map((name) => name.toLowerCase());
  const enough = names.includes('x-api-key') || names.includes('authorization');
  return enough ? headers : { 'x-api-key': key.value, ...headers };
}

/** The operation that is meant. The editor notices a moment late that its text has changed, and names one that has gone. */
function operationOf(query, name) {
  const { getOperationAST, parse } = GraphiQL.GraphQL;
  try {
    const document = parse(query);
    return getOperationAST(document, name) ?? getOperationAST(document);
  } catch {
    // What cannot be read the server refuses, with the place.
    return undefined;
  }
}

async function call(request, credentials) {
  const begun = performance.now();
  let response;
  try {
    response = await fetch('/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...credentials },
      body: JSON.stringify(request),
    });
  } catch (error) {
    status.textContent = 'no answer';
    throw error;
  }
  const body = await response.json();
  status.textContent = `${response.status} in ${Math.round(performance.now() - begun)} ms`;
  return response.ok ? body : { status: response.status, ...body };
}

/** The payloads of a subscription as they come; ends when it is stopped or the connection does. */
function listen(request, credentials) {
  const authorization = { host: location.host, ...credentials };
  const handshake = btoa(JSON.stringify(authorization)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const socket = new WebSocket(`${scheme}://${location.host}/graphql/realtime`, ['graphql-ws', `header-${handshake}`]);
  const waiting = [];
  let ended = false;
  let wake = () => {};
  status.textContent = 'connecting';

  function deliver(payload) {
    if (waiting.length < MESSAGES_WAITING_MAX) waiting.push(payload);
    wake();
  }
  socket.addEventListener('open', () => socket.send(JSON.stringify({ type: 'connection_init' })));
  socket.addEventListener('message', (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type === 'connection_ack') {
      const data = JSON.stringify(request);
      socket.send(JSON.stringify({ id: '1', type: 'start', payload: { data, extensions: { authorization } } }));
    } else if (frame.type === 'start_ack') {
      status.textContent = 'listening';
    } else if (frame.type !== 'ka') {
      deliver(frame.payload ?? frame);
      if (frame.type === 'error') socket.close(1000);
    }
  });
  socket.addEventListener('close', (event) => {
    status.textContent = `closed (${event.code}${event.reason ? `, ${event.reason}` : ''})`;
    ended = true;
    wake();
  });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      while (waiting.length === 0 && !ended) await new Promise((resolve) => (wake = resolve));
      return waiting.length > 0 ? { done: false, value: waiting.shift() } : { done: true, value: undefined };
    },
    // GraphiQL stops an operation by this; a message that is waited for need not come any more.
    async return() {
      socket.close(1000);
      return { done: true, value: undefined };
    },
  };
}

function fetcher({ query, variables, operationName }, { headers } = {}) {
  const operation = operationOf(query, operationName);
  const request = { query, variables, operationName: operation ? operation.name?.value : (operationName ?? undefined) };
  const credentials = credentialsOf(headers ?? {});
  return operation?.operation === 'subscription' ? listen(request, credentials) : call(request, credentials);
}

const root = ReactDOM.createRoot(element('view-query'));

function render() {
  const properties = {
    // Another key may see another schema, so it begins anew.
    key: key.value,
    fetcher,
    // What was typed is kept for as long as the tab is open, and nowhere else.
    storage: sessionStorage,
    defaultQuery: FIRST_DOCUMENT,
    shouldPersistHeaders: false,
  };
  root.render(React.createElement(GraphiQL, properties, React.createElement(GraphiQL.Logo, {}, 'GraphiQL')));
}

key.addEventListener('change', render);
render();
