// One guess, taken apart: four bricks forward, and whom loss.back(1.0) blames, in the order of the calls.

const CALLS = [
  ["emb = gather_rows(E, context)", "look up the secret codes"],
  ["h = sum_over_k(emb)", "mix the codes together"],
  ["logits = matmul_wh(W, h)", "score every possible next letter"],
  ["loss = xent_from_logits(logits, target)", "how surprised were we?"],
  ["loss.back(1.0)", "each score’s fault: its letter’s chance, less 1 for the right letter"],
  ["logits.back(…) → W.back(…)", "each row of W: its score’s fault times the mix"],
  ["h.back(…)", "the mix: the rows of W, each as often as its score is at fault"],
  [
    "emb.back_same(…) → E.back(…)",
    "each letter’s code gets the whole blame of the mix, twice if it is there twice",
  ],
];

/** `{show, read}`: draw a moment, and take over what was typed. */
function blamePart() {
  const D = film.seen.dim;
  let moment = 0;
  let context = contextOf([]);
  let step = CALLS.length;

  const tokens = Array.from({ length: V }, (_, v) => v);
  byId("target").append(...tokens.map((v) => make("option", { value: v }, named(v))));
  byId("check-letter").append(...tokens.map((v) => make("option", { value: v }, shown(v))));
  for (const id of ["place", "check-place"]) byId(id).max = D;
  byId("calls").append(
    ...CALLS.map(([code, words]) => make("li", {}, make("code", {}, code), make("span", {}, words))),
  );

  const whole = (id) => Math.min(Math.max(Math.round(Number(byId(id).value)) || 1, 1), D) - 1;

  /** A line of numbers as coloured cells, and the followed one in digits; `from` is the step that makes it. */
  function line(name, numbers, from, blame = false) {
    const followed = whole("place");
    const largest = Math.max(...numbers.map(Math.abs)) || 1;
    const cells = Array.from(numbers, (number, d) =>
      coloured(
        make("span", {
          class: d === followed ? "cell here" : "cell",
          title: `number ${d + 1}: ${signed(number, 4)}`,
        }),
        number / largest,
      ),
    );
    const label = make("span", { class: "name" }, blame ? "← " : "", name);
    const digits = make("span", { class: "digits" }, signed(numbers[followed]));
    return later(
      make(
        "div",
        { class: blame ? "line blamed" : "line" },
        label,
        make("span", { class: "cells" }, ...cells),
        digits,
      ),
      from,
    );
  }

  /** What is made by a step that has not come yet keeps its place, but is not seen. */
  function later(element, from) {
    element.classList.toggle("later", step < from);
    element.classList.toggle("new", step === from);
    return element;
  }

  /** One of the four bricks, called by the function in its line of CALLS. */
  function brick(number, ...content) {
    const code = CALLS[number - 1][0].match(/= (\w+)/)[1];
    return make("div", { class: "brick" }, make("h3", {}, `${number}. `, make("code", {}, code)), ...content);
  }

  const labelled = (...parts) => make("span", {}, ...parts);

  function show(now) {
    moment = now;
    const bag = bagAt(now);
    const target = Number(byId("target").value);
    const blame = blameOf(bag, context, target);
    const scores = scoresOf(bag, context);
    const chances = softmax(scores);
    const wrong = tokens.filter((v) => v !== target).sort((a, b) => chances[b] - chances[a])[0];
    const distinct = [...new Set(context)];
    const W = (v) => labelled("W ", letter(shown(v)));
    byId("context").textContent = context.map(shown).join("");
    byId("bricks").replaceChildren(
      brick(
        1,
        ...context.map((token) => line(letter(shown(token)), bag.E[token], 1)),
        ...distinct.map((token) => line(letter(shown(token)), blame.E[token], 8, true)),
      ),
      brick(2, line("mix", mixed(bag, context), 2), line("mix", blame.h, 7, true)),
      brick(
        3,
        make("p", { class: "note" }, "Two rows of W: of the right letter and of the likeliest wrong one."),
        ...[target, wrong].map((v) => line(W(v), bag.W[v], 3)),
        ...[target, wrong].map((v) => line(W(v), blame.W[v], 6, true)),
      ),
      brick(
        4,
        later(
          make(
            "p",
            { class: "loss" },
            "loss ",
            make("b", { id: "loss-here" }, fixed(-Math.log(chances[target]))),
          ),
          4,
        ),
      ),
      scoreTable(scores, chances, blame.scores, target),
    );
    [...byId("calls").children].forEach((call, i) => {
      if (i + 1 === step) call.setAttribute("aria-current", "step");
      else call.removeAttribute("aria-current");
    });
    byId("less").disabled = step === 1;
    byId("more").disabled = step === CALLS.length;
    byId("stage").textContent = `Step ${step} of ${CALLS.length}: ${CALLS[step - 1][1]}.`;
    check();
  }

  /** Score, chance and blame of every letter. */
  function scoreTable(scores, chances, blame, target) {
    const largest = Math.max(...scores.map(Math.abs)) || 1;
    const cells = tokens.map((v) =>
      make(
        "div",
        { class: v === target ? "score right" : "score" },
        letter(shown(v)),
        later(coloured(make("span", { class: "tint" }, fixed(scores[v], 2)), scores[v] / largest), 3),
        later(make("span", {}, percent(chances[v]).replace("under 1", "<1")), 4),
        later(coloured(make("span", { class: "tint blamed" }, signed(blame[v])), blame[v]), 5),
      ),
    );
    const head = make(
      "p",
      { class: "note" },
      "Each letter’s score (matmul_wh), its chance (xent_from_logits), and ← the blame of its score. The right letter has a frame.",
    );
    return make("div", { class: "brick wide" }, head, make("div", { class: "scores" }, ...cells));
  }

  /** Nudge one number, and see whether the loss does what the bucket says. */
  function check() {
    const NUDGE = 0.001;
    const bag = bagAt(moment);
    const target = Number(byId("target").value);
    const [table, token, d] = [
      byId("check-table").value,
      Number(byId("check-letter").value),
      whole("check-place"),
    ];
    const bucket = blameOf(bag, context, target)[table][token][d];
    const row = bag[table][token].slice();
    row[d] += NUDGE;
    const nudged = { ...bag, [table]: bag[table].with(token, row) };
    const [before, after] = [lossOf(bag, context, target), lossOf(nudged, context, target)];
    byId("check").replaceChildren(
      `This number is ${fixed(bag[table][token][d], 4)}. If it grows by ${NUDGE}, the loss goes from ${fixed(before, 6)} to ${fixed(after, 6)}: `,
      make("b", {}, `${signed((after - before) / NUDGE, 4)} for every 1`),
      ". The bucket says ",
      make("b", { id: "bucket" }, signed(bucket, 4)),
      ".",
    );
  }

  function read(typed) {
    context = contextOf(typed);
    byId("check-letter").value = context[context.length - 1];
  }

  const go = (by) => {
    step = Math.min(Math.max(step + by, 1), CALLS.length);
    show(moment);
  };
  byId("less").addEventListener("click", () => go(-1));
  byId("more").addEventListener("click", () => go(1));
  byId("target").addEventListener("change", () => show(moment));
  byId("place").addEventListener("input", () => {
    byId("check-place").value = whole("place") + 1;
    show(moment);
  });
  for (const id of ["check-table", "check-letter", "check-place"]) byId(id).addEventListener("input", check);
  return { show, read };
}
