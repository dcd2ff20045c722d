// Who evaluates: state, what runs, how fast, and why a worker gets nothing.
import {call, getIfThere, pages, stream} from "./api.js";
import {ago, clock, confirmed, duration, h, num, pill, put, throttle, toast} from "./dom.js";

export async function workersPage(main, context) {
  const body = h("div", {}), known = new Map(), sweeps = new Map(); // running trials by id: {trial, speed}; names of sweeps by id
  put(main, h("div", {class: "row head"}, h("h1", {}, "Workers")), body);
  let gone = false;

  const drain = (worker) => async () => {
    if (!await confirmed(`Drain ${worker.name}?`, "It finishes what it runs and is given no more trials until it registers anew.", "Drain"))
      return;
    try {
      await call("POST", `/v1/workers/${worker.id}/drain`);
      toast(`${worker.name} is draining.`);
      refresh();
    } catch (error) { toast(error.message, true); }
  };

  const undrain = (worker) => async () => {
    if (!await confirmed(`Give ${worker.name} trials again?`, "What failed there so far is forgiven.", "Undrain")) return;
    try {
      await call("POST", `/v1/workers/${worker.id}/undrain`);
      toast(`${worker.name} gets trials again.`);
      refresh();
    } catch (error) { toast(error.message, true); }
  };

  const forget = (worker) => async () => {
    if (!await confirmed(`Forget ${worker.name}?`, "Its trials keep its name. It is listed again when it comes back.", "Forget")) return;
    try {
      await call("DELETE", `/v1/workers/${worker.id}`);
      toast(`${worker.name} is forgotten.`);
      refresh();
    } catch (error) { toast(error.message, true); }
  };

  const actions = {active: ["Drain", drain], draining: ["Undrain", undrain], quarantined: ["Lift the quarantine", undrain],
    gone: ["Forget", forget]};
  const action = (worker) => {
    if (worker.state === "quarantined" && worker.quarantine?.by === "worker")
      return h("span", {class: "note"}, "Repair it, and start it again.");
    const [label, what] = actions[worker.state];
    return h("button", {type: "button", onclick: what(worker)}, label);
  };
  const whyNot = (worker) => [
    worker.quarantine ? h("div", {class: "note"}, `${worker.quarantine.why}, ${ago(worker.quarantine.since)}`) : null,
    worker.name_shared_since ? h("div", {class: "note error"},
      `Two processes have this name, since ${clock(worker.name_shared_since)}: give each host one of its own.`) : null,
  ];

  // Speeds are read on from where the last look ended, so that a trial of many points costs its new ones only.
  async function look(id) {
    const trial = await getIfThere(`/v1/trials/${id}`), before = known.get(id);
    if (!trial) return;
    let speed = before?.speed ?? null, cursor = before?.cursor ?? null;
    await pages(`/v1/trials/${id}/metrics?name=${encodeURIComponent("perf/tokens_per_s")}`,
      (items, from) => { speed = items.at(-1)?.value ?? speed; cursor = from; }, {after: cursor}).catch(() => null);
    known.set(id, {trial, speed, cursor});
  }

  const nameOf = (id) => sweeps.get(id) || id;

  const running = (worker) => worker.trials.length ? worker.trials.map((id) => {
    const one = known.get(id);
    return h("div", {}, h("a", {href: `#/trial/${id}`}, one ? `trial ${one.trial.number}` : id),
      one ? [" of ", h("a", {href: `#/sweep/${one.trial.sweep}`}, nameOf(one.trial.sweep)), ","] : "",
      one ? ` ${num(100 * (one.trial.progress || 0), 3)} %` : "", one?.speed ? `, ${num(one.speed, 3)} tokens/s` : "",
      one?.trial.started ? h("span", {class: "soft"}, `, for ${duration((Date.now() - Date.parse(one.trial.started)) / 1000)}`) : "");
  }) : h("span", {class: "soft"}, "nothing");

  const facts = (worker) => {
    const entries = Object.entries(worker.facts || {}).filter(([, value]) => value !== null && typeof value !== "object");
    return h("details", {}, h("summary", {}, worker.trainers.join(", ")),
      h("ul", {class: "bullets"}, entries.map(([key, value]) => h("li", {}, `${key.replaceAll("_", " ")}: ${num(value, 8)}`)),
        worker.model?.name ? h("li", {}, `model: ${worker.model.name}`) : null));
  };

  async function refresh() {
    const workers = [];
    try {
      await pages("/v1/workers", (items) => workers.push(...items));
      const open = workers.flatMap((worker) => worker.trials).slice(0, 64);
      for (const id of known.keys()) if (!open.includes(id)) known.delete(id);
      await Promise.all(open.map(look));
      if ([...workers.flatMap((worker) => (worker.excluded || []).slice(0, 8).map((one) => one.sweep)),
        ...[...known.values()].map((one) => one.trial.sweep)].some((id) => !sweeps.has(id)))
        await pages("/v1/sweeps", (items) => { for (const one of items) sweeps.set(one.id, one.name); });
    } catch (error) { if (!gone) put(body, h("p", {class: "error"}, error.message)); return; }
    if (gone) return;
    const order = {active: 0, draining: 1, quarantined: 2, gone: 3};
    workers.sort((a, b) => order[a.state] - order[b.state] || a.name.localeCompare(b.name));
    const open = new Set([...body.querySelectorAll("details[open]")].map((one) => one.closest("tr").dataset.id));
    if (!workers.length) {
      put(body,
        h("section", {class: "card empty"}, h("p", {}, "No worker has registered. Start one on any machine that reaches this address:"),
          h("pre", {}, `sweep-worker --coordinator ${location.origin} --work-dir /var/lib/sweep-worker`)));
      return;
    }
    const titles = ["name", "state", "runs", "slots", "last seen", "trainers and facts", "gets nothing of", ""];
    put(body, h("section", {class: "card scroll"}, h("table", {class: "workers stacks"},
      h("thead", {}, h("tr", {}, titles.map((title) => h("th", {}, title)))),
      h("tbody", {}, workers.map((worker) => h("tr", {"data-id": worker.id}, h("td", {}, h("b", {}, worker.name)),
        h("td", {}, pill(worker.state), whyNot(worker)), h("td", {}, running(worker)),
        h("td", {class: "num"}, `${worker.trials.length} / ${worker.slots}`), h("td", {}, ago(worker.last_seen)),
        h("td", {}, facts(worker)), h("td", {}, (worker.excluded || []).slice(0, 8)
          .map((one) => h("div", {class: "note"}, h("a", {href: `#/sweep/${one.sweep}`}, nameOf(one.sweep)), `: ${one.why}`))),
        h("td", {}, action(worker))))))));
    for (const line of body.querySelectorAll("tr[data-id]")) for (const [place,
      cell] of [...line.cells].entries()) cell.dataset.title = titles[place];
    for (const line of body.querySelectorAll("tr[data-id]")) if (open.has(line.dataset.id)) line.querySelector("details").open = true;
  }

  await refresh();
  let timer = null;
  const soon = throttle(() => { if (!gone) refresh(); }, 300),
    every = (ms) => { clearInterval(timer); timer = setInterval(() => { if (!document.hidden) refresh(); }, ms); };
  const unfollow = stream("/v1/events", (type, data) => {
    if (type === "worker" || type === "reset" || (type === "deleted" && data.worker)) soon();
  }, (state) => {
    if (gone) return;
    context.live(state === "live" ? "live" : state === "none" ? "polling" : "off");
    if (state === "live") soon();
    every(state === "live" ? 10000 : 3000); // progress and speed of what runs are asked for in any case
  });
  every(3000);
  return () => { gone = true; unfollow(); clearInterval(timer); };
}
