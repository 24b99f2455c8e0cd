// The operations of the line protocol, each a function of the command's keys.
'use strict';

const { performance } = require('node:perf_hooks');
const { setTimeout: pause } = require('node:timers/promises');
const { isDeepStrictEqual } = require('node:util');

const { Inbox } = require('./inbox');
const { Records, sortOrder } = require('./records');
const { conflictHandler } = require('./conflict');

const WAIT_MS_DEFAULT = 10_000;
// How long `start` waits for the first sync before it answers all the same.
const START_WAIT_MS = 60_000;
// How often a wait looks: far below what a person or a test would notice, far above the cost of a look.
const LOOK_EVERY_MS = 10;

function createOps({ amplify, classes, MutationEvent, schema, network, synced }) {
	const { DataStore, DISCARD, Hub, Predicates, syncExpression } = amplify;
	const records = new Records(schema, classes);
	const inboxes = {
		changes: new Inbox(),
		snapshots: new Inbox(),
		hub: new Inbox(),
		errors: new Inbox(),
		conflicts: new Inbox(),
	};
	const settings = { conflict: 'remote' };
	// Whether the client has said `ready` since it was last stopped.
	let ready = false;

	const fetchOne = (model, id) => DataStore.query(records.class(model), records.key(model, id));

	async function resolveFields(fields) {
		const resolved = {};
		for (const [name, value] of Object.entries(fields)) {
			resolved[name] = value?.$ref ? await related(value.$ref) : value;
		}
		return resolved;
	}

	async function related([model, id]) {
		const instance = await fetchOne(model, id);
		if (!instance) throw new Error(`no ${model} with id ${JSON.stringify(id)} to refer to`);
		return instance;
	}

	async function outboxInOrder() {
		if (!DataStore.storage) return [];
		return DataStore.storage.query(MutationEvent);
	}

	DataStore.configure({
		errorHandler: error => {
			const { message, errorType, errorInfo = null, process, operation = null, model } = error;
			const { localModel, remoteModel } = error;
			inboxes.errors.put(plain({ message, errorType, errorInfo, process, operation, model, localModel, remoteModel }));
		},
		conflictHandler: conflictHandler({
			strategy: () => settings.conflict,
			told: conflict => inboxes.conflicts.put(conflict),
			inFlight: async () => {
				const id = DataStore.sync?.outbox.inProgressMutationEventId;
				return (await outboxInOrder()).find(event => event.id === id);
			},
			records,
			DISCARD,
		}),
	});

	Hub.listen('datastore', ({ payload }) => {
		if (payload.event === 'ready') ready = true;
		const { model, element, ...data } = payload.data ?? {};
		if (model) data.model = model.name;
		if (element) data.element = records.answer(model.name, element);
		inboxes.hub.put({ event: payload.event, data: payload.data ? plain(data) : null });
	});

	return {
		async configure({ conflict, syncExpressions, syncPageSize, maxRecordsToSync, fullSyncInterval }) {
			if (conflict !== undefined) {
				if (!['remote', 'local'].includes(conflict)) throw new Error('conflict is "remote" or "local"');
				settings.conflict = conflict;
			}
			const expressions = syncExpressions?.map(([model, tree]) =>
				// A producer of the predicate: the client tells the two apart by calling it without arguments.
				syncExpression(records.class(model), () => records.predicate(model, tree) ?? Predicates.ALL),
			);
			const config = { syncExpressions: expressions, syncPageSize, maxRecordsToSync, fullSyncInterval };
			DataStore.configure(config);
			return true;
		},

		async start() {
			await DataStore.start();
			// Complete means in sync, or known to be offline: the client is `ready` in both cases.
			const deadline = performance.now() + START_WAIT_MS;
			while (synced && !ready && performance.now() < deadline) await pause(LOOK_EVERY_MS);
			return true;
		},

		async stop() {
			await DataStore.stop();
			ready = false;
			return true;
		},

		async clear() {
			await DataStore.clear();
			ready = false;
			return true;
		},

		async save({ model, fields, where }) {
			const Model = records.class(model);
			const instance = new Model(await resolveFields(fields));
			return records.answer(model, await DataStore.save(instance, records.predicate(model, where)));
		},

		async update({ model, id, fields, where }) {
			const instance = await fetchOne(model, id);
			if (!instance) throw new Error(`no ${model} with id ${JSON.stringify(id)} to update`);
			const changes = await resolveFields(fields);
			const changed = records.class(model).copyOf(instance, draft => Object.assign(draft, changes));
			return records.answer(model, await DataStore.save(changed, records.predicate(model, where)));
		},

		async delete({ model, id, where, all }) {
			const condition = records.predicate(model, where);
			if (id === undefined) {
				const matching = all ? Predicates.ALL : condition;
				const deleted = await DataStore.delete(records.class(model), matching);
				return deleted.map(instance => records.answer(model, instance));
			}
			const instance = await fetchOne(model, id);
			return records.answer(model, instance && (await DataStore.delete(instance, condition)));
		},

		async get({ model, id }) {
			return records.answer(model, await fetchOne(model, id));
		},

		async query({ model, where, sort, limit, page }) {
			const options = { sort: sortOrder(sort), limit, page };
			const rows = await DataStore.query(records.class(model), records.predicate(model, where), options);
			return rows.map(instance => records.answer(model, instance));
		},

		async count({ model, where }) {
			return (await DataStore.query(records.class(model), records.predicate(model, where))).length;
		},

		async observe({ model, where }) {
			DataStore.observe(records.class(model), records.predicate(model, where)).subscribe({
				next: ({ opType, element }) => inboxes.changes.put({ op: opType, el: records.answer(model, element) }),
				error: error => console.error('observe ended:', error),
			});
			return true;
		},

		async observed() {
			return inboxes.changes.takeAll();
		},

		async observeQuery({ model, where, sort }) {
			const options = { sort: sortOrder(sort) };
			DataStore.observeQuery(records.class(model), records.predicate(model, where), options).subscribe({
				next: ({ items, isSynced }) => {
					inboxes.snapshots.put({ items: items.map(item => records.answer(model, item)), isSynced });
				},
				error: error => console.error('observeQuery ended:', error),
			});
			return true;
		},

		async snapshots() {
			return inboxes.snapshots.takeAll();
		},

		async hub() {
			return inboxes.hub.takeAll();
		},

		async waitHub({ event, data, ms = WAIT_MS_DEFAULT }) {
			const matches = seen => seen.event === event && (data == null || isDeepStrictEqual(seen.data, data));
			return inboxes.hub.takeUntil(matches, ms);
		},

		async waitFor({ model, id, fields = {}, gone = false, ms = WAIT_MS_DEFAULT }) {
			const deadline = performance.now() + ms;
			for (;;) {
				const record = records.answer(model, await fetchOne(model, id));
				if (gone ? !record : record && matchesFields(record, fields)) return record;
				if (performance.now() >= deadline) {
					throw new Error(`not so after ${ms} ms; last seen: ${JSON.stringify(record)}`);
				}
				await pause(LOOK_EVERY_MS);
			}
		},

		async errors() {
			return inboxes.errors.takeAll();
		},

		async conflicts() {
			return inboxes.conflicts.takeAll();
		},

		async outbox() {
			const inFlight = DataStore.sync?.outbox.inProgressMutationEventId;
			return (await outboxInOrder()).map(({ id, model, modelId, operation }) => ({
				model,
				id: modelId,
				op: operation.toLowerCase(),
				stage: id === inFlight ? 'inFlight' : 'queued',
				// The client does not count them.
				attempts: 0,
			}));
		},

		async online({ value }) {
			network.setOnline(value);
			return true;
		},

		async time() {
			return performance.now();
		},

		// How long the client takes for something, in milliseconds, without the way of commands and answers to it.
		async measure({ what, model, rows, atOnce, where, sort, limit, times }) {
			const Model = records.class(model);
			const begun = performance.now();
			const since = () => performance.now() - begun;
			if (what === 'saves') {
				for (let from = 0; from < rows.length; from += atOnce) {
					const group = rows.slice(from, from + atOnce).map(fields => DataStore.save(new Model(fields)));
					await Promise.all(group);
				}
				return { ms: since(), count: rows.length };
			}
			if (what === 'gets') {
				const ids = (await DataStore.query(Model)).map(instance => records.key(model, instance.id));
				const before = since();
				for (let number = 0; number < times; number += 1) {
					const found = await DataStore.query(Model, ids[(number * 7_919) % ids.length]);
					if (!found) throw new Error('a record that was saved is missing');
				}
				return { ms: since() - before, count: ids.length };
			}
			const predicate = records.predicate(model, where);
			let count = 0;
			for (let number = 0; number < times; number += 1) {
				const found = await DataStore.query(Model, predicate, { sort: sortOrder(sort), limit });
				count = found.length;
			}
			return { ms: since(), count };
		},
	};
}

const plain = value => JSON.parse(JSON.stringify(value));

function matchesFields(record, fields) {
	return Object.entries(fields).every(([name, value]) => isDeepStrictEqual(record[name], value));
}

module.exports = { createOps };
