// The page to explore the API with. Everything from the server is put in as text, never as markup.
'use strict';

const MESSAGES_MAX = 200;
const HISTORY_BYTES_MAX = 64 * 1024;
const element = (id) => document.getElementById(id);

/** Makes an element with properties and children. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const pretty = (value) => JSON.stringify(value, null, 2);

// The key is kept for as long as the tab is open; `#key=...` in the address hands one over.
const key = element('key');
const handedOver = new URLSearchParams(location.hash.slice(1)).get('key');
if (handedOver !== null) {
  sessionStorage.setItem('key', handedOver);
  history.replaceState(null, '', location.pathname);
}
key.value = sessionStorage.getItem('key') ?? 'da2-landfall';
key.addEventListener('change', () => {
  sessionStorage.setItem('key', key.value);
  schema = undefined;
});

// ---- Views

const tabs = [...document.querySelectorAll('[role=tab]')];

function show(name) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', String(chosen));
    element(tab.getAttribute('aria-controls')).hidden = !chosen;
  }
  if (name === 'docs') showDocs();
  if (name === 'tables') showTables();
  if (name === 'faults') showFaults();
}

for (const tab of tabs) tab.addEventListener('click', () => show(tab.id.slice('tab-'.length)));

// ---- Calls

async function call(query, variables, operationName) {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key.value },
    body: JSON.stringify({ query, variables, operationName }),
  });
  const text = await response.text();
  try {
    return { status: response.status, body: JSON.parse(text) };
  } catch {
    return { status: response.status, body: text };
  }
}

async function admin(path, commands) {
  const response = await fetch(`/_admin${path}`, {
    method: commands ? 'POST' : 'GET',
    headers: { 'content-type': 'application/json', 'x-landfall-admin': '1' },
    body: commands && JSON.stringify({ faults: commands }),
  });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

// ---- Query

const query = element('query');
const variables = element('variables');
const operation = element('operation');
query.value = sessionStorage.getItem('query') ?? '{\n  __schema {\n    queryType {\n      fields {\n        name\n      }\n    }\n  }\n}\n';
variables.value = sessionStorage.getItem('variables') ?? '';

/** The operations of a document: kind and name, comments and strings left out. */
function operationsOf(text) {
  const bare = text.replace(/"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*/g, ' ');
  const found = [];
  let depth = 0;
  for (const [token] of bare.matchAll(/[{}()]|\b(?:query|mutation|subscription|fragment)\b(?:\s+[_A-Za-z]\w*)?/g)) {
    if (token === '{' || token === '(') {
      if (depth === 0 && token === '{' && found.at(-1)?.open !== true) found.push({ kind: 'query', name: undefined });
      depth += 1;
    } else if (token === '}' || token === ')') {
      depth -= 1;
      if (depth === 0 && token === '}' && found.length > 0) found.at(-1).open = false;
    } else if (depth === 0) {
      const [kind, name] = token.split(/\s+/);
      found.push({ kind, name, open: true });
    }
  }
  return found.filter((one) => one.kind !== 'fragment');
}

function listOperations() {
  const names = operationsOf(query.value).map((one) => one.name).filter(Boolean);
  const chosen = operation.value;
  operation.replaceChildren(...names.map((name) => make('option', { value: name, textContent: name })));
  if (names.includes(chosen)) operation.value = chosen;
  operation.hidden = names.length < 2;
}

async function run() {
  const status = element('status');
  const result = element('result');
  for (const [name, value] of [['query', query.value], ['variables', variables.value]]) {
    if (value.length <= HISTORY_BYTES_MAX) sessionStorage.setItem(name, value);
  }
  let given;
  try {
    given = variables.value.trim() === '' ? undefined : JSON.parse(variables.value);
  } catch (error) {
    result.textContent = `The variables are no JSON: ${error.message}`;
    return;
  }
  listOperations();
  const operations = operationsOf(query.value);
  const name = operation.hidden ? undefined : operation.value;
  const chosen = operations.find((one) => one.name === name) ?? operations[0];
  if (chosen?.kind === 'subscription') return listen(query.value, given, name);
  status.textContent = 'running';
  const begun = performance.now();
  try {
    const { status: code, body } = await call(query.value, given, name);
    result.textContent = typeof body === 'string' ? body : pretty(body);
    status.textContent = `${code} in ${Math.round(performance.now() - begun)} ms`;
  } catch (error) {
    result.textContent = '';
    status.textContent = `no answer: ${error.message}`;
  }
}

element('run').addEventListener('click', run);
query.addEventListener('input', listOperations);
for (const editor of [query, variables]) {
  editor.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
}
listOperations();

// ---- Live

let socket;
const live = element('live');
const liveStatus = element('live-status');

function tell(text) {
  const time = new Date().toISOString().slice(11, 23);
  live.prepend(make('div', { textContent: `${time} ${text}` }));
  while (live.childElementCount > MESSAGES_MAX) live.lastElementChild.remove();
}

function listen(text, given, name) {
  socket?.close(1000);
  const authorization = { host: location.host, 'x-api-key': key.value };
  const handshake = btoa(JSON.stringify(authorization)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const own = new WebSocket(`${scheme}://${location.host}/graphql/realtime`, ['graphql-ws', `header-${handshake}`]);
  socket = own;
  liveStatus.textContent = 'connecting';
  element('live-stop').hidden = false;
  own.addEventListener('open', () => own.send(JSON.stringify({ type: 'connection_init' })));
  own.addEventListener('message', (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type === 'connection_ack') {
      const data = JSON.stringify({ query: text, variables: given, operationName: name });
      own.send(JSON.stringify({ id: '1', type: 'start', payload: { data, extensions: { authorization } } }));
    } else if (frame.type === 'start_ack') {
      liveStatus.textContent = 'listening';
    } else if (frame.type !== 'ka') {
      tell(pretty(frame.payload ?? frame));
      if (frame.type === 'error') own.close(1000);
    }
  });
  own.addEventListener('close', (event) => {
    if (socket !== own) return;
    liveStatus.textContent = `closed (${event.code}${event.reason ? `, ${event.reason}` : ''})`;
    element('live-stop').hidden = true;
  });
}

element('live-stop').addEventListener('click', () => socket?.close(1000));
element('live-clear').addEventListener('click', () => live.replaceChildren());

// ---- Docs

let schema;
const TYPE_REFERENCE = 'kind name ofType { kind name ofType { kind name ofType { kind name } } }';
const INTROSPECTION = `{ __schema { queryType { name } mutationType { name } subscriptionType { name } types {
  kind name description
  fields(includeDeprecated: true) { name description args { name defaultValue type { ${TYPE_REFERENCE} } } type { ${TYPE_REFERENCE} } }
  inputFields { name defaultValue type { ${TYPE_REFERENCE} } }
  enumValues(includeDeprecated: true) { name } } } }`;

function typeText(type) {
  if (type.kind === 'NON_NULL') return `${typeText(type.ofType)}!`;
  if (type.kind === 'LIST') return `[${typeText(type.ofType)}]`;
  return type.name;
}

function typeName(type) {
  return type.ofType ? typeName(type.ofType) : type.name;
}

const typeButton = (type) =>
  make('button', { textContent: typeText(type), onclick: () => showType(typeName(type)) });

async function showDocs() {
  if (schema === undefined) {
    const { status, body } = await call(INTROSPECTION);
    schema = body.data?.__schema;
    if (!schema) {
      element('docs-type').textContent = `The schema cannot be read (${status}): ${pretty(body.errors ?? body)}`;
      return;
    }
    showType(schema.queryType.name);
  }
  listTypes();
}

function listTypes() {
  const wanted = element('docs-search').value.toLowerCase();
  const rows = [];
  for (const type of schema?.types ?? []) {
    if (type.name.startsWith('__')) continue;
    const fields = [...(type.fields ?? []), ...(type.inputFields ?? []), ...(type.enumValues ?? [])];
    const hits = wanted ? fields.filter((field) => field.name.toLowerCase().includes(wanted)) : [];
    if (wanted && hits.length === 0 && !type.name.toLowerCase().includes(wanted)) continue;
    const label = hits.length > 0 ? `${type.name}: ${hits.map((hit) => hit.name).join(', ')}` : type.name;
    rows.push(make('li', {}, make('button', { textContent: label, onclick: () => showType(type.name) })));
  }
  element('docs-list').replaceChildren(...rows);
}

function showType(name) {
  const type = schema.types.find((one) => one.name === name);
  if (!type) return;
  const fields = [...(type.fields ?? []), ...(type.inputFields ?? []), ...(type.enumValues ?? [])];
  element('docs-type').replaceChildren(
    make('h2', { textContent: `${type.kind.toLowerCase().replace('_', ' ')} ${type.name}` }),
    make('p', { className: 'quiet', textContent: type.description ?? '' }),
    ...fields.map((field) => {
      const row = make('div', { className: 'field' }, make('strong', { textContent: field.name }));
      if (field.type) row.append(': ', typeButton(field.type));
      if (field.defaultValue) row.append(` = ${field.defaultValue}`);
      for (const argument of field.args ?? []) {
        row.append(make('p', {}, '\u00a0\u00a0', `${argument.name}: `, typeButton(argument.type)));
      }
      return row;
    }),
  );
}

element('docs-search').addEventListener('input', listTypes);

// ---- Tables

let nextPage = null;

async function showTables() {
  const model = element('table-model');
  if (model.options.length === 0) {
    const { models } = await admin('');
    model.replaceChildren(...models.map((name) => make('option', { value: name, textContent: name })));
  }
  await loadTable(null);
}

async function loadTable(after) {
  const parameters = new URLSearchParams({ changes: String(element('table-changes').checked) });
  if (after !== null) parameters.set('after', after);
  const status = element('table-status');
  try {
    const model = encodeURIComponent(element('table-model').value);
    const { rows, next } = await admin(`/tables/${model}?${parameters}`);
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const cells = (row) =>
      columns.map((column) => {
        const text = row[column] === undefined ? '' : typeof row[column] === 'string' ? row[column] : JSON.stringify(row[column]);
        return make('td', { textContent: text, title: text });
      });
    element('table').replaceChildren(
      make('thead', {}, make('tr', {}, ...columns.map((column) => make('th', { textContent: column })))),
      make('tbody', {}, ...rows.map((row) => make('tr', { className: row._deleted ? 'gone' : '' }, ...cells(row)))),
    );
    nextPage = next;
    element('table-next').hidden = next === null;
    status.textContent = `${rows.length} rows${next === null ? '' : ', there are more'}`;
  } catch (error) {
    status.textContent = error.message;
  }
}

element('table-model').addEventListener('change', () => loadTable(null));
element('table-changes').addEventListener('change', () => loadTable(null));
element('table-first').addEventListener('click', () => loadTable(null));
element('table-next').addEventListener('click', () => loadTable(nextPage));

// ---- Faults

const COMMON_FAULTS = ['fail=503*3', 'fail=401*1', 'delay=2000*all', 'throttle=5', 'lose-requests=1', 'lose-replies=1',
  'max-conflicts=1', 'drop-messages=1', 'duplicate-messages=1', 'pause-messages', 'resume-messages', 'cut-sockets',
  'clock=+86400000', 'purge', 'clear'];
element('fault-list').replaceChildren(...COMMON_FAULTS.map((value) => make('option', { value })));

async function showFaults(...commands) {
  const problem = element('fault-error');
  try {
    const state = commands.length > 0 ? await admin('/faults', commands) : await admin('');
    const lines = [
      ['On', state.faults.join(', ') || 'nothing'],
      ['Clock', new Date(state.clockMs).toISOString()],
      ['Realtime', `${state.connections} connections, ${state.subscriptions} subscriptions`],
    ];
    element('fault-state').replaceChildren(
      ...lines.flatMap(([name, text]) => [make('dt', { textContent: name }), make('dd', { textContent: text })]),
    );
    problem.textContent = '';
  } catch (error) {
    problem.textContent = error.message;
  }
}

element('fault-form').addEventListener('submit', (event) => {
  event.preventDefault();
  showFaults(element('fault').value.trim());
});
element('fault-clear').addEventListener('click', () => showFaults('clear'));
element('fault-refresh').addEventListener('click', () => showFaults());
