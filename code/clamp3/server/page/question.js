// The question of the page: its only state that can be shared. It lives in the address after #, so that Back works.

export const MODALITIES = ["score", "midi", "audio", "text"];
export const NAMES = { score: "Scores", midi: "MIDI", audio: "Recordings", text: "Texts" };
export const ONE = { score: "score", midi: "MIDI file", audio: "recording", text: "text" };

// Fields with their defaults; those of the default value are not written to the address.
const FIELDS = {
  text: "", composer: "", yearFrom: "", yearTo: "", minMinutes: "", maxMinutes: "", where: "",
  axisFrom: "", axisTo: "", axisShift: 0, diversity: 0, passages: false, words: true, top: 20, view: "results",
};
export const MORE = ["composer", "yearFrom", "yearTo", "minMinutes", "maxMinutes", "where", "axisShift", "diversity"];
const LIMIT = 16; // parts of a question, as the server has it

export const empty = () => ({ ...FIELDS, modalities: [], parts: [] });

/** Read a question from the part of an address after #; what is not understood is left out. */
export function fromHash(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const question = empty();
  for (const [name, standard] of Object.entries(FIELDS)) {
    const value = given.get(name);
    if (value === null) continue;
    if (typeof standard === "boolean") question[name] = value === "1";
    else if (typeof standard === "number") question[name] = Number.isFinite(Number(value)) ? Number(value) : standard;
    else question[name] = value;
  }
  question.modalities = MODALITIES.filter((name) => given.getAll("modality").includes(name));
  question.parts = given.getAll("part").map(partFrom).filter(Boolean).slice(0, LIMIT);
  return question;
}

/** Return the question as the part of an address after #. */
export function toHash(question) {
  const given = new URLSearchParams();
  for (const [name, standard] of Object.entries(FIELDS)) {
    const value = question[name];
    if (value !== standard) given.set(name, typeof standard === "boolean" ? (value ? "1" : "0") : value);
  }
  for (const name of question.modalities) given.append("modality", name);
  for (const part of question.parts) given.append("part", partTo(part));
  return given.toString();
}

// A part is kind, weight, stretch and value, as in "item:-0.5:s10-25:c29uZw"; s are seconds, b bars.
function partTo({ kind, weight, stretch, value }) {
  const span = stretch ? `${stretch.unit === "bars" ? "b" : "s"}${stretch.start}-${stretch.end}` : "";
  return [kind, weight, span, value].join(":");
}

function partFrom(text) {
  const [kind, weight, span, ...rest] = text.split(":");
  const value = rest.join(":");
  const number = Number(weight);
  if (!["item", "upload", "text"].includes(kind) || !value || !Number.isFinite(number)) return null;
  const found = /^([sb])([0-9.]+)-([0-9.]+)$/.exec(span ?? "");
  const stretch = found && { unit: found[1] === "b" ? "bars" : "seconds", start: Number(found[2]), end: Number(found[3]) };
  return { kind, weight: number, stretch, value };
}

export const sameSource = (one, other) => one.kind === other.kind && one.value === other.value;

/** Return a part as the server takes it. */
export function partOf({ kind, weight, stretch, value }) {
  const part = { [kind]: value, weight };
  if (!stretch) return part;
  return stretch.unit === "bars"
    ? { ...part, first_bar: stretch.start, last_bar: stretch.end }
    : { ...part, start_sec: stretch.start, end_sec: stretch.end };
}

const quoted = (text) => JSON.stringify(text); // the filter's strings are Python's, which read JSON's

/** Return the filters as one condition of the index, or null. */
export function whereOf(question) {
  const all = [];
  const { modalities } = question;
  if (modalities.length) all.push(`modality in (${modalities.map(quoted).join(", ")},)`);
  if (question.composer.trim()) all.push(`${quoted(question.composer.trim())} in composer`);
  const limits = [
    ["year", ">=", question.yearFrom, 1], ["year", "<=", question.yearTo, 1],
    ["duration", ">=", question.minMinutes, 60], ["duration", "<=", question.maxMinutes, 60],
  ];
  for (const [field, sign, value, unit] of limits) {
    if (value !== "" && Number.isFinite(Number(value))) all.push(`${field} ${sign} ${Number(value) * unit}`);
  }
  if (question.where.trim()) all.push(`(${question.where.trim()})`);
  return all.length ? all.join(" and ") : null;
}

/** Return the body of POST /search, or null where the question asks for nothing and pieces are only listed. */
export function bodyOf(question) {
  const parts = question.parts.filter((part) => part.weight !== 0).map(partOf);
  const text = question.text.trim();
  if (text) parts.unshift({ text, weight: 1 });
  const axis = axisOf(question);
  if (!parts.length && !axis) return null;
  // The server adds the direction once; to shift by a multiple of it, the other weights are divided.
  const scale = axis ? 1 / Math.abs(question.axisShift) : 1;
  return {
    parts: parts.slice(0, LIMIT).map((part) => ({ ...part, weight: part.weight * scale })),
    axis,
    where: whereOf(question),
    diversity: question.diversity,
    passages: question.passages,
    words: question.words,
    top_k: question.top,
  };
}

function axisOf({ axisFrom, axisTo, axisShift }) {
  const poles = [axisFrom.trim(), axisTo.trim()];
  if (!axisShift || !poles[0] || !poles[1]) return null;
  return axisShift > 0 ? poles : poles.reverse();
}
