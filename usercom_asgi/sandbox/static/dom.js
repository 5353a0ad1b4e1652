/* Small helpers. Text becomes text nodes, never HTML: the page's policy forbids HTML from strings. */

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

/* element("p", { class: "hint", onclick: fn, hidden: true }, "text", otherElement, null) */
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...content.flat().filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

export function setText(target, content) {
  if (target.textContent !== content) target.textContent = content;
}

/* Show items in a parent; keep the nodes of unchanged items, so that focus and selection stay. */
export function keyed(parent, build) {
  const shown = new Map();
  return (items) => {
    const left = new Set(shown.keys());
    let place = parent.firstChild;
    for (const [id, item] of items) {
      const content = JSON.stringify(item);
      let row = shown.get(id);
      if (!row || row.content !== content) {
        const node = build(item, row && row.node);
        if (row) {
          if (place === row.node) place = place.nextSibling;
          row.node.remove();
        }
        row = { content, node };
        shown.set(id, row);
      }
      if (row.node === place) place = place.nextSibling;
      else parent.insertBefore(row.node, place);
      left.delete(id);
    }
    for (const id of left) {
      shown.get(id).node.remove();
      shown.delete(id);
    }
  };
}

export async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw Object.assign(new Error(`${path} answered ${answer.status}`), { status: answer.status });
  return answer.json();
}

export async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) notify((value.errors || value).detail);
  return answer.ok ? value : null;
}

let ends = 0;

export function notify(text) {
  const toast = find("#toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(ends);
  ends = setTimeout(() => toast.classList.remove("shown"), 3000);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notify("Copied");
  } catch {
    const area = find("#copied textarea"); // not allowed, or no secure context
    area.value = text;
    find("#copied").showModal();
    area.select();
  }
}

/* At most one run at a time; a call during a run makes one more. */
export function coalesced(task) {
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await task();
    }
    running = false;
  };
}
