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
  return Float64Array.from({ length: text.length / 3 }, (_, i) => {
    const [a, b, c] = [0, 1, 2].map((j) => digitOf.get(text[3 * i + j]));
    return ((((a << 12) | (b << 6) | c) - 2 ** 17) / (2 ** 17 - 1)) * scale;
  });
}

const tables = new Map();

/** The parameters at a moment, each an array of V rows. They are unpacked when somebody asks. */
function bagAt(moment) {
  if (!tables.has(moment)) {
    const rows = (flat) =>
      Array.from({ length: V }, (_, v) => flat.subarray(v * film.seen.dim, (v + 1) * film.seen.dim));
    tables.set(moment, { E: rows(unpacked(film.seen.E[moment])), W: rows(unpacked(film.seen.W[moment])) });
  }
  return tables.get(moment);
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const dot = (a, b) => a.reduce((total, number, d) => total + number * b[d], 0);
const mixed = (bag, context) => bag.E[0].map((_, d) => sum(context.map((token) => bag.E[token][d])));

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
