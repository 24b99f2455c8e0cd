// Shows a recording: a lane for each actor, a row for each event. All text goes in as text, never as markup.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  // Rows that are drawn at once; more would make a browser slow.
  const ROWS_MAX = 300;
  const events = data.events;
  const state = { at: events.length - 1, reads: false, filter: '' };

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const link = (text, action) => {
    const button = make('button', text, { type: 'button' });
    button.addEventListener('click', action);
    return button;
  };
  const actor = (event) => (event.lane === null ? '?' : data.lanes[event.lane]);
  const span = (event) => (event.entries[0] === event.entries[1] ? 'e' + event.entries[0]
    : 'e' + event.entries[0] + ' to e' + event.entries[1]);

  const isShown = (event) => {
    if (!state.reads && (event.kind === 'draw' || event.kind === 'look') && !event.fault) return false;
    if (state.filter === '') return true;
    const entries = event.entries ? span(event) : '';
    return [actor(event), event.name, event.kind, event.says, event.fault, entries, event.order]
      .join(' ').toLowerCase().includes(state.filter);
  };
  // Places of the events that are shown; made anew when what is shown changes.
  let shown = [];
  const sift = () => {
    shown = [];
    events.forEach((event, place) => { if (isShown(event)) shown.push(place); });
  };

  // The other half of a call: its answer, or the question.
  const otherHalf = (event) => {
    if (event.call === null) return null;
    const kind = event.kind === 'call' ? 'answer' : 'call';
    const place = events.findIndex((other) => other.kind === kind && other.seat === event.seat && other.call === event.call);
    return place < 0 ? null : place;
  };

  // The first of the rows around the chosen event.
  const firstRow = () => {
    const behind = shown.findIndex((place) => place >= state.at);
    const middle = behind < 0 ? shown.length - 1 : behind;
    return Math.max(0, Math.min(middle - ROWS_MAX / 2, shown.length - ROWS_MAX));
  };

  const drawLanes = () => {
    const table = make('table', undefined, { class: 'lanes' });
    const head = table.createTHead().insertRow();
    for (const name of ['event', 'ms', ...data.lanes]) head.append(make('th', name, { scope: 'col' }));
    const body = table.createTBody();
    const first = firstRow();
    const rows = shown.slice(first, first + ROWS_MAX);
    let before = null;
    for (const place of rows) {
      const event = events[place];
      if (before !== null && event.order > before + 1 && place > 0 && events[place - 1].order + 1 < event.order) {
        const gap = body.insertRow().insertCell();
        gap.colSpan = data.lanes.length + 2;
        gap.className = 'fault';
        gap.textContent = (event.order - events[place - 1].order - 1) + ' events were dropped by the recorder';
      }
      before = event.order;
      const row = body.insertRow();
      row.className = event.kind + (event.fault ? ' fault' : '');
      row.setAttribute('aria-current', String(place === state.at));
      row.dataset.order = event.order;
      row.insertCell().append(link(String(event.order), () => go(place)));
      row.insertCell().textContent = event.ms;
      data.lanes.forEach((_, lane) => {
        const cell = row.insertCell();
        if (event.lane !== lane) return;
        cell.append(make('span', event.name, { class: 'kind' }));
        if (event.entries) cell.append(' ' + span(event));
        if (event.fault) cell.append(make('br'), make('small', event.fault));
      });
    }
    $('lanes').replaceChildren(table);
    $('range').textContent = rows.length === 0 ? 'no events'
      : 'events ' + events[rows[0]].order + ' to ' + events[rows[rows.length - 1]].order + ' of ' + data.total;
    $('older').disabled = first === 0;
    $('newer').disabled = first + ROWS_MAX >= shown.length;
    $('lanes').querySelector('[aria-current="true"]')?.scrollIntoView({ block: 'nearest' });
  };

  const drawEvent = () => {
    const event = events[state.at];
    if (!event) {
      $('event').replaceChildren(make('p', 'There are no events.'));
      return;
    }
    const kinds = {
      seated: 'the actor was made', input: 'the app said this to it', message: 'it handled a message', draw: 'it drew a random number',
      look: 'it looked at the store', call: 'it asked something of the outside', answer: 'the outside answered', frame: 'a frame arrived',
      sent: 'a frame was handed to the system', commit: 'it committed', end: 'the store was closed',
    };
    const run = event.run ? ', run ' + event.run : '';
    const parts = [make('p', 'Event ' + event.order + ', ' + event.ms + ' ms: ' + actor(event) + run + ', ' + event.name + ': '
      + (kinds[event.kind] || event.kind) + '.')];
    if (event.fault) parts.push(make('p', 'Went wrong: ' + event.fault, { class: 'fault' }));
    if (event.entries) parts.push(make('p', 'It made ' + span(event) + ' of the log: landfall log DIR show e' + event.entries[0]));
    else if (event.head !== null) parts.push(make('p', 'The newest entry was e' + event.head + '.'));
    const other = otherHalf(event);
    if (other !== null) {
      const line = make('p', event.kind === 'call' ? 'answered by ' : 'belongs to ');
      line.append(link('event ' + events[other].order, () => go(other)));
      parts.push(line);
    }
    if (event.says !== undefined) parts.push(make('pre', event.says));
    $('event').replaceChildren(...parts);
  };

  // The commits around the chosen event, by the entries that they made.
  const drawCommits = () => {
    const all = [];
    events.forEach((event, place) => { if (event.kind === 'commit' && (event.entries || event.fault)) all.push(place); });
    const behind = all.findIndex((place) => place > state.at);
    const middle = behind < 0 ? all.length : behind;
    const start = Math.max(0, Math.min(middle - 10, all.length - 20));
    const lines = all.slice(start, start + 20).map((place) => {
      const line = make('p');
      const event = events[place];
      line.append(link('event ' + event.order, () => go(place)), ' ' + (event.entries ? span(event) : event.fault));
      if (event.fault) line.className = 'fault';
      return line;
    });
    $('commits').replaceChildren(...(lines.length === 0 ? [make('p', 'None.')] : lines));
  };

  const draw = () => {
    const event = events[state.at];
    $('slider').value = state.at;
    $('position').textContent = event ? 'event ' + event.order + ', ' + event.ms + ' ms' : '';
    drawLanes();
    drawEvent();
    drawCommits();
  };

  const go = (place) => {
    state.at = Math.max(0, Math.min(events.length - 1, place));
    const event = events[state.at];
    if (event && location.hash !== '#' + event.order) history.replaceState(null, '', '#' + event.order);
    draw();
  };

  // The next event that is shown, in a direction.
  const step = (by) => {
    const here = shown.findIndex((place) => place >= state.at);
    const from = here < 0 ? shown.length : here;
    const next = by === 1 && here >= 0 && shown[here] > state.at ? from : from + by;
    const within = Math.max(0, Math.min(shown.length - 1, next));
    if (shown[within] !== undefined) go(shown[within]);
  };

  const fromHash = () => {
    const place = events.findIndex((event) => '#' + event.order === location.hash);
    if (place >= 0) state.at = place;
    draw();
  };

  const notes = [data.total + ' events, written by ' + data.writtenBy + (data.endpoint ? ', at ' + data.endpoint : '')];
  if (data.skipped > 0) notes.push('the first ' + data.skipped + ' are left out; --entries shows more');
  const wrong = data.wrongBefore.newest;
  if (wrong.length > 0) {
    notes.push('of those, ' + data.wrongBefore.count + ' went wrong, the last of them event ' + wrong[wrong.length - 1].order
      + ': ' + wrong[wrong.length - 1].fault);
  }
  notes.push(...data.notes);
  $('notes').textContent = notes.join('\n');
  $('title').textContent = 'Landfall recording: ' + data.title;
  document.title = data.title + ' - Landfall recording';
  $('slider').min = 0;
  $('slider').max = Math.max(0, events.length - 1);
  $('slider').addEventListener('input', (event) => go(Number(event.target.value)));
  $('back').addEventListener('click', () => step(-1));
  $('forth').addEventListener('click', () => step(1));
  $('older').addEventListener('click', () => step(-ROWS_MAX));
  $('newer').addEventListener('click', () => step(ROWS_MAX));
  $('fault').addEventListener('click', () => {
    const later = events.findIndex((event, place) => place > state.at && event.fault);
    const found = later < 0 ? events.findIndex((event) => event.fault) : later;
    if (found >= 0) go(found);
    else $('position').textContent = 'nothing went wrong';
  });
  $('reads').addEventListener('change', (event) => { state.reads = event.target.checked; sift(); draw(); });
  $('filter').addEventListener('input', (event) => { state.filter = event.target.value.toLowerCase(); sift(); drawLanes(); });
  window.addEventListener('hashchange', fromHash);
  sift();
  fromHash();
  document.body.dataset.ready = 'true';
})();
