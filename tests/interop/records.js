// Between the line protocol's JSON and the client's objects: records, identifiers, predicates, sort orders.
'use strict';

const { foreignKey, isRelation, keyFields } = require('./schema');

class Records {
	#schema;
	#classes;

	constructor(schema, classes) {
		this.#schema = schema;
		this.#classes = classes;
	}

	model(name) {
		if (!Object.hasOwn(this.#schema.models, name)) throw new Error(`unknown model \`${name}\``);
		return this.#schema.models[name];
	}

	class(name) {
		this.model(name);
		return this.#classes[name];
	}

	// An identifier as the client's query by key wants it.
	key(model, id) {
		const fields = keyFields(this.model(model));
		if (id === undefined || id === null) throw new Error(`an id is needed: ${fields.join(', ')} of ${model}`);
		if (typeof id === 'object') return id;
		if (fields.length > 1) throw new Error(`${model} has a composite key: give an object of ${fields.join(', ')}`);
		return { [fields[0]]: id };
	}

	// An instance's identifier as the protocol answers it.
	id(model, instance) {
		return identifier(keyFields(this.model(model)), name => instance[name]);
	}

	// An instance as the protocol answers it; `null` stays `null`.
	answer(model, instance) {
		if (!instance) return null;
		// Relations are getters on the prototype, so only stored fields survive this.
		const row = JSON.parse(JSON.stringify(instance));
		const record = {};
		for (const [name, field] of Object.entries(this.model(model).fields)) {
			if (!isRelation(field)) record[name] = row[name] ?? null;
			else if (foreignKey(field).length > 0) record[name] = this.#related(field, row);
		}
		if (row._version !== undefined && row._version !== null) {
			const { _version, _lastChangedAt = null, _deleted = null } = row;
			Object.assign(record, { _version, _lastChangedAt, _deleted });
		}
		return record;
	}

	#related(field, row) {
		const values = foreignKey(field).map(name => row[name] ?? null);
		if (values.includes(null)) return null;
		return identifier(keyFields(this.model(field.type.model)), (_, at) => values[at]);
	}

	// A predicate as the client's builder wants it; `undefined` stays `undefined`.
	predicate(model, tree) {
		if (tree === undefined || tree === null) return undefined;
		const { fields } = this.model(model);
		const build = (on, node) => {
			if (Array.isArray(node)) return condition(model, fields, on, node);
			if (node.and) return on.and(group => node.and.map(child => build(group, child)));
			if (node.or) return on.or(group => node.or.map(child => build(group, child)));
			if (node.not) return on.not(group => build(group, node.not));
			throw new Error(`not a predicate: ${JSON.stringify(node)}`);
		};
		return on => build(on, tree);
	}
}

// A scalar for a key of one field, else an object of field to value.
function identifier(names, value) {
	return names.length === 1 ? value(names[0], 0) : Object.fromEntries(names.map((name, at) => [name, value(name, at)]));
}

function condition(model, fields, on, [name, operator, ...operands]) {
	if (!Object.hasOwn(fields, name)) throw new Error(`unknown field \`${name}\` of ${model}`);
	const field = on[name];
	if (typeof field[operator] !== 'function') throw new Error(`unknown operator \`${operator}\``);
	return field[operator](...operands);
}

// A list of `[field, direction]` as the client's sort builder wants it; `undefined` stays `undefined`.
function sortOrder(pairs) {
	return pairs && (on => pairs.reduce((sort, [field, direction]) => sort[field](direction), on));
}

module.exports = { Records, sortOrder };
