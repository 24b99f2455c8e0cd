// The network as the npm client sees it: a `window` whose connection can be cut, and the `fetch` and `WebSocket` that
// the cut applies to. Must be loaded before aws-amplify, which looks at these globals while it loads.
//
// Invariants: 1. while cut, no request and no frame leaves or enters, whatever the client tries; 2. a sync query
// reaches the server only when every subscription is settled (see `waitForSubscriptions`).
'use strict';

const { EventEmitter, once } = require('node:events');
const net = require('node:net');
const { WebSocket } = require('ws');

// Long enough for a slow machine; a server that never acknowledges must not keep the sync queries back for ever.
const SUBSCRIPTIONS_WAIT_MS = 10_000;

const events = new EventEmitter();
// Every held request and every monitor of the client listens; none of them leaks, so the default warning is noise.
events.setMaxListeners(0);
const sockets = new Set();
const settled = new Map();
let cut = false;
let subscriptionsExpected = 0;

globalThis.window = {
	navigator: { onLine: true },
	addEventListener: (name, listener) => events.on(name, listener),
	removeEventListener: (name, listener) => events.off(name, listener),
};

class CuttableWebSocket extends WebSocket {
	constructor(url, protocols) {
		super(plainUrl(url), protocols, cut ? { createConnection: refusedConnection } : {});
		sockets.add(this);
		settled.set(this, new Set());
		this.on('message', text => this.#received(JSON.parse(text)));
		this.on('close', () => {
			sockets.delete(this);
			settled.delete(this);
		});
	}

	send(text, ...rest) {
		if (cut) return;
		const frame = JSON.parse(text);
		if (frame.type === 'stop') settled.get(this)?.delete(frame.id);
		super.send(text, ...rest);
	}

	#received({ type, id }) {
		// A refused subscription is settled too: waiting for it any longer would gain nothing.
		if (type !== 'start_ack' && type !== 'error') return;
		settled.get(this)?.add(id);
		events.emit('settled');
	}
}

// The client makes `wss:` of `http:` endpoints; the servers of these tests speak plain HTTP.
function plainUrl(url) {
	const { protocol, hostname } = new URL(url);
	const local = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
	return local && protocol === 'wss:' ? url.replace(/^wss:/, 'ws:') : url;
}

function refusedConnection() {
	const socket = new net.Socket();
	process.nextTick(() => socket.destroy(new Error('the network is cut')));
	return socket;
}

// The npm client announces its subscriptions before it has opened the socket, and runs the sync queries at the same
// time. A change that the server makes in between is missed until the next sync, which is no ground to build tests on.
// So the sync queries are late: to the client it looks like a slow connection, and nothing that it sends is changed.
async function waitForSubscriptions(signal) {
	const deadline = AbortSignal.any([signal, AbortSignal.timeout(SUBSCRIPTIONS_WAIT_MS)]);
	while (subscriptionsSettled() < subscriptionsExpected && !deadline.aborted) {
		await once(events, 'settled', { signal: deadline }).catch(() => undefined);
	}
}

function subscriptionsSettled() {
	return [...settled.values()].reduce((sum, ids) => sum + ids.size, 0);
}

const isSyncQuery = body => typeof body === 'string' && /^query[^{]*\{\s*sync/.test(JSON.parse(body).query);

const realFetch = globalThis.fetch;
let cutter = new AbortController();

async function cuttableFetch(resource, options = {}) {
	const { signal } = cutter;
	const joined = options.signal ? AbortSignal.any([options.signal, signal]) : signal;
	try {
		if (isSyncQuery(options.body)) await waitForSubscriptions(joined);
		return await realFetch(resource, { ...options, signal: joined });
	} catch (error) {
		// What a browser's `fetch` throws when there is no network.
		throw signal.aborted ? new TypeError('Failed to fetch') : error;
	}
}

globalThis.fetch = cuttableFetch;
globalThis.WebSocket = CuttableWebSocket;

// Cuts the network (false) or restores it (true). Requests on their way fail, as they do when a cable is pulled: the
// npm client gives a mutation up after three quick attempts, so wait for an empty outbox first if that matters.
function setOnline(online) {
	if (cut === !online) return;
	cut = !online;
	window.navigator.onLine = online;
	if (online) cutter = new AbortController();
	events.emit(online ? 'online' : 'offline');
	if (online) return;
	cutter.abort();
	for (const socket of sockets) socket.terminate();
}

module.exports = {
	setOnline,
	expectSubscriptions: count => {
		subscriptionsExpected = count;
	},
};
