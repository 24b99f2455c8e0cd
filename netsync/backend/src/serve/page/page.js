// The page around GraphiQL: its views, the tables, the faults. Everything from the server is put in as text, never as markup.
'use strict';

const element = (id) => document.getElementById(id);

/** Makes an element with properties and children. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The key is kept for as long as the tab is open; `#key=...` in the address hands one over.
const key = element('key');
const handedOver = new URLSearchParams(location.hash.slice(1)).get('key');
if (handedOver !== null) {
  sessionStorage.setItem('key', handedOver);
  history.replaceState(null, '', location.pathname);
}
key.value = sessionStorage.getItem('key') ?? 'da2-landfall';
key.addEventListener('change', () => sessionStorage.setItem('key', key.value));

// ---- Views

const tabs = [...document.querySelectorAll('[role=tab]')];

function show(name) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', String(chosen));
    element(tab.getAttribute('aria-controls')).hidden = !chosen;
  }
  if (name === 'tables') showTables();
  if (name === 'faults') showFaults();
}

for (const tab of tabs) tab.addEventListener('click', () => show(tab.id.slice('tab-'.length)));

// ---- Calls

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
