// One of a few: radio buttons that look like a row of buttons.

import { element } from './dom.js';

/** Fills a fieldset with `[value, label]` options; `onChoose(value)` is called when the reader takes another. */
export function choice(fieldset, options, chosen, onChoose) {
  for (const [value, label] of options) {
    const input = element('input', { type: 'radio', name: fieldset.id, value, checked: value === chosen, onchange: () => onChoose(value) });
    fieldset.append(element('label', {}, input, element('span', { textContent: label })));
  }
}
