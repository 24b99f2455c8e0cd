// The npm client of Amplify DataStore behind the line protocol of `landfall shell --json`: one JSON command a line on
// standard input, one JSON answer a line on standard output, in order; logs on standard error.
//
//   node client.js --schema FILE [--endpoint URL] [--api-key KEY]
//
// The store is IndexedDB in memory, and the client is made to behave as in a browser, where it reads and writes locally
// before the first sync is complete; in Node.js it would wait for it, for ever when offline.
//
// Two habits of the client to know: it hangs if it is stopped or cleared while a sync query is on its way, and it drops
// a mutation whose request fails three times in a row. Wait for `ready` or an empty outbox first.
'use strict';

// Before anything that may print: standard output belongs to the answers.
globalThis.console = new console.Console(process.stderr, process.stderr);

const readline = require('node:readline');
const { parseArgs } = require('node:util');

require('fake-indexeddb/auto');
const network = require('./network');
window.indexedDB = indexedDB;
require('@aws-amplify/datastore/dist/cjs/datastore/utils').isNode = () => false;

const { Amplify } = require('aws-amplify');
const { DataStore, initSchema, syncExpression, DISCARD, Predicates } = require('aws-amplify/datastore');
const { Hub } = require('aws-amplify/utils');
const internals = require('@aws-amplify/datastore/dist/cjs/datastore/datastore');
const { createOps } = require('./ops');
const { loadSchema } = require('./schema');

// A rejected promise that nobody awaits is the client's own business; it must not end the process.
process.on('unhandledRejection', error => console.error('unhandled rejection:', error));

const { values: options } = parseArgs({
	options: { schema: { type: 'string' }, endpoint: { type: 'string' }, 'api-key': { type: 'string' } },
});
if (!options.schema) {
	console.error('usage: node client.js --schema FILE [--endpoint URL] [--api-key KEY]');
	process.exit(2);
}

const schema = loadSchema(options.schema);
if (options.endpoint) {
	const apiKey = options['api-key'] ?? 'da2-none';
	const GraphQL = { endpoint: options.endpoint, region: 'us-east-1', defaultAuthMode: 'apiKey', apiKey };
	Amplify.configure({ API: { GraphQL } });
	// Creations, updates and deletions of every model.
	network.expectSubscriptions(3 * Object.values(schema.models).filter(({ syncable }) => syncable).length);
}

const classes = initSchema(schema);
const ops = createOps({
	amplify: { DataStore, DISCARD, Hub, Predicates, syncExpression },
	classes,
	MutationEvent: internals.syncClasses.MutationEvent,
	schema,
	network,
	synced: options.endpoint !== undefined,
});

const answer = value => process.stdout.write(`${JSON.stringify(value)}\n`);

async function main() {
	for await (const line of readline.createInterface({ input: process.stdin })) {
		if (line.trim() === '') continue;
		try {
			const { op, ...args } = JSON.parse(line);
			if (op === 'exit') break;
			if (!Object.hasOwn(ops, op)) throw new Error(`unknown op \`${op}\``);
			answer({ ok: (await ops[op](args)) ?? null });
		} catch (error) {
			answer({ err: String(error?.message ?? error) });
		}
	}
	process.exit(0);
}

main();
