// Shows the states that the program folded; folds nothing by itself. All text goes in as text, never as markup.
'use strict';
(() => {
  // Replaced as a whole when the store has more; `live` says whether it may have.
  let data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  // Most rows of a table or list that are drawn at once; more would make a browser slow.
  const ROWS_MAX = 500;
  // Time between two questions whether there is more, in milliseconds.
  const ASK_EVERY = 1000;
  const CANNOT = 'Cannot follow the store: ';
  const before = () => data.from - 1;
  const state = { at: data.to, record: null, filter: '' };

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const time = (ms) => {
    const date = new Date(ms);
    return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
  };
  const show = (value) => (value === null || value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));
  const keyOf = (entry) => (entry.model === undefined || entry.id === undefined ? null
    : entry.model + '/' + (Array.isArray(entry.id) ? entry.id.join('#') : entry.id));
  const entryAt = (seq) => data.entries.find((entry) => entry.seq === seq);

  // The last step of a record that is not after an entry.
  const stepAt = (record, seq) => {
    let found = null;
    for (const step of record.steps) {
      if (step.seq > seq) break;
      found = step;
    }
    return found;
  };

  // Longest word that is kept whole in a table, in letters.
  const WORD_MAX = 20;
  // Has a cell break its words if one of them is too long for a column.
  const fit = (cell) => {
    if (cell.textContent.split(/\s+/).some((word) => word.length > WORD_MAX)) cell.classList.add('long');
  };

  const table = (headers, rows) => {
    const element = make('table');
    const head = element.createTHead().insertRow();
    for (const header of headers) head.append(make('th', header, { scope: 'col' }));
    for (const cell of head.cells) fit(cell);
    const body = element.createTBody();
    for (const cells of rows.slice(0, ROWS_MAX)) {
      const row = body.insertRow();
      for (const cell of cells) {
        const td = row.insertCell();
        if (cell instanceof Node) td.append(cell);
        else td.textContent = show(cell);
        fit(td);
      }
    }
    if (rows.length > ROWS_MAX) {
      const cell = body.insertRow().insertCell();
      cell.colSpan = headers.length;
      cell.textContent = (rows.length - ROWS_MAX) + ' more';
    }
    return element;
  };

  const link = (text, action) => {
    const button = make('button', text, { type: 'button' });
    button.addEventListener('click', action);
    return button;
  };

  const drawEntries = () => {
    const wanted = state.filter.toLowerCase();
    const text = (entry) => [entry.kind, keyOf(entry), entry.text, entry.origin, 'e' + entry.seq].join(' ').toLowerCase();
    const matching = data.entries.filter((entry) => wanted === '' || text(entry).includes(wanted));
    // The entries around the chosen one.
    const index = matching.findIndex((entry) => entry.seq >= state.at);
    const middle = index < 0 ? matching.length - 1 : index;
    const start = Math.max(0, Math.min(middle - ROWS_MAX / 2, matching.length - ROWS_MAX));
    const items = matching.slice(start, start + ROWS_MAX).map((entry) => {
      const item = make('li');
      const button = link('', () => go(entry.seq, keyOf(entry)));
      button.append('e' + entry.seq + ' ', make('span', entry.kind, { class: 'kind' }), ' ' + (keyOf(entry) || entry.model || ''));
      if (entry.text) button.append(make('br'), make('small', entry.text));
      if (entry.seq > state.at) button.className = 'later';
      button.setAttribute('aria-current', String(entry.seq === state.at));
      item.append(button);
      return item;
    });
    $('entries').replaceChildren(...items);
    $('entries').querySelector('[aria-current="true"]')?.scrollIntoView({ block: 'nearest' });
  };

  const drawRecords = () => {
    const parts = [];
    for (const model of data.models || []) {
      const rows = [];
      let count = 0;
      for (const [key, record] of Object.entries(data.records)) {
        if (record.model !== model.name) continue;
        const step = stepAt(record, state.at);
        if (!step || !step.row) continue;
        count += 1;
        const previous = step.seq === state.at ? stepAt(record, state.at - 1) : step;
        const cells = model.fields.map((field) => {
          const changed = !previous || !previous.row || show(previous.row[field]) !== show(step.row[field]);
          const cell = make('span', show(step.row[field]));
          if (changed && show(step.row[field]) !== '') cell.className = 'changed';
          return cell;
        });
        const version = make('span', step.version === null ? 'local' : 'v' + step.version);
        if (step.pending.length > 0) {
          version.className = 'pending';
          version.append(' +' + step.pending.length);
        }
        rows.push([link(record.id, () => go(state.at, key)), ...cells, version]);
      }
      parts.push(make('h3', model.name + ' (' + count + ')'));
      if (rows.length > 0) parts.push(table(['', ...model.fields, 'server'], rows));
    }
    $('records').replaceChildren(...parts);
  };

  // A conflict from both sides: what both began with, what each made of it, and whose value stands.
  const drawSides = (sides) => {
    const value = (side, changed, wins) => {
      const cell = make('span', side === null ? '(not there)' : show(side));
      if (changed) cell.classList.add('changed');
      if (wins) cell.classList.add('wins');
      return cell;
    };
    const version = (number) => (number === null ? '' : ' (version ' + number + ')');
    const rows = sides.fields.map((field) => [
      field.field,
      value(field.base, false, false),
      value(field.ours, field.oursChanged, field.winner === 'this store' || field.winner === 'both'),
      value(field.theirs, field.theirsChanged, field.winner === 'the server' || field.winner === 'both'),
      field.winner,
      value(field.after, false, false),
    ]);
    const element = table(['field', 'before' + version(sides.baseVersion), 'this store: ' + sides.ours,
      'the server: ' + sides.theirs + version(sides.theirVersion), 'who won', 'then here'], rows);
    element.className = 'sides';
    return [make('h3', 'Both sides'), ...sides.verdict.map((sentence) => make('p', sentence, { class: 'verdict' })), element];
  };

  const drawEntry = () => {
    const entry = entryAt(state.at);
    if (!entry) {
      $('entry').replaceChildren(make('p', 'Before the first entry on this page.'));
      return;
    }
    const parts = [];
    if (entry.text) parts.push(make('p', entry.text));
    if (entry.cause !== null && entry.cause !== undefined) {
      const because = make('p', 'because of ');
      because.append(link('e' + entry.cause, () => go(entry.cause)));
      parts.push(because);
    }
    const led = data.entries.filter((other) => other.cause === entry.seq).slice(0, ROWS_MAX);
    if (led.length > 0) {
      const to = make('p', 'led to ');
      for (const other of led) to.append(link('e' + other.seq + ' ' + other.kind, () => go(other.seq)), ' ');
      parts.push(to);
    }
    if (entry.sides) parts.push(...drawSides(entry.sides));
    const { text, sides, ...rest } = entry;
    parts.push(make('pre', JSON.stringify(rest, null, 1)));
    $('entry').replaceChildren(...parts);
  };

  const drawRecord = () => {
    const record = state.record && data.records[state.record];
    if (!record) {
      $('record').replaceChildren(make('p', 'Choose a record or an entry.'));
      return;
    }
    const step = stepAt(record, state.at);
    const steps = record.steps.filter((one) => one.text).map((one) => {
      const told = make('span', one.text);
      if (one.seq > state.at) told.style.opacity = '.45';
      return [link('e' + one.seq, () => go(one.seq, state.record)), told];
    });
    $('record').replaceChildren(
      make('h3', state.record),
      make('pre', step && step.row ? JSON.stringify(step.row, null, 1) : 'not there for the app'),
      table(['entry', 'what happened'], steps),
    );
  };

  const drawOutbox = () => {
    const waiting = [];
    for (const [key, record] of Object.entries(data.records)) {
      const step = stepAt(record, state.at);
      for (const mutation of step ? step.pending : []) waiting.push([mutation, key]);
    }
    waiting.sort((a, b) => a[0].mutation - b[0].mutation);
    $('outbox').replaceChildren(waiting.length === 0 ? make('p', 'Nothing.') : table(
      ['', 'record', 'kind', 'stage', 'fields'],
      waiting.map(([mutation, key]) => ['e' + mutation.mutation, link(key, () => go(state.at, key)), mutation.kind, mutation.stage, mutation.fields]),
    ));
  };

  const drawSync = () => {
    const newest = new Map();
    for (const cursor of data.cursors) if (cursor.seq <= state.at) newest.set(cursor.model, cursor);
    const told = (ms) => (ms === null ? 'never' : time(ms));
    $('sync').replaceChildren(newest.size === 0 ? make('p', 'Never synced.') : table(
      ['model', 'last sync', 'last full sync', 'under way'],
      [...newest.values()].map((cursor) => [cursor.model, told(cursor.lastSyncMs), told(cursor.lastFullSyncMs),
        cursor.received === null ? '' : cursor.received + ' received']),
    ));
  };

  const draw = () => {
    const entry = entryAt(state.at);
    $('slider').value = state.at;
    $('position').textContent = 'after e' + state.at + (entry && entry.atMs !== undefined ? ', ' + time(entry.atMs) : '');
    drawEntries();
    drawRecords();
    drawEntry();
    drawRecord();
    drawOutbox();
    drawSync();
  };

  const go = (seq, record) => {
    state.at = Math.max(before(), Math.min(data.to, seq));
    if (record !== undefined && record !== null) state.record = record;
    const hash = '#e' + state.at + (state.record ? '/' + encodeURIComponent(state.record) : '');
    if (location.hash !== hash) history.replaceState(null, '', hash);
    draw();
  };

  const fromHash = () => {
    const match = /^#e(\d+)(?:\/(.*))?$/.exec(location.hash);
    if (match) go(Number(match[1]), match[2] ? decodeURIComponent(match[2]) : null);
    else draw();
  };

  // What is said of the log as a whole.
  const drawNotes = () => {
    const notes = ['e' + data.first + ' to e' + data.newest];
    if (data.from > data.first) notes.push('this page begins with e' + data.from);
    if (data.redacted) notes.push('values are replaced');
    if (data.quietLeftOut > 0) notes.push(data.quietLeftOut + ' records that did not change are left out');
    for (const what of data.damage) notes.push('damaged: ' + what);
    if (data.onlyTouched) notes.push('only records that the entries shown are about are here');
    $('notes').textContent = notes.join('\n');
    $('title').textContent = 'Landfall log: ' + data.title;
    document.title = data.title + ' - Landfall log';
    $('slider').min = before();
    $('slider').max = data.to;
  };

  // Whoever looks at the newest entry goes along with the store; whoever looks at an older one stays there.
  const follow = (fresh) => {
    const goesAlong = state.at === data.to;
    const more = fresh.to - data.to;
    data = fresh;
    drawNotes();
    if (goesAlong) go(data.to);
    else go(state.at);
    $('live').textContent = goesAlong ? 'Follows the store.' : 'The store has gone on by ' + more + ' to e' + data.to + '.';
  };

  const ask = async () => {
    try {
      const answer = await fetch('/data?after=' + data.to, { cache: 'no-store' });
      if (answer.status === 200) follow(await answer.json());
      else if (answer.status !== 204) $('live').textContent = CANNOT + await answer.text();
      else if ($('live').textContent.startsWith(CANNOT)) $('live').textContent = 'Follows the store.';
    } catch {
      $('live').textContent = 'The program that served this page has ended; nothing is added any more.';
    }
    setTimeout(ask, ASK_EVERY);
  };

  drawNotes();
  $('slider').addEventListener('input', (event) => go(Number(event.target.value)));
  $('back').addEventListener('click', () => go(state.at - 1));
  $('forth').addEventListener('click', () => go(state.at + 1));
  $('filter').addEventListener('input', (event) => { state.filter = event.target.value; drawEntries(); });
  window.addEventListener('hashchange', fromHash);
  fromHash();
  if (data.live) {
    $('live').textContent = 'Follows the store.';
    setTimeout(ask, ASK_EVERY);
  }
  document.body.dataset.ready = 'true';
})();
