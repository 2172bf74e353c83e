// The document: making elements, and touching only what changed. Data becomes text, never markup.

/**
 * An element with properties, attributes and children. What names a property of elements sets it, `on…` adds a
 * listener, anything else is an attribute; null and undefined are left out.
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this id, which index.html promises. */
export function byId(id) {
  return document.getElementById(id);
}

/** Gives a node this text, unless it has it. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Gives a node this attribute, unless it has it; null takes it away. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Gives a node these children, and leaves those alone that stand where they should. */
export function setChildren(parent, children) {
  children.forEach((child, index) => {
    const there = parent.childNodes[index];
    if (there !== child) parent.insertBefore(child, there ?? null);
  });
  while (parent.childNodes.length > children.length) parent.lastChild.remove();
}

/** What an object has under a key of its own: keys come from outside and may be called `constructor`. */
export function own(object, key) {
  return object && Object.hasOwn(object, key) ? object[key] : undefined;
}
