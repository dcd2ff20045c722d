// YAML as people write sweep files, turned into JSON text whose numbers stay as they were typed, and where every value stands. Mappings,
// lists, both in lines and in brackets, quoted, plain and block texts; words and numbers as sweepctl reads them. Anchors and most tags are
// refused with their line: sweepctl create reads those.

class Bad extends Error { constructor(message, offset) { super(message); this.offset = offset; } }

const NULLS = /^(~|null|Null|NULL|)$/, TRUES = /^(true|True|TRUE|yes|Yes|YES|on|On|ON)$/,
  FALSES = /^(false|False|FALSE|no|No|NO|off|Off|OFF)$/;

function plain(text, offset) {
  if (NULLS.test(text)) return "null";
  if (TRUES.test(text)) return "true";
  if (FALSES.test(text)) return "false";
  if (/^[-+]?\.(inf|nan)$/i.test(text)) throw new Bad(`the number ${text} is out of range`, offset);
  const clean = /^[-+]?\.?\d[\d_.eE+-]*$|^[-+]?0[xb][\da-fA-F_]+$/.test(text) ? text.replaceAll("_", "").replace(/^\+/, "") : "";
  const sign = clean.startsWith("-") ? "-" : "", digits = clean.slice(sign.length);
  if (/^0(x[\da-fA-F]+|b[01]+)$/.test(digits)) return sign + Number(digits);
  if (/^0[0-7]+$/.test(digits)) return sign + parseInt(digits, 8);
  if (/^(0|[1-9]\d*)$/.test(digits)) return clean;
  const real = digits.match(/^(\d*)(?:\.(\d*))?(?:[eE]([-+]?\d+))?$/);
  if (real && (real[1] || real[2]))
    return `${sign}${(real[1] || "0").replace(/^0+(?=\d)/, "")}.${real[2] || "0"}${real[3] ? `e${real[3]}` : ""}`;
  return JSON.stringify(text);
}

