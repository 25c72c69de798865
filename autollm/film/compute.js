"use strict";
// The arithmetic of the bag: logits = W (E[c1] + ... + E[cK]), as Python has it, in plain loops.
// Token 0 is the end of a word, and what stands before its beginning; letters are 1, 2, ....

const film = JSON.parse(document.getElementById("film").textContent);
const V = film.vocabulary;
const letterOf = film.letters; // of a token: one character, or several that a reader takes for one letter
const LAST = film.steps.length - 1; // the last moment
const tokenOf = new Map(Object.entries(letterOf).map(([token, letter]) => [letter, Number(token)]));

/** What was typed, letter by letter. An emoji is one character, though JavaScript counts two. */
function split(text) {
  if (Object.values(letterOf).every((letter) => Array.from(letter).length === 1)) return Array.from(text);
  return Array.from(new Intl.Segmenter().segment(text), (part) => part.segment);
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const digitOf = new Map(Array.from(DIGITS, (digit, i) => [digit, i]));

/** Numbers from a scale and a text with three characters for each: 18 bits between -scale and scale. */
function unpacked([scale, text]) {
  const numbers = new Float64Array(text.length / 3);
  for (let i = 0; i < numbers.length; i++) {
    let whole = 0;
    for (let j = 3 * i; j < 3 * i + 3; j++) whole = (whole << 6) | digitOf.get(text[j]);
    numbers[i] = ((whole - 2 ** 17) / (2 ** 17 - 1)) * scale;
  }
  return numbers;
}

const tables = new Map();

/** The V rows of a table, "E" or "W", at a moment. They are unpacked when somebody asks. */
function tableAt(name, moment) {
  const key = `${name}${moment}`;
  if (!tables.has(key)) {
    const D = film.seen.dim;
    const flat = unpacked(film.seen[name][moment]);
    tables.set(key, Array.from({ length: V }, (_, v) => flat.subarray(v * D, (v + 1) * D)));
  }
  return tables.get(key);
}

const bagAt = (moment) => ({ E: tableAt("E", moment), W: tableAt("W", moment) });

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function dot(a, b) {
  let total = 0;
  for (let d = 0; d < a.length; d++) total += a[d] * b[d];
  return total;
}

/** The codes of a context, added up. */
function mixed(bag, context) {
  const mix = new Float64Array(film.seen.dim);
  for (const token of context) bag.E[token].forEach((number, d) => (mix[d] += number));
  return mix;
}

/** Scores of all V next tokens after a context of K tokens. */
function scoresOf(bag, context) {
  const h = mixed(bag, context);
  return bag.W.map((row) => dot(row, h));
}

/** Chances that add up to 1, from scores. */
function softmax(scores) {
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

const lossOf = (bag, context, target) => -Math.log(softmax(scoresOf(bag, context))[target]);

/** The last K tokens of what was typed; before the word there are ends. */
function contextOf(tokens) {
  const padded = [...Array(film.context).fill(0), ...tokens];
  return padded.slice(padded.length - film.context);
}

/** Chances of what follows these letters of a word. A word has at least one letter, so it cannot end at once. */
function chancesOf(bag, tokens) {
  const scores = scoresOf(bag, contextOf(tokens));
  if (tokens.length === 0) scores[0] = -Infinity;
  return softmax(scores);
}

/** What each brick is told when loss.back(1.0) is called, for one example. */
function blameOf(bag, context, target) {
  const h = mixed(bag, context);
  const chances = softmax(scoresOf(bag, context));
  const scores = chances.map((chance, v) => chance - (v === target ? 1 : 0));
  const dh = h.map((_, d) => sum(scores.map((g, v) => g * bag.W[v][d])));
  const E = bag.E.map((row, token) =>
    row.map((_, d) => dh[d] * context.filter((one) => one === token).length),
  );
  return { scores, W: scores.map((g) => h.map((number) => g * number)), h: dh, E };
}

/** Dice: the generator mulberry32. The same seed throws the same numbers from 0 to 1. */
function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A word that begins with these tokens, every next letter drawn by its chance. */
function dreamed(bag, beginning, throwDice) {
  const tokens = [...beginning];
  const most = beginning.length + 2 * film.longest;
  while (tokens.length < most) {
    const chances = chancesOf(bag, tokens);
    let remaining = throwDice() * sum(chances);
    let chosen = 0;
    for (let v = 0; v < V && remaining >= 0; v++) {
      if (chances[v] === 0) continue;
      chosen = v;
      remaining -= chances[v];
    }
    if (chosen === 0) break;
    tokens.push(chosen);
  }
  return tokens.map((token) => letterOf[token]).join("");
}
