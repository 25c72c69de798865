// Small helpers to draw with. Text goes in as text only, so no word can become a part of the page.

const byId = (id) => document.getElementById(id);
const END = "·"; // how the page shows token 0
const shown = (token) => (token === 0 ? END : letterOf[token] === " " ? "␣" : letterOf[token]);
const fixed = (number, digits = 3) => number.toFixed(digits).replace("-", "−");
const signed = (number, digits = 3) => (number < 0 ? "" : "+") + fixed(number, digits);
const percent = (chance) => (chance < 0.005 ? "under 1" : String(Math.round(100 * chance))) + " %";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with attributes, and children that are elements or text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  return filled(element, attributes, children);
}

/** The same of a drawing. */
function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A letter that keeps its own direction of writing. */
const letter = (text, name = "letter") => make("bdi", { class: name }, text);

/** A coloured cell: `strength` from -1 to 1. */
function coloured(element, strength) {
  element.classList.toggle("minus", strength < 0);
  element.classList.toggle("plus", strength >= 0);
  element.style.setProperty("--strength", `${Math.round(100 * Math.min(Math.abs(strength), 1))}%`);
  return element;
}

/** Bars of the chances of some tokens, in the order of the alphabet, and in words the three likeliest. */
function drawBars(place, says, tokens, chances) {
  const top = Math.max(...chances, 0.25);
  if (place.children.length !== tokens.length) {
    place.replaceChildren(...tokens.map(() => make("div", {}, make("i"), letter(""))));
  }
  tokens.forEach((token, i) => {
    const [bar, name] = place.children[i].children;
    bar.style.setProperty("--height", `${(100 * chances[i]) / top}%`);
    name.textContent = shown(token);
    place.children[i].title = `${shown(token)} ${percent(chances[i])}`;
  });
  const order = tokens.map((_, i) => i).sort((a, b) => chances[b] - chances[a]);
  const three = order.slice(0, 3).flatMap((i) => [", ", letter(named(tokens[i])), ` ${percent(chances[i])}`]);
  says.replaceChildren("Likeliest: ", ...three.slice(1), ".");
  place.setAttribute("aria-label", says.textContent);
}

const named = (token) => (token === 0 ? "the end of the word" : shown(token));

/** A list of words, each only ever text; with `slowly` they are written letter by letter. */
function writeWords(list, words, slowly = false) {
  const items = words.map((word) => make("li", {}, letter(word, "word")));
  list.replaceChildren(...items);
  if (!slowly || calm.matches) return;
  const whole = words.map((word) => Array.from(word));
  const longest = Math.max(...whole.map((word) => word.length));
  let written = 0;
  const next = () => {
    if (!items[0].isConnected) return; // other words have taken their place
    items.forEach((item, i) => (item.firstChild.textContent = whole[i].slice(0, written).join("")));
    if (written++ < longest) setTimeout(next, 90);
  };
  next();
}

/** Call `redraw(width)` now, and whenever the place gets another width. */
function fitted(place, redraw) {
  new ResizeObserver(() => redraw(place.clientWidth)).observe(place);
}