// {json, places: pointer → [start, end]}; of a member, its key's start.
export function readYaml(text) {
  const places = new Map();
  let at = 0, begun = false;
  const column = () => at - (text.lastIndexOf("\n", at - 1) + 1);
  const rest = () => { const end = text.indexOf("\n", at); return text.slice(at, end < 0 ? text.length : end); };
  const below = (pointer, key) => `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
  const fail = (message) => { throw new Bad(message, at); };
  const blanks = () => { while (text[at] === " " || (text[at] === "\t" && column() > 0)) at++; };
  const comment = () => {
    if (text[at] === "#" && (at === 0 || /\s/.test(text[at - 1]))) while (at < text.length && text[at] !== "\n") at++;
  };
  function next() { // to what comes next, on this line or a later one
    for (;;) {
      blanks();
      comment();
      if (text[at] === "\r") at++;
      if (text[at] === "\n") at++;
      else if (column() === 0 && /^(---\s*(#.*)?$|%)/.test(rest().trimEnd())) {
        if (begun) fail("a second document begins here; one is expected");
        at += rest().length;
      }
      else { if (text[at] === "\t") fail("lines are indented by spaces, not tabs"); return; }
    }
  }

  function quoted() {
    const mark = text[at], from = at++;
    let value = "";
    for (; at < text.length && text[at] !== mark; at++) {
      if (mark === "\"" && text[at] === "\\") value += text[at++] + (text[at] ?? "");
      else if (text[at] === "\n") { value = `${value.trimEnd()} `; while (/\s/.test(text[at + 1] ?? "")) at++; } else value += text[at];
      if (mark === "'" && text[at + 1] === "'" && text[at + 2] === "'") { value += "'"; at += 2; }
    }
    if (at >= text.length) { at = from; fail("the quotes are never closed"); }
    at++;
    if (mark === "'") return value;
    try {
      const short = {0: "\\u0000", " ": " ", e: "\\u001b", a: "\\u0007", v: "\\u000b", "'": "'"};
      value = value.replace(/\\x([\da-fA-F]{2})/g, "\\u00$1").replace(/\\([0 eav'])/g, (_, one) => short[one]).replaceAll("\t", "\\t");
      return JSON.parse(`"${value}"`);
    } catch { at = from; return fail("an escape that is none"); }
  }

  function flow(pointer) {
    const open = text[at], close = open === "{" ? "}" : "]", parts = [], seen = new Set();
    for (at++;;) {
      next();
      if (at >= text.length) fail(`“${close}” is missing`);
      if (text[at] === close) { at++; break; }
      const from = at;
      if (open === "{") {
        const key = /["']/.test(text[at]) ? quoted()
          : text.slice(at, at += text.slice(at).match(/^[^,{}[\]:\n]*(:(?![\s,{}[\]])[^,{}[\]:\n]*)*/)[0].length).trim();
        next();
        if (seen.has(key)) fail(`“${key}” is given twice`);
        seen.add(key);
        const inner = below(pointer, key);
        let value = "null";
        if (text[at] === ":") { at++; next(); value = /[,}]/.test(text[at]) ? "null" : inFlow(inner); }
        places.set(inner, [from, at]);
        parts.push(`${JSON.stringify(key)}:${value}`);
      } else {
        const inner = below(pointer, parts.length);
        parts.push(inFlow(inner));
        places.set(inner, [from, at]);
      }
      next();
      if (text[at] === ",") at++;
      else if (text[at] !== close) fail(`“,” or “${close}” is missing`);
    }
    return open === "{" ? `{${parts.join(",")}}` : `[${parts.join(",")}]`;
  }

  // !!float "1e-5", as Weights & Biases' documentation has it; null where no such tag stands.
  function tagged() {
    const tag = rest().match(/^!!(float|str)\s+/);
    if (!tag) return null;
    at += tag[0].length;
    const from = at, found = /["']/.test(text[at]) ? quoted() : text.slice(at, at += rest().match(/^[^,{}[\]\s#]*/)[0].length);
    const value = tag[1] === "str" ? JSON.stringify(found) : plain(found, from);
    if (tag[1] === "float" && !/^-?\d/.test(value)) { at = from; fail("no number follows !!float"); }
    return tag[1] === "float" && /^-?\d+$/.test(value) ? `${value}.0` : value;
  }

  function inFlow(pointer) {
    const known = tagged();
    if (known !== null) return known;
    if (/[{[]/.test(text[at])) return flow(pointer);
    if (/["']/.test(text[at])) return JSON.stringify(quoted());
    if (/[&*!]/.test(text[at])) fail("anchors, aliases and tags are for sweepctl create");
    const from = at, found = text.slice(at).match(/^[^,{}[\]\n#:]*((:(?![\s,{}[\]])|(?<=\S)#)[^,{}[\]\n#:]*)*/)[0];
    at += found.length;
    return plain(found.trim(), from);
  }

  function literal(parent) { // | and >
    const folds = text[at] === ">", keep = rest().match(/^[|>]([-+]?)\d?\s*(#.*)?$/) || fail("a block of text begins with | or > alone");
    at += rest().length + 1;
    const lines = [];
    let indent = null;
    for (; at < text.length; at += rest().length + 1) {
      const line = rest().replace(/\r$/, ""), deep = line.search(/\S/);
      if (deep >= 0 && deep <= parent) break;
      if (deep >= 0) indent ??= deep;
      lines.push(line.slice(indent ?? 0));
    }
    let end = lines.length;
    while (end && !lines[end - 1].trim()) end--;
    const body = folds ? lines.slice(0, end).join("\n").replace(/([^\n])\n(?=[^\n ])/g, "$1 ").replace(/\n\n/g, "\n")
      : lines.slice(0, end).join("\n");
    return JSON.stringify(body + (keep[1] === "-" || !end ? "" : keep[1] === "+" ? "\n".repeat(lines.length - end + 1) : "\n"));
  }

  // A value that begins here; text on deeper lines than `parent` goes on with it.
  function scalar(pointer, parent) {
    const known = tagged();
    if (known !== null) return known;
    if (/[{[]/.test(text[at])) return flow(pointer);
    if (/["']/.test(text[at])) return JSON.stringify(quoted());
    if (/[|>]/.test(text[at])) return literal(parent);
    if (/[&*!]/.test(text[at])) fail("anchors, aliases and tags are for sweepctl create");
    if (/[%@`]/.test(text[at])) fail(`a value cannot begin with “${text[at]}”`);
    const from = at, words = [];
    for (;;) {
      const line = rest().replace(/(^|\s)#[^\n]*$/, "").trimEnd();
      if (words.length ? /:(\s|$)/.test(line) : /:\s|:$/.test(line)) fail("a “:” is in the way here: quote the text");
      words.push(line.trim());
      at += line.length;
      const here = at;
      next();
      if (at >= text.length || column() <= parent || text.slice(here, at).includes("#")) { at = here; break; }
    }
    return words.length > 1 ? JSON.stringify(words.join(" ")) : plain(words[0], from);
  }

  function key() { // of a mapping in lines, or null and nothing is read
    const before = at;
    if (/["']/.test(text[at])) {
      const name = quoted();
      blanks();
      if (text[at] === ":" && /\s|^$/.test(text[at + 1] ?? "")) { at++; return name; }
    } else {
      const found = rest().match(/^(?![{[|>%@`#])((?:[^:#\n]|:(?=\S)|(?<=\S)#)+?)\s*:(?=\s|$)/);
      if (found && /^[&*!?]/.test(found[0])) fail("anchors, aliases and tags are for sweepctl create");
      if (found?.[1] === "<<") fail("“<<” is for sweepctl create");
      if (found) { at += found[0].length; return found[1]; }
    }
    at = before;
    return null;
  }

  // What stands after “key:” or “- ”. `parent` is the column that its lines must be deeper than.
  function after(pointer, parent, listed) {
    blanks();
    comment();
    if (text[at] !== "\n" && text[at] !== "\r" && at < text.length) return listed ? block(pointer, parent) : scalar(pointer, parent);
    next();
    if (at >= text.length || column() < parent || (column() === parent && (listed || !/^-(\s|$)/.test(rest())))) return "null";
    return block(pointer, column() === parent ? parent - 1 : parent);
  }

  function block(pointer, parent) {
    const mine = column(), parts = [], seen = new Set(), isList = /^-(\s|$)/.test(rest());
    let from = at, name = isList ? null : key();
    if (!isList && name === null) return scalar(pointer, parent);
    for (;;) {
      if (!isList) {
        if (seen.has(name)) { at = from; fail(`“${name}” is given twice`); }
        seen.add(name);
      } else at++;
      const inner = below(pointer, isList ? parts.length : name), value = after(inner, mine, isList);
      let end = at;
      while (end > from && /\s/.test(text[end - 1])) end--;
      places.set(inner, [from, end]);
      parts.push(isList ? value : `${JSON.stringify(name)}:${value}`);
      next();
      if (at >= text.length || column() < mine) break;
      if (column() > mine) fail("this line is indented more than those it belongs to");
      from = at;
      if (isList !== /^-(\s|$)/.test(rest())) { if (isList) break; fail("a list begins in a mapping"); }
      if (!isList && (name = key()) === null) fail("“key: value” is missing here");
    }
    return isList ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
  }

  next();
  if (at >= text.length) fail("there is nothing in it");
  begun = true;
  const json = block("", -1);
  next();
  if (at < text.length) fail("what is this?");
  places.set("", [0, text.length]);
  return {json, places};
}
