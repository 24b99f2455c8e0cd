// The schema as `initSchema` wants it, and questions about it. Reads model-introspection JSON and Amplify's schema.js.
'use strict';

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');

// Any 3.x from 3.2 on is accepted by the client; the shape has not changed since.
const CODEGEN_VERSION = '3.4.4';

function loadSchema(path) {
	const text = readFileSync(path, 'utf8');
	const json = text.replace(/^\s*export\s+const\s+schema\s*=\s*/, '').replace(/;\s*$/, '');
	const { models, enums = {}, nonModels = {} } = JSON.parse(json);
	if (!models) throw new Error(`${path} has no "models": give model-introspection JSON or Amplify's schema.js`);
	return {
		models: mapValues(models, model => ({ syncable: true, attributes: [], ...model })),
		enums,
		nonModels,
		codegenVersion: CODEGEN_VERSION,
		// The client clears its data when this changes, so it must change with the schema.
		version: createHash('sha256').update(json).digest('hex'),
	};
}

function mapValues(object, change) {
	return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

// Names of the primary key's fields: the key attribute without a name, else `id`.
function keyFields(model) {
	const key = model.attributes.find(({ type, properties }) => type === 'key' && !properties.name);
	return key ? key.properties.fields : ['id'];
}

// Foreign-key fields that the model itself holds for a relation field; empty if the other side holds them.
function foreignKey({ association = {} }) {
	return association.targetNames ?? (association.targetName ? [association.targetName] : []);
}

const isRelation = field => typeof field.type === 'object' && 'model' in field.type;

module.exports = { loadSchema, keyFields, foreignKey, isRelation };
