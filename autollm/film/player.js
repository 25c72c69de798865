// Playing: one number, the moment, and whoever shows something of it.

const parts = [lossPart()];
if (film.seen.E) {
  for (const id of ["guess", "places", "blame"]) byId(id).hidden = false;
  byId("dim").textContent = film.seen.dim;
  const blame = blamePart();
  parts.push(
    guessPart((tokens) => {
      blame.read(tokens);
      blame.show(momentNow());
    }),
    mapPart(),
    blame.show,
  );
  // The right answer at first: what follows most often in the end.
  byId("target").value = chosenTarget();
} else {
  byId("answers").hidden = false;
  parts.push(answersPart());
}

function momentNow() {
  return Number(byId("time").value);
}

function chosenTarget() {
  const tokens = split(film.beginning).map((one) => tokenOf.get(one));
  const chances = Array.from(chancesOf(bagAt(LAST), tokens));
  return chances.indexOf(Math.max(...chances));
}

function show(moment) {
  byId("time").value = moment;
  const clock = `${fixed(film.seconds[moment], film.seconds[LAST] < 0.1 ? 5 : 3)} s, step ${film.steps[moment].toLocaleString("en")}`;
  byId("clock").textContent = clock;
  byId("time").setAttribute("aria-valuetext", clock);
  for (const part of parts) part(moment);
}

/** The run that plays; null when it stands still. */
let playing = null;

function play() {
  if (playing) return stop();
  const from = momentNow() === LAST ? 0 : momentNow();
  const speed = byId("speed").value;
  const began = performance.now();
  // Where the film is after so many seconds: moment by moment, or by the clock of the training.
  const at =
    speed === "moments"
      ? (seconds) => Math.floor(from + seconds / 0.3)
      : (seconds) => film.seconds.findLastIndex((one) => one <= film.seconds[from] + seconds * Number(speed));
  byId("play").textContent = "Pause";
  const next = (now) => {
    const moment = Math.min(Math.max(at((now - began) / 1000), from), LAST);
    if (moment !== momentNow()) show(moment);
    if (moment === LAST) stop();
    else playing = requestAnimationFrame(next);
  };
  show(from);
  playing = requestAnimationFrame(next);
}

function stop() {
  cancelAnimationFrame(playing);
  playing = null;
  byId("play").textContent = "Play";
}

function goTo(moment) {
  stop();
  show(Math.min(Math.max(moment, 0), LAST));
}

byId("play").addEventListener("click", play);
byId("speed").addEventListener("change", stop);
byId("time").max = LAST;
byId("time").addEventListener("input", () => goTo(momentNow()));
document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.altKey || event.ctrlKey || event.metaKey || ["INPUT", "SELECT"].includes(target.tagName)) return;
  const keys = {
    ArrowLeft: () => goTo(momentNow() - 1),
    ArrowRight: () => goTo(momentNow() + 1),
    Home: () => goTo(0),
    End: () => goTo(LAST),
  };
  if (!["BUTTON", "SUMMARY"].includes(target.tagName)) keys[" "] = play;
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

/** What was trained, and how. */
function factsInWords() {
  const number = (count) => count.toLocaleString("en");
  const sizes = Object.entries(film.sizes)
    .map(([name, size]) => `${name} ${size}`)
    .join(", ");
  const read = `The model “${film.model}” (${sizes}) read ${number(film.words)} words`;
  const time = `${fixed(film.seconds[LAST])} seconds`;
  if (!film.parameters) return `${read} and counted for ${time}.`;
  const stopped = film.interrupted ? " It was stopped before its time." : "";
  return (
    `${read} and took ${number(film.steps[LAST])} steps of ${film.batch} examples in ${time}, at a rate of ` +
    `${Number(film.rate.toPrecision(3))} (${film.optimiser}). All that it knows is in ${number(film.parameters)} numbers.${stopped}`
  );
}

byId("facts").textContent = factsInWords();
show(0);
