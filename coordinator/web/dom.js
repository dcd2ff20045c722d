// Elements, numbers and times as text. Nothing here knows of sweeps.

// h("p", {class: "note", onclick: f}, "text", element, [more]). Properties that are functions are listeners.
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// New content. What news draw again must not take the keyboard's place away: the focus goes to what stands for the same thing.
export function put(element, ...children) {
  const held = document.activeElement !== element && element.contains(document.activeElement) ? document.activeElement : null;
  const name = (one) => one.getAttribute("aria-label") || one.title || one.getAttribute("href") || one.textContent;
  const alike = (one) => [...element.querySelectorAll(one.tagName)].filter((other) => name(other) === name(one)),
    place = held ? alike(held).indexOf(held) : 0;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (held && !held.isConnected) alike(held)[place]?.focus({preventScroll: true});
  return element;
}

export const pill = (state) => h("span", {class: "pill", "data-state": state}, state);

// The server's words as a sentence of their own.
export const sentence = (text) => text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "";

// 5 significant digits; very small and large ones with an exponent.
export function num(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6))
    return value.toExponential(Math.min(3, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${seconds < 10 ? num(seconds, 2) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(minutes / 60 / 24)} days`;
}

export function ago(time) {
  if (!time) return "never";
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return seconds < 5 ? "just now" : `${duration(seconds < 60 ? Math.round(seconds) : seconds)} ago`;
}

export const clock = (time) => time ? new Date(time).toLocaleString(undefined, {dateStyle: "short", timeStyle: "medium"}) : "–";

export const seconds = (trial) => trial.started && trial.finished ? (Date.parse(trial.finished) - Date.parse(trial.started)) / 1000 : null;

export function pairs(entries) {
  return h("dl", {class: "pairs"}, entries.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function toast(text, bad = false) {
  const element = h("div", {class: bad ? "toast bad" : "toast"}, text);
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), bad ? 9000 : 4000);
}

export function download(name, href) {
  const link = h("a", {href, download: name});
  document.body.append(link);
  link.click();
  link.remove();
}

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  download(name, url);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A modal dialog; resolves with what close(value) was given, null when it was dismissed.
export function dialog(title, build, large = false) {
  return new Promise((resolve) => {
    let answer = null;
    const element = h("dialog", {class: large ? "large" : "", "aria-label": title});
    const close = (value) => { answer = value; element.close(); };
    put(element, h("h1", {}, title), build(close));
    element.addEventListener("close", () => { element.remove(); resolve(answer); });
    document.body.append(element);
    element.showModal();
  });
}

// What cannot be taken back (`final`) does not happen by a careless Enter.
export function confirmed(title, text, verb, final = false) {
  return dialog(title, (close) => [h("p", {}, text), h("div", {class: "row end"},
    h("button", {type: "button", autofocus: final, onclick: () => close(false)}, "Back"),
    h("button", {type: "button", class: final ? "primary danger" : "primary", autofocus: !final, onclick: () => close(true)}, verb))]);
}

export function throttle(work, wait) {
  let timer = null;
  return () => { timer ??= setTimeout(() => { timer = null; work(); }, typeof wait === "function" ? wait() : wait); };
}
