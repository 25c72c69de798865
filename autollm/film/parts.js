// The parts of the page that are there for every moment: each is a function of the moment's number.

/** The loss falling. The beginning is drawn wider, as most happens there. */
function lossPart() {
  const place = byId("curve");
  const height = 260;
  const edge = { left: 34, right: 12, top: 14, bottom: 34 };
  const total = film.seconds[LAST] || 1;
  const highest = Math.max(film.blind, ...film.loss, ...film.heldOut);
  const lowest = Math.max(0, Math.min(film.least, ...film.loss) - 0.3);
  let moment = 0;
  let x, y, marks;

  function redraw(width) {
    x = (seconds) => edge.left + (width - edge.left - edge.right) * Math.sqrt(seconds / total);
    y = (loss) =>
      edge.top + ((height - edge.top - edge.bottom) * (highest * 1.03 - loss)) / (highest * 1.03 - lowest);
    const text = "How the loss falls in time";
    const svg = draw("svg", { width, height, role: "img", "aria-label": text });
    const step =
      [0.25, 0.5, 1, 2, 5, 10, 50, 100, 500].find((size) => (highest - lowest) / size <= 6) ?? 1000;
    for (let loss = Math.ceil(lowest / step) * step; loss <= highest; loss += step) {
      svg.append(draw("text", { x: edge.left - 6, y: y(loss) + 4, "text-anchor": "end" }, String(loss)));
    }
    for (const part of [0, 0.01, 0.1, 0.4, 1]) {
      const anchor = part === 1 ? "end" : part === 0 ? "start" : "middle";
      const label = `${Number((part * total).toPrecision(2))}${part === 1 ? " s" : ""}`;
      svg.append(
        draw("line", {
          class: "tick",
          x1: x(part * total),
          x2: x(part * total),
          y1: height - edge.bottom,
          y2: height - edge.bottom + 5,
        }),
      );
      svg.append(
        draw(
          "text",
          { x: x(part * total) + (part === 1 ? edge.right - 3 : 0), y: height - 14, "text-anchor": anchor },
          label,
        ),
      );
    }
    for (const [loss, name, dy] of [
      [film.blind, "guessing blindly", -5],
      [film.least, "the least possible", 14],
    ]) {
      svg.append(
        draw("line", { class: "limit", x1: edge.left, x2: width - edge.right, y1: y(loss), y2: y(loss) }),
      );
      svg.append(
        draw(
          "text",
          { x: width - edge.right, y: y(loss) + dy, "text-anchor": "end" },
          `${name}: ${fixed(loss, 2)}`,
        ),
      );
    }
    marks = [film.heldOut, film.loss]
      .filter((losses) => losses.length)
      .map((losses) => {
        const line = draw("polyline", { class: losses === film.loss ? "loss" : "loss held-out" });
        const dot = draw("circle", { class: line.getAttribute("class"), r: 5 });
        svg.append(draw("polyline", { class: "ahead", points: points(losses, LAST) }), line, dot);
        return { losses, line, dot };
      });
    place.replaceChildren(svg);
    show(moment);
  }

  const points = (losses, last) =>
    losses
      .slice(0, last + 1)
      .map((loss, i) => `${x(film.seconds[i])},${y(loss)}`)
      .join(" ");

  function show(now) {
    moment = now;
    if (!marks) return;
    for (const { losses, line, dot } of marks) {
      line.setAttribute("points", points(losses, now));
      dot.setAttribute("cx", x(film.seconds[now]));
      dot.setAttribute("cy", y(losses[now]));
    }
    byId("meaning").textContent = lossInWords(now);
  }

  fitted(place, redraw);
  return show;
}

function lossInWords(moment) {
  const among = (loss) => {
    const count = Math.exp(loss);
    return count < 10 ? fixed(count, 1) : count.toFixed(0);
  };
  const unsure = (loss) =>
    `${fixed(loss, 2)} nats: it is as unsure as if it had to guess between ${among(loss)} letters. `;
  const back = film.context === 1 ? "a letter" : `${film.context} letters`;
  return (
    `The loss is ${unsure(film.loss[moment])}` +
    (film.heldOut.length
      ? `On words it has never seen (the dashed line) ${unsure(film.heldOut[moment])}`
      : "") +
    `Guessing blindly is between ${V}; whoever knows all words by heart, and sees ${back}, between ${among(film.least)}.`
  );
}

