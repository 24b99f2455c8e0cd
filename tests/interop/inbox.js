// What arrived and was not yet taken.
'use strict';

// A test that leaves more than this unread has lost track of it; the oldest go first.
const ITEMS_MAX = 100_000;

class Inbox {
	#items = [];
	#arrived = () => {};

	put(item) {
		if (this.#items.length === ITEMS_MAX) this.#items.shift();
		this.#items.push(item);
		this.#arrived();
	}

	takeAll() {
		return this.#items.splice(0);
	}

	// Takes everything up to the first item that matches and answers with that one.
	async takeUntil(matches, ms) {
		const seen = [];
		const deadline = AbortSignal.timeout(ms);
		const ended = new Promise(resolve => deadline.addEventListener('abort', resolve));
		for (;;) {
			for (const item of this.#takeThrough(matches, seen)) return item;
			if (deadline.aborted) throw new Error(`not seen after ${ms} ms; seen: ${JSON.stringify(seen)}`);
			await Promise.race([ended, new Promise(resolve => (this.#arrived = resolve))]);
		}
	}

	*#takeThrough(matches, seen) {
		while (this.#items.length > 0) {
			const item = this.#items.shift();
			seen.push(item);
			if (matches(item)) yield item;
		}
	}
}

module.exports = { Inbox };
