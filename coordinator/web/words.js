// What the stages of a study found, and what a sweep waits for, in sentences.
import {num} from "./dom.js";
import {isEnded} from "./model.js";

const list = (names) => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
const count = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;

function ranked(stage) { return [...(stage?.impacts || [])].sort((a, b) => b.impact - a.impact); }

function ofat(study, stage, noise) {
  const impacts = ranked(stage).filter((one) => one.low !== null);
  if (!impacts.length) return [];
  const [first, ...others] = impacts, lost = noise === null ? [] : impacts.filter((one) => one.impact <= 2 * noise);
  const words = [`${first.parameter} moved ${study.metricName} most: by ${num(first.impact, 3)}, `
    + `between ${num(first.low, 4)} and ${num(first.high, 4)}.`];
  if (others.length) words.push(
    `Then ${list(others.slice(0, 4).map((one) => `${one.parameter} (${num(one.impact, 3)})`))}`
    + `${others.length > 4 ? `, and ${count(others.length - 4, "other")} less` : ""}.`);
  if (lost.length) words.push(
    `Of ${list(lost.map((one) => one.parameter))} the effect is no larger than the noise between trials (± ${num(noise, 2)}) explains.`);
  return words;
}

// Why a stage varies what it varies: the ranking of the OFAT stage before it.
function selected(study, stage, all) {
  if (!stage.selected?.length) return [];
  const before = all.filter((one) => one.index < stage.index && one.impacts).at(-1), impacts = ranked(before),
    of = new Map(impacts.map((one) => [one.parameter, one.impact]));
  const next = impacts.find((one) => !stage.selected.includes(one.parameter));
  if (!impacts.length) return [`It varies ${list(stage.selected)}.`];
  if (impacts.every((one) => one.low === null))
    return [`It varies ${list(stage.selected)}, by their order: no trial of stage ${before.index + 1} has a value that could rank them.`];
  const words = [
    `It varies ${list(stage.selected.map((name) => of.has(name) ? `${name} (${num(of.get(name), 3)})` : name))}: `
    + `of what it can vary these had the largest impact in stage ${before.index + 1}.`];
  if (next) words.push(
    `${next.parameter} (${num(next.impact, 3)})`
    + `${impacts.length - stage.selected.length > 1 ? " and those below it stay" : " stays"} at the baseline.`);
  return words;
}

// The best of a stage, and what it is above the best of everything before.
function gained(study, stage) {
  let best = null, before = null, n = 0;
  for (const trial of study.valued) {
    if (trial.stage === stage.index) { n++; if (!best || study.better(trial.value, best.value)) best = trial; }
    else if (trial.stage < stage.index && (!before || study.better(trial.value, before.value))) before = trial;
  }
  if (!best) return [];
  const gain = before ? study.maximize ? best.value - before.value : before.value - best.value : null;
  const compared = gain === null ? "" : gain > 0 ? `, ${num(gain, 3)} better than anything before it`
    : `; ${num(before.value)} from stage ${before.stage + 1} stays the best`;
  return [`The best of its ${count(n, "trial")} is number ${best.number} with ${num(best.value)}${compared}.`];
}

function confirmed(stage) {
  const {winner, confidence, finalists = []} = stage.confirmation || {};
  const one = finalists.find((candidate) => candidate.trial === winner);
  if (!one) return finalists.length ? [`${count(finalists.length, "configuration")} run again with fresh seeds.`] : [];
  const rest = finalists.filter((candidate) => candidate !== one && candidate.mean !== null);
  return [
    `The winner is the configuration of trial ${winner}: ${num(one.mean)}${one.sd === null ? "" : ` ± ${num(one.sd, 2)}`} `
    + `over ${count(one.n, "fresh trial")}${confidence === null ? "" : `, the best with a confidence of ${num(100 * confidence, 3)} %`}.`,
    ...(rest.length ? [`Against ${list(rest.map((candidate) => `trial ${candidate.trial} with ${num(candidate.mean)}`))}.`] : [])];
}

function failures(study, stage) {
  const ended = study.trials.filter((trial) => trial.stage === stage.index && isEnded(trial)),
    failed = ended.filter((trial) => trial.state === "failed").length;
  if (!failed) return [];
  return [failed === ended.length ? `${failed === 1 ? "Its one trial" : `All its ${failed} trials`} so far failed.`
    : `${failed} of its ${count(ended.length, "trial")} failed.`];
}

// Why nothing of a running sweep runs: workers, as the server lists them. "" where that is for a moment only.
export function waiting(sweep, workers) {
  if (sweep.state !== "running" || sweep.counts.running > 0) return "";
  const whyNot = (worker) => worker.excluded?.find((one) => one.sweep === sweep.id)?.why;
  const active = workers.filter((worker) => worker.state === "active"), takers = active.filter((worker) => !whyNot(worker));
  if (!workers.length) return "It waits for the first worker.";
  if (!active.length) return "It waits: none of the workers is active.";
  if (!takers.length) return `No worker takes it; ${active[0].name}: ${whyNot(active[0])}.`;
  return takers.every((worker) => worker.trials.length >= worker.slots)
    ? "It waits for a free slot: the workers are busy with other sweeps." : "";
}

// Sentences about a stage that has begun; all: every such stage.
export function concluded(study, stage, all, noise) {
  const words = selected(study, stage, all);
  if (stage.method === "ofat") words.push(...ofat(study, stage, noise));
  else if (stage.method === "confirm") words.push(...confirmed(stage));
  else words.push(...gained(study, stage));
  words.push(...failures(study, stage));
  return words;
}