/** The letters on a map whose two directions stay the same. */
function mapPart() {
  const place = byId("map");
  const { axes, centre } = film.seen;
  const middle = axes.map((axis) => dot(axis, centre));
  const onMap = (code) => axes.map((axis, i) => dot(axis, code) - middle[i]);
  const flat = film.steps.map((_, moment) => tableAt("E", moment).map(onMap));
  const reach = Math.max(...flat.flat().map(([a, b]) => Math.hypot(a, b))) * 1.12 || 1;
  // Far letters are drawn nearer, by the square root, so that the many in the middle have room: from -1 to 1.
  const spots = flat.map((all) =>
    all.map((spot) => spot.map((part) => part / Math.sqrt(reach * Math.hypot(...spot) || 1))),
  );
  let moment = 0;
  let names = [];
  let trails = [];
  let at;

  function redraw(width) {
    const height = Math.min(width, 420);
    at = ([a, b]) => [(width / 2) * (1 + a), (height / 2) * (1 - b)];
    const svg = draw("svg", { width, height, role: "img", "aria-label": "Where the letters are" });
    trails = spots[0].map(() => svg.appendChild(draw("polyline", { class: "trail" })));
    names = spots[0].map((_, token) =>
      svg.appendChild(draw("text", { class: "spot", "text-anchor": "middle" }, shown(token))),
    );
    place.replaceChildren(svg);
    show(moment);
  }

  function show(now) {
    moment = now;
    names.forEach((name, token) => {
      const [x, y] = at(spots[now][token]);
      name.setAttribute("x", x);
      name.setAttribute("y", y + 6);
      const path = spots.slice(Math.max(now - 12, 0), now + 1).map((all) => at(all[token]).join(","));
      trails[token].setAttribute("points", path.join(" "));
    });
    const pairs = nearest(spots[now]).flatMap(([a, b]) => [
      ", ",
      letter(shown(a)),
      " and ",
      letter(shown(b)),
    ]);
    byId("alike").replaceChildren(
      ...(pairs.length ? ["Nearest to each other now: ", ...pairs.slice(1), "."] : []),
    );
  }

  fitted(place, redraw);
  return show;
}

/** The three nearest pairs of letters; each letter is in one pair at most. Letters that were rarely read are left
 *  out: what follows them is chance. */
function nearest(spots) {
  const { often } = film.seen;
  const known = spots.map((_, token) => token).filter((token) => token && often[token] * 2 * V > sum(often));
  const distance = ([a, b]) => Math.hypot(spots[a][0] - spots[b][0], spots[a][1] - spots[b][1]);
  const pairs = known.flatMap((a) => known.filter((b) => b > a).map((b) => [a, b]));
  pairs.sort((one, other) => distance(one) - distance(other));
  const found = [];
  for (const pair of pairs) {
    if (found.length < 3 && !found.flat().some((token) => pair.includes(token))) found.push(pair);
  }
  return found;
}

/** Guessing after what was typed, and dreaming. `changed(tokens)` is told what was typed. */
function guessPart(changed) {
  const WORDS = 8;
  let moment = 0;
  let seed = 1;
  let tokens = [];
  byId("typed").value = film.beginning;

  function read() {
    const typed = split(byId("typed").value.normalize("NFC"));
    tokens = typed.filter((one) => tokenOf.has(one)).map((one) => tokenOf.get(one));
    const unknown = typed.filter((one) => !tokenOf.has(one));
    byId("unknown").replaceChildren(
      ...(unknown.length ? ["It has never seen ", letter(unknown.join(" ")), ", and leaves it out."] : []),
    );
    changed(tokens);
  }

  const dreams = (when) => {
    const throwDice = Array.from({ length: WORDS }, (_, i) => dice(1000 * seed + i));
    return throwDice.map((one) => dreamed(bagAt(when), tokens, one));
  };

  function dreamAll(slowly) {
    for (const [id, when] of [
      ["dream-start", 0],
      ["dream-now", moment],
      ["dream-end", LAST],
    ]) {
      writeWords(byId(id), dreams(when), slowly);
    }
  }

  function show(now) {
    moment = now;
    drawBars(
      byId("bars"),
      byId("likeliest"),
      Array.from({ length: V }, (_, v) => v),
      chancesOf(bagAt(now), tokens),
    );
    writeWords(byId("dream-now"), dreams(now));
  }

  byId("typed").addEventListener("input", () => {
    read();
    show(moment);
    dreamAll(false);
  });
  byId("dream").addEventListener("click", () => dreamAll(true));
  byId("dice").addEventListener("click", () => {
    seed += 1;
    dreamAll(true);
  });
  read();
  dreamAll(false);
  return show;
}

/** What a model that the page cannot work out itself has answered. */
function answersPart() {
  const { answers } = film.seen;
  const chances = answers.map((answer) => answer.chances.map((one) => Array.from(unpacked(one))));
  let moment = 0;
  answers.forEach((answer, i) =>
    byId("beginning").append(make("option", { value: i }, answer.beginning || "(nothing yet)")),
  );
  if (film.tooLarge) {
    byId("too-large").hidden = false;
    byId("too-large").textContent =
      `This page cannot take the model apart: ${film.tooLarge}. So it shows what was written down.`;
  }

  function show(now) {
    moment = now;
    const number = Number(byId("beginning").value);
    const answer = answers[number];
    drawBars(byId("answer-bars"), byId("answer-likeliest"), answer.letters, chances[number][now]);
    if (answer.letters.length < V) {
      byId("answer-likeliest").append(
        ` Of ${V.toLocaleString("en")} letters, these are the ${answer.letters.length} that are likeliest in the end.`,
      );
    }
    for (const [id, when] of [
      ["answer-start", 0],
      ["answer-now", now],
      ["answer-end", LAST],
    ]) {
      writeWords(byId(id), answer.words[when]);
    }
  }

  byId("beginning").addEventListener("change", () => show(moment));
  return show;
}
