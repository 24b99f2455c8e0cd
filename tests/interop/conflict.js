// The conflict handler: "remote" takes the server's record, "local" puts the fields that were changed here onto it.
'use strict';

const { keyFields } = require('./schema');

function conflictHandler({ strategy, told, inFlight, records, DISCARD }) {
	return async ({ modelConstructor, localModel, remoteModel, operation, attempts }) => {
		const { name } = modelConstructor;
		told({
			model: name,
			id: records.id(name, remoteModel),
			operation,
			attempts,
			localModel: records.answer(name, localModel),
			remoteModel: records.answer(name, remoteModel),
		});
		const keptRemote = modelConstructor.copyOf(remoteModel, () => {});
		if (strategy() === 'remote') {
			// DISCARD reads the server's record again by its field `id`; other keys send the remote record back instead.
			return keyFields(records.model(name)).join() === 'id' ? DISCARD : keptRemote;
		}
		if (operation === 'DELETE') return keptRemote;
		// The local model has nulls for whatever was not sent; only the queued mutation knows what was changed.
		const sent = Object.keys(JSON.parse((await inFlight())?.data ?? '{}'));
		const { fields } = records.model(name);
		const changed = sent.filter(field => !field.startsWith('_') && !fields[field]?.isReadOnly);
		return modelConstructor.copyOf(remoteModel, draft => {
			for (const field of changed) draft[field] = localModel[field];
		});
	};
}

module.exports = { conflictHandler };
